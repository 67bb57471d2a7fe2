package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// layout is the version of all that a later agent must understand: records
// (record.h), and the maps. Raise it when one of them changes, and take the new
// layoutSum from the test that then fails; what the agent before left unread can
// only be counted by the next one then.
const (
	layout    = 1
	layoutSum = "8383f9bd8dfaf7c1"
)

// abandonedNS is after how long programs that no agent reads may do nothing any
// more, and nobody takes them over: ABANDONED_NS of weir.bpf.c.
const abandonedNS = uint64(10 * time.Minute)

// Maps that the next agent takes over. Their pins have the same names.
var handedOver = []string{"ring", "sockets", "early", "counts", ".data.shared"}

// Inherited is what an agent left to the one after it.
type Inherited struct {
	Any     bool     // it left something that goes on
	LeftOut bool     // cgroups that are left out among it
	Told    Counters // of these, agents have told already (LostRing, LostStorage)
	Records uint64   // that could not be taken over, and it had not told of: they are lost
}

// pins is the folder in which programs and maps outlive an agent.
type pins struct {
	parent, dir string
	suffix      string               // of all folders for the same cgroup
	maps        map[string]*ebpf.Map // what is there to be taken over
	links       map[string]bool      // that were, by the names of their programs
}

// findPins looks for what an agent with the same programs left. What can't be
// taken over isn't in maps; pin replaces it.
func findPins(parent, object, root string, spec *ebpf.CollectionSpec) (pins, error) {
	p := pins{links: map[string]bool{}}
	if parent == "" {
		return p, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return p, fmt.Errorf("open cgroup %s: %w", root, err)
	}
	var kind unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(parent), &kind); err != nil {
		return p, fmt.Errorf("open %s: %w", filepath.Dir(parent), err)
	}
	if kind.Type != unix.BPF_FS_MAGIC {
		return p, fmt.Errorf("%s is not in a BPF file system: mount one (mount -t bpf bpf %s)", parent, filepath.Dir(parent))
	}
	p.parent = parent
	// One folder for each cgroup that is watched: a machine may have several nodes.
	p.suffix = "-" + strconv.FormatUint(st.Ino, 10)
	p.dir = filepath.Join(parent, object+"-"+strconv.Itoa(layout)+p.suffix)
	maps := map[string]*ebpf.Map{}
	for _, name := range handedOver {
		m, err := ebpf.LoadPinnedMap(filepath.Join(p.dir, pinName(name)), nil)
		if err != nil {
			closeAll(maps)
			if errors.Is(err, fs.ErrNotExist) {
				return p, nil
			}
			return pins{}, fmt.Errorf("take over %s from the agent before: %w", name, err)
		}
		maps[name] = m
		want := spec.Maps[name]
		if m.Type() != want.Type || m.ValueSize() != want.ValueSize || m.KeySize() != want.KeySize {
			closeAll(maps)
			return p, nil
		}
	}
	var s weirAgents
	if err := maps[".data.shared"].Lookup(uint32(0), &s); err != nil {
		closeAll(maps)
		return pins{}, fmt.Errorf("take over from the agent before: %w", err)
	}
	// After so long an agent that doesn't hand over may have measured as well.
	if s.Abandoned != 0 || bootTime()-s.BeatNs > abandonedNS {
		closeAll(maps)
		return p, nil
	}
	p.maps = maps
	return p, nil
}

func closeAll(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		_ = m.Close()
	}
}

// closeMaps closes what findPins opened: a collection has its own.
func (p *pins) closeMaps() { closeAll(p.maps) }

// pinName is a name that a BPF file system takes: without dots.
func pinName(name string) string {
	if name[0] == '.' {
		return "shared"
	}
	return name
}

// update has the link of the agent before run a program from now on, without a
// packet seen by none or by both. It is nil if there is none that can.
func (p *pins) update(name string, program *ebpf.Program) link.Link {
	if p.maps == nil {
		return nil
	}
	l, err := link.LoadPinnedLink(filepath.Join(p.dir, name), nil)
	if err != nil {
		return nil
	}
	if err := l.Update(program); err != nil {
		_ = l.Close()
		return nil
	}
	p.links[name] = true
	return l
}

