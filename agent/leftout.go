package agent

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	// leftOutEvery is how often the bucket is asked. A watch would be no faster
	// than a pod starts, and would take a consumer and more permissions a node.
	leftOutEvery = time.Second
	// commLength is how much the kernel keeps of a process's name.
	commLength = 15
)

// leftOut knows whose exchanges are not published: those of pods, which the
// enricher lists in a bucket, and those of processes that the configuration names.
type leftOut struct {
	names   []string                            // of processes
	cgroups []string                            // paths of cgroups, all below them included
	pods    atomic.Pointer[map[string]struct{}] // by UID; nil: not known yet
}

// newLeftOut reads the configuration: names of processes, and paths of cgroups.
func newLeftOut(patterns []string) (*leftOut, error) {
	o := &leftOut{}
	for _, p := range patterns {
		switch path := strings.TrimRight(p, "/"); {
		case path == "":
			return nil, fmt.Errorf("leave out %q: give the name of a process, or the path of a cgroup below the root such as /system.slice/backup.service", p)
		case strings.HasPrefix(path, "/"):
			o.cgroups = append(o.cgroups, path)
		case strings.Contains(path, "/"):
			return nil, fmt.Errorf("leave out %q: the path of a cgroup begins with /, and the name of a process has no / in it", p)
		default:
			o.names = append(o.names, path[:min(len(path), commLength)])
		}
	}
	return o, nil
}

// configured tells whether the configuration leaves out a process, by its name
// and the text of its /proc/PID/cgroup.
func (o *leftOut) configured(name, cgroup string) bool {
	if slices.Contains(o.names, name) {
		return true
	}
	if len(o.cgroups) == 0 {
		return false
	}
	for line := range strings.Lines(cgroup) {
		_, path, _ := strings.Cut(line, ":")
		_, path, _ = strings.Cut(path, ":")
		path = strings.TrimSpace(path)
		for strings.HasPrefix(path, "/..") { // seen from a cgroup namespace
			path = path[len("/.."):]
		}
		for _, c := range o.cgroups {
			if rest, ok := strings.CutPrefix(path, c); ok && (rest == "" || rest[0] == '/') {
				return true
			}
		}
	}
	return false
}

// has tells whether the exchanges of a process are left out.
func (o *leftOut) has(p *process) bool {
	if p == nil {
		return false
	}
	if p.leftOut {
		return true
	}
	return o.hasPod(p.PodUID)
}

func (o *leftOut) hasPod(uid string) bool {
	pods := o.pods.Load()
	if pods == nil {
		return false
	}
	_, out := (*pods)[uid]
	return out
}

// known tells whether the pods are.
func (o *leftOut) known() bool { return o.pods.Load() != nil }

// len is how many pods are left out.
func (o *leftOut) len() int {
	if pods := o.pods.Load(); pods != nil {
		return len(*pods)
	}
	return 0
}

// follower keeps a leftOut in step with the node's key in the bucket, and the
// kernel in step with it. It is used by one goroutine.
type follower struct {
	*leftOut
	bus      *bus.Conn
	node     string
	log      *slog.Logger
	value    []byte              // as last read
	wanted   map[string]struct{} // the pods in it
	ids      map[string]uint64   // of their cgroups, where they were found
	readErr  string              // of the last try, to be said once
	handover bool                // the programs outlive the agent
	tellErr  string
	retErr   string
	told     bool        // the kernel was
	retired  atomic.Bool // the install is being deleted
}

// run keeps in step until ctx ends.
func (f *follower) run(ctx context.Context, capture *bpf.Capture) error {
	tick := time.NewTicker(leftOutEvery)
	defer tick.Stop()
	for {
		f.tell(capture)
		f.publish()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		f.read(ctx)
	}
}

// publish lets the rest of the agent know.
func (f *follower) publish() {
	pods := f.wanted // which is replaced, never changed
	f.pods.Store(&pods)
}

// read asks the bucket once, and tells whether it answered. Whatever goes wrong,
// what was known stays.
func (f *follower) read(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 4*leftOutEvery)
	defer cancel()
	value, err := f.bus.Value(ctx, proto.BucketLeftOut, proto.LeftOutKey(f.node))
	if ctx.Err() != nil {
		return false // NATS is away, or the agent stops: others say so
	}
	if err == nil && !bytes.Equal(value, f.value) {
		err = f.take(value)
	}
	f.warn(&f.readErr, "left_out_not_read", err, "pods that are to be left out since are measured")
	if f.handover {
		value, err := f.bus.Value(ctx, proto.BucketLeftOut, proto.KeyRetired)
		if err == nil {
			f.retired.Store(len(value) > 0)
		}
		if ctx.Err() == nil {
			f.warn(&f.retErr, "retirement_not_read", err, "an uninstall leaves this node's programs in the kernel")
		}
	}
	return true
}

func (f *follower) take(value []byte) error {
	pods := map[string]struct{}{}
	if len(value) > 0 {
		l, err := proto.DecodeLeftOut(value)
		if err != nil {
			return err
		}
		if l.Node != f.node {
			return fmt.Errorf("read what is left out: it is of node %q", l.Node)
		}
		for _, uid := range l.Pods {
			pods[uid] = struct{}{}
		}
	}
	f.value, f.wanted = value, pods
	f.log.Info("left_out_changed", "pods", len(pods))
	return nil
}

// tell names the pods' cgroups to the kernel, once they are there.
func (f *follower) tell(capture *bpf.Capture) {
	wanted := func(uid string) bool { _, ok := f.wanted[uid]; return ok }
	before := len(f.ids)
	maps.DeleteFunc(f.ids, func(uid string, _ uint64) bool { return !wanted(uid) })
	changed := len(f.ids) != before
	if len(f.ids) < len(f.wanted) {
		found := podCgroups(capture.Root, wanted)
		changed = changed || len(found) > len(f.ids)
		maps.Copy(f.ids, found)
	}
	// What the agent before left out may not be left out any more.
	changed = changed || capture.Inherited.LeftOut && !f.told
	f.told = true
	if changed {
		err := capture.LeaveOut(slices.Collect(maps.Values(f.ids)))
		f.warn(&f.tellErr, "left_out_not_in_kernel", err, "the agent parses what it then leaves out")
	}
}

// warn says an error once, until it is another.
func (f *follower) warn(last *string, message string, err error, effect string) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if err != nil && text != *last {
		f.log.Warn(message, "error", err, "effect", effect) //nolint:sloglint // constant where it is called
	}
	*last = text
}

// podCgroups finds the cgroups of pods by their UIDs: a cgroup's id is its
// folder's inode.
func podCgroups(root string, wanted func(uid string) bool) map[string]uint64 {
	found := map[string]uint64{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // folders come and go while we look
		}
		m := podPattern.FindStringSubmatch(d.Name())
		if m == nil {
			return nil
		}
		if uid := strings.ReplaceAll(m[1], "_", "-"); wanted(uid) {
			if info, err := d.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					found[uid] = st.Ino
				}
			}
		}
		return fs.SkipDir // below are containers
	})
	return found
}
