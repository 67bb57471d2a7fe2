package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Record is what the programs put into the ring, and ConnInfo what follows it
// in some kinds: see record.h. Counters are added up over all CPUs.
type (
	Record   = weirRecord
	ConnInfo = weirConnInfo
	Counters = weirCounters
)

// Kinds and flags of a [Record].
const (
	KindData   = uint8(weirRecordKindREC_DATA)
	KindConn   = uint8(weirRecordKindREC_CONN)
	KindProc   = uint8(weirRecordKindREC_PROC)
	KindRead   = uint8(weirRecordKindREC_READ)
	KindFIN    = uint8(weirRecordKindREC_FIN)
	KindClose  = uint8(weirRecordKindREC_CLOSE)
	KindEarly  = uint8(weirRecordKindREC_EARLY)
	KindAnswer = uint8(weirRecordKindREC_ANSWER)

	FlagOut    = uint16(weirRecordFlagFLAG_OUT)
	FlagTurn   = uint16(weirRecordFlagFLAG_TURN)
	FlagTail   = uint16(weirRecordFlagFLAG_TAIL)
	FlagForget = uint16(weirRecordFlagFLAG_FORGET)
	FlagFresh  = uint16(weirRecordFlagFLAG_FRESH)
	FlagGuess  = uint16(weirRecordFlagFLAG_GUESS)
	FlagSkip   = uint16(weirRecordFlagFLAG_SKIP)
	FlagLost   = uint16(weirRecordFlagFLAG_LOST)
)

// Config says what to watch.
type Config struct {
	Cgroup    string   // cgroup v2 folder whose sockets to watch; "" finds the root, that is all
	RingBytes int      // a power of two; 0 is 16 MiB
	OwnPorts  []uint16 // up to 4 local ports of our own servers, left out
	// Handover is a folder in a BPF file system, made if need be, in which the
	// programs and what they know outlive the process, until another Load with
	// the same folder takes them over. "" is for programs that end with it.
	Handover string
}

// DefaultRingBytes holds 200 ms of 100,000 exchanges a second, both ends: so long
// may the agent wait for a processor.
const DefaultRingBytes = 16 << 20

// Capture is the loaded and attached programs.
type Capture struct {
	// NoWait says why the end of the wait isn't seen, "" if it is.
	NoWait string
	// NoHandover says why the programs end with this process although
	// Config.Handover is set, "" if they don't.
	NoHandover string
	// Root is the cgroup that the programs are attached to.
	Root string
	// PID is this process as the kernel numbers it, outside every namespace.
	PID uint32

	// Inherited says what the agent before left: zero if there was none.
	Inherited Inherited

	collection *ebpf.Collection
	links      map[string]link.Link // by the names of their programs
	leftOut    map[uint64]bool      // what the map left_out holds
	pins       pins

	mu sync.Mutex // of changes to shared
}

// Load checks the host, loads the programs and attaches them. From its return
// on every connection's segments are in the ring. Errors are one sentence that
// says what is missing and what to do.
func Load(cfg Config) (*Capture, error) {
	if err := CheckHost(); err != nil {
		return nil, err
	}
	root, err := FindCgroup(cfg.Cgroup)
	if err != nil {
		return nil, err
	}
	// Before 5.11 maps are charged to RLIMIT_MEMLOCK. Where it can't be lifted
	// and is needed, creating the maps fails and says so.
	_ = rlimit.RemoveMemlock()

	c := &Capture{Root: root, links: map[string]link.Link{}}
	if err := c.load(cfg, loadWeir); err != nil {
		return nil, explain("load", err)
	}
	if err := c.attach(); err != nil {
		return nil, explain("attach", errors.Join(err, c.Close()))
	}
	if err := c.pin(); err != nil {
		// Nobody will say any more that an agent lives.
		alone := c.share(func(s *weirAgents) { s.BeatNs, s.Abandoned = 0, 0 })
		c.NoHandover = errors.Join(err, alone, c.Release()).Error()
		c.pins = pins{}
	}
	return c, nil
}