// inherit begins a generation of announcements: this agent knows no socket.
func (c *Capture) inherit() error {
	if c.pins.maps == nil {
		return nil
	}
	return c.share(func(s *weirAgents) {
		s.Generation++
		c.Inherited.LeftOut = s.LeftOutVersion != 0
		c.Inherited.Any, c.Inherited.Told = true, Counters{LostRing: s.ToldRing, LostStorage: s.ToldStorage}
	})
}

// pin makes all outlive this process, and ends what agents before left that
// wasn't taken over.
func (c *Capture) pin() error {
	parent := c.pins.parent
	if parent == "" {
		return nil
	}
	if err := c.Beat(c.Inherited.Told); err != nil {
		return err
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		old := filepath.Join(parent, e.Name())
		if !strings.HasSuffix(old, c.pins.suffix) || old == c.pins.dir && c.pins.maps != nil {
			continue
		}
		n, err := untold(old)
		if err != nil {
			return fmt.Errorf("count what the agent before left: %w", err)
		}
		c.Inherited.Records += n
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("end the programs of the agent before: %w", err)
		}
	}
	if err := os.MkdirAll(c.pins.dir, 0o700); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	for name, l := range c.links {
		if c.pins.links[name] {
			continue
		}
		path := filepath.Join(c.pins.dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // it would go on beside the new one
		}
		if err := l.Pin(path); err != nil {
			return fmt.Errorf("hand over %s: %w", name, err)
		}
	}
	if c.pins.maps != nil {
		return nil
	}
	for _, name := range handedOver {
		if err := c.collection.Maps[name].Pin(filepath.Join(c.pins.dir, pinName(name))); err != nil {
			return fmt.Errorf("hand over %s: %w", name, err)
		}
	}
	return nil
}

// untold counts what an agent left in a folder that can't be taken over: records
// that wait in its ring, and those lost since it last told of them.
func untold(dir string) (n uint64, err error) {
	ring, err := ebpf.LoadPinnedMap(filepath.Join(dir, "ring"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer ring.Close()
	r, err := openRing(ring)
	if err == nil {
		r.Read(math.MaxInt, func([]byte) { n++ })
	}
	if err := errors.Join(err, r.Close()); err != nil {
		return 0, err
	}
	counts, err := ebpf.LoadPinnedMap(filepath.Join(dir, "counts"), nil)
	if err != nil {
		return n, nil //nolint:nilerr // of another version, which doesn't say
	}
	defer counts.Close()
	shared, err := ebpf.LoadPinnedMap(filepath.Join(dir, "shared"), nil)
	if err != nil {
		return n, nil //nolint:nilerr // the same
	}
	defer shared.Close()
	var s weirAgents
	c, err := sum(counts)
	if err == nil && shared.Lookup(uint32(0), &s) == nil {
		n += c.LostRing - s.ToldRing + c.LostStorage - s.ToldStorage
	}
	return n, nil
}

// Beat says that this agent lives, and what it has told of the counters: call it
// every second or so. It does nothing without Config.Handover.
func (c *Capture) Beat(told Counters) error {
	if c.pins.parent == "" {
		return nil
	}
	return c.share(func(s *weirAgents) {
		s.BeatNs, s.Abandoned = bootTime(), 0
		s.ToldRing, s.ToldStorage = told.LostRing, told.LostStorage
	})
}

func bootTime() uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // never fails
	return uint64(now.Nano())
}

// HandOver leaves what comes from now on to the next agent: every socket
// announces itself again. The ring must have been read to its end.
func (c *Capture) HandOver() error {
	if c.pins.parent == "" {
		return nil
	}
	// No process has that number; 0 is the kernel's own, which sends again.
	return c.share(func(s *weirAgents) { s.Generation++; s.OwnTgid = math.MaxUint32 })
}

// Release ends the programs with this process after all.
func (c *Capture) Release() error {
	if c.pins.parent == "" {
		return nil
	}
	err := os.RemoveAll(c.pins.dir)
	_ = os.Remove(c.pins.parent) // unless other nodes' are in it
	return err
}
