package agent

import (
	"cmp"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weirstream/weir/proto"
)

const (
	maxProcesses = 8192
	// processNS is how long a process's cgroup is taken for granted: processes
	// move between cgroups seldom, and process ids come around much later.
	processNS = int64(30e9)
	maxCgroup = 4096
)

// process is a process as events carry it.
type process struct {
	proto.Process
	leftOut bool // by configuration
	readNS  int64
}

// processes is a bounded cache of who the processes are.
type processes struct {
	root    string // of procfs, "" if it numbers processes otherwise than the kernel
	cgroups cgroups
	names   containerNames
	leftOut *leftOut
	byID    map[uint32]*process
}

func newProcesses(procfs, cgroup string, out *leftOut) *processes {
	return &processes{root: procfs, cgroups: cgroups{root: cgroup}, names: containerNames{folder: dockerFolder}, leftOut: out, byID: map[uint32]*process{}}
}

// CheckProcfs says what is wrong with a folder that should be the host's /proc.
func CheckProcfs(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("open --procfs %s: %w: name where the host's /proc is", path, err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("--procfs %s is not a proc file system: name where the host's /proc is", path)
	}
	return nil
}

// usableProcfs is where processes can be looked up, or "" in a pid namespace of
// a container or of a cluster node that is one: there the kernel's numbers
// mean others, or nobody. self is our own number as the kernel has it.
func usableProcfs(path string, self uint32, log *slog.Logger) string {
	number, err := os.Readlink(filepath.Join(path, "self"))
	if err == nil && number == fmt.Sprint(self) {
		return path
	}
	log.Warn("processes_not_looked_up", "procfs", path,
		"reason", "it is of another pid namespace: containers are told by their sockets' cgroups; in a container, use the host's (hostPID)")
	return ""
}

// lookup tells who a process is, by its own cgroup, or by its socket's if it
// is gone already.
func (p *processes) lookup(tgid uint32, comm string, cgroup uint64, now int64) *process {
	if got := p.byID[tgid]; tgid != 0 && got != nil && got.Name == comm && now-got.readNS < processNS {
		return got
	}
	got := &process{Process: proto.Process{PID: tgid, Name: comm}, readNS: now}
	var text []byte
	if tgid != 0 && p.root != "" {
		text, _ = os.ReadFile(filepath.Join(p.root, fmt.Sprint(tgid), "cgroup")) // it may be gone
	}
	if len(text) == 0 {
		text = []byte("0::" + p.cgroups.path(cgroup, now))
	}
	got.Unit, got.Container, got.PodUID = identify(string(text))
	got.ContainerName = p.names.name(got.Container, now)
	got.leftOut = p.leftOut.configured(comm, string(text))
	if tgid == 0 {
		return got // nobody has read yet: only its socket's cgroup is known
	}
	if len(p.byID) >= maxProcesses {
		clear(p.byID)
	}
	p.byID[tgid] = got
	return got
}

var (
	// A container id is 64 hex digits with Docker, containerd, CRI-O, podman and
	// kata, which may put their name before it, and systemd ".scope" behind; 32
	// and a number with ECS.
	containerPattern = regexp.MustCompile(`^(?:([a-z][a-z0-9_-]*)[-_:])?([0-9a-f]{64}|[0-9a-f]{32}-[0-9]+)(?:\.scope)?$`)
	// A pod's UID has underscores in a slice's name; a static pod's is a hash.
	podPattern = regexp.MustCompile(`^(?:[a-z0-9-]+-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// identify finds unit, container and pod UID in the text of /proc/PID/cgroup,
// v1, v2 or both.
func identify(text string) (unit, container, podUID string) {
	for line := range strings.Lines(text) {
		_, path, _ := strings.Cut(line, ":")
		_, path, _ = strings.Cut(path, ":")
		u, c, p := identifyPath(strings.TrimSpace(path))
		unit, container, podUID = cmp.Or(u, unit), cmp.Or(c, container), cmp.Or(p, podUID)
	}
	if container != "" || podUID != "" {
		unit = "" // of the runtime, or in the container
	}
	return unit, container, podUID
}

// identifyPath takes what lies deepest: a cluster's node may be a container,
// and a container a cluster's node. Seen from a cgroup namespace a path begins
// with "..", and kubepods may not be in it.
func identifyPath(path string) (unit, container, podUID string) {
	path = strings.TrimSuffix(path, " (deleted)")
	// slice:prefix:name is what containerd makes if it isn't told that the
	// kubelet uses systemd.
	for part := range strings.SplitSeq(strings.ReplaceAll(path, ".slice:", ".slice/"), "/") {
		if m := podPattern.FindStringSubmatch(part); m != nil {
			podUID, container = strings.ReplaceAll(m[1], "_", "-"), ""
		} else if m := containerPattern.FindStringSubmatch(part); m != nil && !strings.HasSuffix(m[1], "conmon") {
			container = m[2]
		} else if strings.HasSuffix(part, ".service") && !strings.HasPrefix(part, "user@") {
			unit = part
		}
	}
	return unit, container, podUID
}

// cgroups finds the path of a cgroup by its id, which is its folder's inode.
type cgroups struct {
	root   string
	paths  map[uint64]string
	walked int64
}

func (c *cgroups) path(id uint64, now int64) string {
	if id <= 1 {
		return "/"
	}
	if p, ok := c.paths[id]; ok {
		return p
	}
	if c.walked != 0 && now-c.walked < int64(1e9) {
		return "/" // a burst of unknown ids costs one walk a second
	}
	c.walked = now
	c.paths = map[uint64]string{}
	_ = filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // folders come and go while we look
		}
		if len(c.paths) >= maxCgroup {
			return filepath.SkipAll
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				c.paths[st.Ino] = strings.TrimPrefix(path, c.root)
			}
		}
		return nil
	})
	if p, ok := c.paths[id]; ok {
		return p
	}
	return "/"
}
