package bpf

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is a privilege of a process, and what it is for.
type Capability struct {
	Bit int
	For string
}

// Capabilities are what [Load] needs. SYS_ADMIN includes them.
func Capabilities() []Capability {
	return []Capability{
		{unix.CAP_BPF, "loads programs and makes their maps"},
		{unix.CAP_PERFMON, "lets programs trace, and read the kernel's structures"},
		{unix.CAP_NET_ADMIN, "attaches programs to a cgroup"},
	}
}

// NeededLater are what a loaded [Capture] goes on needing. Since 5.19
// (c8644cd0efe7) that is nothing; before, the kernel refuses every bpf(2) call,
// a look at a counter too, where unprivileged users may make none.
func NeededLater() []Capability {
	if v, err := kernelVersion(); err == nil && v >= kernel(5, 19) {
		return nil
	}
	return Capabilities()[:1]
}

// Name is as in the settings of containers: NET_ADMIN.
func (c Capability) Name() string {
	switch c.Bit {
	case unix.CAP_BPF:
		return "BPF"
	case unix.CAP_PERFMON:
		return "PERFMON"
	case unix.CAP_NET_ADMIN:
		return "NET_ADMIN"
	case unix.CAP_SYS_PTRACE:
		return "SYS_PTRACE"
	case unix.CAP_DAC_READ_SEARCH:
		return "DAC_READ_SEARCH"
	}
	return fmt.Sprintf("capability %d", c.Bit)
}

// Need fails, with [ErrNotRoot] and one sentence, if this process lacks any.
func Need(capabilities []Capability) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	var names, missing []string
	for _, c := range capabilities {
		names = append(names, c.Name())
		included := has(unix.CAP_SYS_ADMIN) && c.Bit != unix.CAP_SYS_PTRACE && c.Bit != unix.CAP_DAC_READ_SEARCH
		if !has(c.Bit) && !included {
			missing = append(missing, c.Name()+", which "+c.For)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	last := len(names) - 1
	return fmt.Errorf("%w: run as root (sudo), or with the capabilities %s and %s; missing: %s", ErrNotRoot,
		strings.Join(names[:last], ", "), names[last], strings.Join(missing, "; "))
}