// load takes the full object where it can, and else the one without tracing
// programs: everything but the wait is measured with that.
func (c *Capture) load(cfg Config, full func() (*ebpf.CollectionSpec, error)) error {
	v, err := kernelVersion()
	if err != nil {
		return err
	}
	if v < kernel(5, 12) {
		c.NoWait = "kernels before 5.12 have no socket storage or cookies in tracing programs"
	} else if err := c.loadObject(cfg, "weir", full); err == nil || forbidden(err) {
		return err
	} else {
		c.NoWait = "the read hook can't be loaded: " + err.Error()
	}
	return c.loadObject(cfg, "weirold", loadWeirold)
}

func (c *Capture) loadObject(cfg Config, name string, load func() (*ebpf.CollectionSpec, error)) error {
	spec, err := load()
	if err != nil {
		return err
	}
	c.NoHandover = ""
	if c.pins, err = findPins(cfg.Handover, name, c.Root, spec); err != nil {
		c.NoHandover = err.Error()
	}
	defer c.pins.closeMaps()
	ring := cfg.RingBytes
	if ring == 0 {
		ring = DefaultRingBytes
	}
	if old := c.pins.maps["ring"]; old != nil {
		ring = int(old.MaxEntries())
	}
	spec.Maps["ring"].MaxEntries = uint32(ring)
	if err := spec.Variables["wake_bytes"].Set(uint32(ring / 8)); err != nil {
		return err
	}
	var ports [4]uint16
	if copy(ports[:], cfg.OwnPorts) < len(cfg.OwnPorts) {
		return fmt.Errorf("leave out ports %v: at most %d", cfg.OwnPorts, len(ports))
	}
	if err := spec.Variables["own_ports"].Set(ports); err != nil {
		return err
	}
	netns, err := ownNetNS()
	if err != nil {
		return err
	}
	if err := spec.Variables["own_netns"].Set(netns); err != nil {
		return err
	}
	if c.pins.maps != nil {
		if c.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: c.pins.maps}); err == nil {
			return nil
		}
		c.pins.closeMaps()
		c.pins.maps = nil // then it begins anew
	}
	c.collection, err = ebpf.NewCollection(spec)
	return err
}

func (c *Capture) attach() error {
	whoami := c.collection.Programs["weir_whoami"]
	if _, err := whoami.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("run weir_whoami: %w", err)
	}
	shared, err := c.shared()
	if err != nil {
		return err
	}
	c.PID = shared.OwnTgid
	if err := c.inherit(); err != nil {
		return err
	}
	if err := c.attachTracing(); err != nil {
		c.NoWait = "the read hook can't be attached: " + err.Error()
	}
	for name, typ := range map[string]ebpf.AttachType{
		"weir_ingress": ebpf.AttachCGroupInetIngress,
		"weir_egress":  ebpf.AttachCGroupInetEgress,
	} {
		var err error
		l := c.pins.update(name, c.collection.Programs[name])
		if l == nil {
			l, err = link.AttachCgroup(link.CgroupOptions{Path: c.Root, Attach: typ, Program: c.collection.Programs[name]})
		}
		if err != nil {
			return fmt.Errorf("attach %s to %s: %w", name, c.Root, err)
		}
		c.links[name] = l
	}
	return nil
}

// attachTracing attaches all tracing programs of the object, or none.
func (c *Capture) attachTracing() error {
	for name, p := range c.collection.Programs {
		if p.Type() != ebpf.Tracing {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			err = fmt.Errorf("attach %s: %w", name, err)
			for _, l := range c.links {
				err = errors.Join(err, l.Close())
			}
			clear(c.links)
			return err
		}
		c.links[name] = l
	}
	return nil
}

