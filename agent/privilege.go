package agent

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirstream/weir/bpf"
)

// looking are the capabilities to tell whose requests they are. Most hosts
// would do without them, but where they don't, names would silently be
// missing: so they are asked for everywhere.
func looking() []bpf.Capability {
	return []bpf.Capability{
		{Bit: unix.CAP_SYS_PTRACE, For: "shows other users' processes where /proc hides them (hidepid)"},
		{Bit: unix.CAP_DAC_READ_SEARCH, For: "finds the cgroups of containers in folders closed to others"},
	}
}

// CheckPrivileges says in one sentence which capabilities this process lacks.
func CheckPrivileges() error {
	return bpf.Need(append(bpf.Capabilities(), looking()...))
}

// DropPrivileges takes from all threads of the process, for good, what isn't
// needed once capture has begun. What stays is what looks into /proc, and what
// this kernel asks for to read a counter.
func DropPrivileges() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, keep [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range append(bpf.NeededLater(), looking()...) {
		bit := have[c.Bit/32].Permitted & (1 << (c.Bit % 32))
		keep[c.Bit/32].Permitted |= bit
		keep[c.Bit/32].Effective |= bit
	}
	// Capabilities belong to threads, of which Go has many.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return dropError(errno)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&keep[0])), 0)
	if errno != 0 {
		return dropError(errno)
	}
	return nil
}

func dropError(errno syscall.Errno) error {
	if errno == syscall.ENOTSUP {
		return fmt.Errorf("drop capabilities: not possible in a binary that links C: build with CGO_ENABLED=0")
	}
	return fmt.Errorf("drop capabilities: %w", errno)
}
