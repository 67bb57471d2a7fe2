package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weirstream/weir/bpf"
)

// check is one line of the doctor.
type check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, note, warn or fail
	Found  string `json:"found"`
	Costs  string `json:"costs,omitempty"` // what doesn't work because of it
	Fix    string `json:"fix,omitempty"`
}

const (
	statusOK   = "ok"
	statusNote = "note" // how Weir is; nothing is wrong
	statusWarn = "warn"
	statusFail = "fail"
)

// hostChecks say whether this host can be measured.
func hostChecks(cgroup string) []check {
	return []check{checkKernel(), checkBTF(), checkCgroup(cgroup), checkCapabilities(), checkMemlock()}
}

// kernelVersion is major·1000 + minor, 0 if it can't be read.
func kernelVersion() (version int, release string) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, err.Error()
	}
	release = unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, release
	}
	return major*1000 + minor, release
}

func checkKernel() check {
	version, release := kernelVersion()
	c := check{Name: "kernel", Status: statusOK, Found: "Linux " + release}
	switch {
	case version < 5010:
		c.Status, c.Costs, c.Fix = statusFail, "nothing is measured", "use Linux 5.10 or later"
	case version < 5012:
		c.Status, c.Costs, c.Fix = statusWarn, "how long requests wait before they are read is not measured", "use Linux 5.12 or later"
	}
	return c
}

func checkBTF() check {
	const path = "/sys/kernel/btf/vmlinux"
	if _, err := os.Stat(path); err != nil {
		return check{Name: "btf", Status: statusFail, Found: "no " + path, Costs: "nothing is measured",
			Fix: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container, mount /sys/kernel/btf"}
	}
	return check{Name: "btf", Status: statusOK, Found: path}
}

func checkCgroup(path string) check {
	path, err := bpf.FindCgroup(path)
	if err != nil {
		return check{Name: "cgroup", Status: statusFail, Found: err.Error(), Costs: "nothing is measured",
			Fix: "mount the host's cgroup v2 root, or name a folder of it with --cgroup"}
	}
	c := check{Name: "cgroup", Status: statusOK, Found: path + ", the root of the tree"}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil && st.Ino != 1 { // the root's inode in kernfs
		c.Status, c.Found = statusWarn, path+", not the root of the tree"
		c.Costs = "only the processes in this folder are seen"
		c.Fix = "mount the host's cgroup root; in a container: hostPath /sys/fs/cgroup"
	}
	return c
}

func checkCapabilities() check {
	c := check{Name: "capabilities", Status: statusOK}
	var names []string
	for _, needed := range bpf.Capabilities() {
		names = append(names, needed.Name())
	}
	c.Found = strings.Join(names, ", ")
	if err := bpf.Need(bpf.Capabilities()); err != nil {
		c.Status, c.Found = statusFail, err.Error()
		c.Costs, c.Fix = "this user can't measure", "run `weir up` as root: sudo weir up"
	}
	return c
}

// checkMemlock matters before 5.11, where maps count against the limit.
func checkMemlock() check {
	var limit unix.Rlimit
	c := check{Name: "memlock", Status: statusOK}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		c.Status, c.Found = statusWarn, fmt.Sprintf("can't be read: %v", err)
		return c
	}
	c.Found = fmt.Sprintf("%d KiB", limit.Cur>>10)
	if limit.Cur == unix.RLIM_INFINITY {
		c.Found = "unlimited"
	}
	version, _ := kernelVersion()
	if version >= 5011 {
		c.Found += "; not used by this kernel's BPF maps"
	} else if limit.Max < bpf.DefaultRingBytes*2 && os.Geteuid() != 0 {
		c.Status, c.Costs, c.Fix = statusFail, "the kernel's ring can't be made", "ulimit -l unlimited, or the capability SYS_RESOURCE"
	}
	return c
}

// unseen says what Weir can't see, and whether this host uses it.
func unseen() []check {
	note := func(name, found, costs string) check {
		return check{Name: name, Status: statusNote, Found: found, Costs: costs}
	}
	smc := "not loaded here"
	if _, err := os.Stat("/sys/module/smc"); err == nil {
		smc = "loaded here"
	}
	gvisor := "none runs here"
	if processes("runsc") {
		gvisor = "runs here"
	}
	mptcp := "off here"
	if on, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err == nil && strings.TrimSpace(string(on)) == "1" {
		mptcp = "allowed here"
	}
	return []check{
		note("unix sockets", "on every host", "requests over them are not seen"),
		note("sockmap", "used by some service meshes", "requests redirected between sockets are not seen"),
		note("smc", smc, "requests over it are not seen"),
		note("gvisor", gvisor, "requests inside its sandboxes are not seen"),
		note("mptcp", mptcp, "seen without the wait, and on one subflow only"),
		note("tls", "not looked into", "requests inside TLS are not seen; plain HTTP behind a proxy is"),
	}
}

// processes reports whether a process is called this, or begins with it.
func processes(name string) bool {
	paths, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, p := range paths {
		if comm, err := os.ReadFile(p); err == nil && strings.HasPrefix(string(comm), name) {
			return true
		}
	}
	return false
}