// LeaveOut makes the programs ignore the sockets of these cgroups, by id, and of
// all below them, and of no others. Sockets that are open take part: what is
// under way at those is forgotten. The programs without the read hook (NoWait)
// can't. It is not safe for concurrent use.
func (c *Capture) LeaveOut(cgroups []uint64) error {
	m, wanted := c.collection.Maps["left_out"], map[uint64]bool{}
	if m == nil {
		return errors.New("leave out cgroups: the programs for kernels before 5.12 can't")
	}
	if limit := int(m.MaxEntries()); len(cgroups) > limit {
		return fmt.Errorf("leave out %d cgroups: the kernel programs take at most %d", len(cgroups), limit)
	}
	if c.leftOut == nil {
		c.leftOut = map[uint64]bool{}
	}
	for _, id := range cgroups {
		wanted[id] = true
	}
	for id := range c.leftOut {
		if wanted[id] {
			continue
		}
		if err := m.Delete(id); err != nil {
			return fmt.Errorf("leave out cgroups: %w", err)
		}
		delete(c.leftOut, id)
	}
	for id := range wanted {
		if err := m.Put(id, uint8(1)); err != nil {
			return fmt.Errorf("leave out cgroups: %w", err)
		}
		c.leftOut[id] = true
	}
	if err := c.share(func(s *weirAgents) { s.LeftOutVersion++ }); err != nil {
		return fmt.Errorf("leave out cgroups: %w", err)
	}
	return nil
}

// shared reads what the programs and the agents share.
func (c *Capture) shared() (s weirAgents, err error) {
	if err := c.collection.Variables["shared"].Get(&s); err != nil {
		return s, fmt.Errorf("read what programs share: %w", err)
	}
	return s, nil
}

// share changes it.
func (c *Capture) share(change func(*weirAgents)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.shared()
	if err != nil {
		return err
	}
	change(&s)
	if err := c.collection.Variables["shared"].Set(&s); err != nil {
		return fmt.Errorf("change what programs share: %w", err)
	}
	return nil
}

// Counters adds up what the programs counted on all CPUs.
func (c *Capture) Counters() (Counters, error) {
	return sum(c.collection.Maps["counts"])
}

func sum(counts *ebpf.Map) (all Counters, err error) {
	var perCPU []Counters
	if err := counts.Lookup(uint32(0), &perCPU); err != nil {
		return all, fmt.Errorf("read counters: %w", err)
	}
	for _, n := range perCPU {
		all.Records += n.Records
		all.LostRing += n.LostRing
		all.LostStorage += n.LostStorage
		all.Unreadable += n.Unreadable
		all.LeftOut += n.LeftOut
	}
	return all, nil
}

// ProgramStats is what the kernel spent in one program. It counts only while
// the sysctl kernel.bpf_stats_enabled is 1.
type ProgramStats struct {
	Name     string
	RunNS    uint64
	RunCount uint64
}

// Stats reads the cost of each attached program from the kernel.
func (c *Capture) Stats() ([]ProgramStats, error) {
	var out []ProgramStats
	for name, p := range c.collection.Programs {
		s, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of %s: %w", name, err)
		}
		out = append(out, ProgramStats{Name: name, RunNS: uint64(s.Runtime), RunCount: s.RunCount})
	}
	return out, nil
}

// Close detaches and unloads, or with Config.Handover leaves that to the next
// Load or to Release. Its rings must be closed before.
func (c *Capture) Close() error {
	var errs []error
	for _, l := range c.links {
		errs = append(errs, l.Close())
	}
	clear(c.links)
	c.collection.Close()
	return errors.Join(errs...)
}

// forbidden says whether it was the user that was refused. The verifier
// refuses programs with the same EACCES, but says why.
func forbidden(err error) bool {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		return false
	}
	return errors.Is(err, os.ErrPermission)
}

// explain turns the kernel's refusals into what to do about them.
func explain(verb string, err error) error {
	switch {
	case strings.Contains(err.Error(), "MEMLOCK"): // before 5.11, and it says EPERM
		return fmt.Errorf("%s BPF programs: raise RLIMIT_MEMLOCK (ulimit -l unlimited), or run with the capability SYS_RESOURCE: %w", verb, err)
	case forbidden(err):
		return fmt.Errorf("%s BPF programs: the kernel refused it: run as root, or with the capabilities BPF, PERFMON and NET_ADMIN and a seccomp profile that allows bpf(2): %w", verb, err)
	}
	return fmt.Errorf("%s BPF programs: %w", verb, err)
}
