package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

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
	readNS int64
}

// processes is a bounded cache of who the processes are.
type processes struct {
	root    string // of procfs
	cgroups cgroups
	byID    map[uint32]*process
}

func newProcesses(procfs, cgroup string) *processes {
	return &processes{root: procfs, cgroups: cgroups{root: cgroup}, byID: map[uint32]*process{}}
}

// lookup tells who a process is, by its own cgroup, or by its socket's if it
// is gone already.
func (p *processes) lookup(tgid uint32, comm string, cgroup uint64, now int64) *process {
	if got := p.byID[tgid]; tgid != 0 && got != nil && got.Name == comm && now-got.readNS < processNS {
		return got
	}
	got := &process{Process: proto.Process{PID: tgid, Name: comm}, readNS: now}
	text, err := os.ReadFile(filepath.Join(p.root, fmt.Sprint(tgid), "cgroup"))
	if err != nil || tgid == 0 {
		text = []byte("0::" + p.cgroups.path(cgroup, now))
	}
	got.Unit, got.Container, got.PodUID = identify(string(text))
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
	// A container id is 64 hex digits with Docker, containerd, CRI-O and
	// podman, which put their name before it and ".scope" behind; 32 and a
	// number with ECS.
	containerPattern = regexp.MustCompile(`^(?:[a-z][a-z0-9]*(?:-[a-z][a-z0-9]*)*[-:])?([0-9a-f]{64}|[0-9a-f]{32}-[0-9]+)(?:\.scope)?$`)
	podPattern       = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// identify finds unit, container and pod UID in the text of /proc/PID/cgroup,
// v1, v2 or both. The hierarchy that says most wins.
func identify(text string) (unit, container, podUID string) {
	for line := range strings.Lines(text) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		_, path, _ = strings.Cut(path, ":")
		parts := strings.Split(path, "/")
		for i, part := range parts {
			if m := podPattern.FindStringSubmatch(part); m != nil && strings.Contains(path, "kubepods") {
				podUID = strings.ReplaceAll(m[1], "_", "-")
			} else if m := containerPattern.FindStringSubmatch(part); m != nil {
				container = m[1]
			} else if strings.HasSuffix(part, ".service") && i > 1 && parts[1] == "system.slice" {
				unit = part
			} else if strings.HasSuffix(part, ".service") && !strings.HasPrefix(part, "user@") {
				unit = part
			}
		}
	}
	if container != "" {
		unit = "" // of the runtime, not of what runs in it
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
