package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Reasons why a host can't be watched. Each error says what to do.
var (
	ErrNotRoot  = errors.New("not enough privileges")
	ErrNoBTF    = errors.New("the kernel has no type information (/sys/kernel/btf/vmlinux): use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
	ErrOldLinux = errors.New("the kernel is too old: 5.10 or later is needed")
	ErrNoCgroup = errors.New("no cgroup v2 file system is mounted: mount one with: mount -t cgroup2 none /sys/fs/cgroup/unified, or name it with --cgroup")
	ErrSubtree  = errors.New("not the root of the cgroup v2 tree, so only a part of the host's traffic would be seen: mount the host's cgroup root (in a container: hostPath /sys/fs/cgroup), or name this folder with --cgroup to watch just its processes")
)

func kernel(major, minor int) int { return major<<8 | minor }

func kernelVersion() (int, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, fmt.Errorf("read kernel version: %w", err)
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("read kernel version %q: %w", release, err)
	}
	return kernel(major, minor), nil
}

// CheckHost says whether this kernel and user can run the programs.
func CheckHost() error {
	v, err := kernelVersion()
	if err != nil {
		return err
	}
	if v < kernel(5, 10) {
		return fmt.Errorf("%w (this is %d.%d)", ErrOldLinux, v>>8, v&255)
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return ErrNoBTF
	}
	return Need(Capabilities())
}

// rootInode is that of the root folder of the cgroup v2 tree (kernfs).
const rootInode = 1

// FindCgroup finds the root of the cgroup v2 tree, or checks the folder asked
// for. That one may be a part of the tree; one that was found may not, since a
// private cgroup namespace shows the container's own part as if it were the root.
func FindCgroup(asked string) (string, error) {
	path := asked
	if path == "" {
		var err error
		if path, err = cgroupMount(); err != nil {
			return "", err
		}
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	err := unix.Statfs(path, &fs)
	if err == nil {
		err = unix.Stat(path, &st)
	}
	if err != nil {
		return "", fmt.Errorf("open cgroup %s: %w: name an existing cgroup v2 folder with --cgroup", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("cgroup %s: not on a cgroup v2 file system: %w", path, ErrNoCgroup)
	}
	if st.Ino != rootInode && asked == "" {
		return "", fmt.Errorf("cgroup %s: %w", path, ErrSubtree)
	}
	return path, nil
}

// cgroupMount returns where cgroup v2 is mounted, also beside v1 hierarchies:
// where its root is, if that is mounted. In a container with a cgroup namespace
// of its own, the mount that says "/" is the container's part.
func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	defer f.Close()
	found := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		mount, fs, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(mount)
		if !ok || !strings.HasPrefix(fs, "cgroup2 ") || len(fields) < 5 {
			continue
		}
		found = fields[4]
		var st unix.Stat_t
		if err := unix.Stat(found, &st); err == nil && st.Ino == rootInode {
			return found, nil
		}
	}
	if found == "" {
		return "", ErrNoCgroup
	}
	return found, nil
}

// ownNetNS is the inode of our own network namespace.
func ownNetNS() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("find own network namespace: %w", err)
	}
	return uint32(st.Ino), nil
}
