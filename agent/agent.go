package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/agent/protocol/route"
	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	// pollTime is how often the ring is looked at. Records don't wake the
	// reader, which would cost more than everything else together.
	pollTime = 50 * time.Millisecond
	// readBatch is after how many records the clock is looked at, should the
	// ring never be empty.
	readBatch = 1024
	// frameTime is when an unfilled frame closes; an idle node sends one every
	// heartbeat, for its watermark. Both are well below the second that a
	// killed agent may lose.
	frameTime = 400 * time.Millisecond
	heartbeat = time.Second
	// settleTime is what a record's time may be behind the moment at which the
	// ring was found empty.
	settleNS = int64(1e6)
	// stopTime is how long a stopping agent tries to deliver what it has.
	stopTime = 5 * time.Second

	defaultSpool = 64 << 20
)

// Config is what an agent needs to know. Zero values have defaults but for
// Node and Connect.
type Config struct {
	Node    string // the host's name; the lane's subject ends with it
	Cluster string
	Version string // of the program, carried in every frame
	// Connect is called once the agent measures, and may take its time: what is
	// measured meanwhile is kept like that of any time when NATS is away. Its
	// error ends the agent.
	Connect func(context.Context) (c *bus.Conn, partitions int, err error)

	Cgroup     string   // cgroup v2 folder to watch; "" is the root of the tree
	OwnPorts   []uint16 // local ports of Weir's own servers, at most 4, left out
	Procfs     string   // where the host's /proc is; "/proc"
	Handover   string   // folder of a BPF file system in which capture goes on for the next agent; "" for none
	LockFile   string   // held while running, one agent a host; "/run/weir-agent.lock"
	Routes     []string // route patterns that come before the built-in rules
	LeaveOut   []string // names of processes, and paths of cgroups, that aren't measured
	RingBytes  int      // of the kernel's ring, a power of two; 16 MiB
	MaxConns   int      // connections tracked; 65,536
	SpoolBytes int      // of encoded events kept while NATS is away; 64 MiB

	Metrics prometheus.Registerer // nil for none
	Ready   func(Info)            // called once, when capture has begun
}

// Info is what an agent says of itself when capture has begun.
type Info struct {
	Cgroup string // that is watched
	NoWait string // why the wait can't be measured, "" if it can
}

// ErrRunning says that another agent watches this host.
var ErrRunning = errors.New("another agent runs on this host")

// Run measures until ctx ends, then delivers what it has, for 5 s at most.
// Errors are one sentence that says what is missing and what to do.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	cfg = cfg.withDefaults()
	routes, err := route.New(route.Config{Patterns: cfg.Routes})
	if err != nil {
		return fmt.Errorf("read route patterns: %w", err)
	}
	out, err := newLeftOut(cfg.LeaveOut)
	if err != nil {
		return err
	}
	unlock, err := lock(cfg.LockFile)
	if err != nil {
		return err
	}
	defer unlock()
	capture, err := bpf.Load(bpf.Config{Cgroup: cfg.Cgroup, RingBytes: cfg.RingBytes, OwnPorts: cfg.OwnPorts, Handover: cfg.Handover})
	if err != nil {
		return err
	}
	ring, err := capture.Ring()
	if err != nil {
		return errors.Join(err, capture.Close())
	}
	s := newSpool(cfg.SpoolBytes, out)
	l := newLoop(cfg, capture, ring, routes, out, s, log)
	if err := l.register(cfg.Metrics); err != nil {
		return errors.Join(err, ring.Close(), capture.Close())
	}
	log.Info("agent_started", "node", cfg.Node, "cgroup", capture.Root, "no_wait", capture.NoWait)
	if capture.NoHandover != "" {
		log.Warn("no_handover", "folder", cfg.Handover, "reason", capture.NoHandover, "effect", "what is asked between this agent and the next is not measured")
	}
	if cfg.Ready != nil {
		cfg.Ready(Info{Cgroup: capture.Root, NoWait: capture.NoWait})
	}

	// Stopping goes down the data path: the loop stops reading the ring and
	// closes the spool; the publisher sends what is left, for stopTime at
	// most; then the programs are detached.
	deliver, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var follow *follower
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer s.close()
		err := l.run(gctx)
		time.AfterFunc(stopTime, stop)
		return err
	})
	g.Go(func() error {
		c, partitions, err := cfg.Connect(deliver)
		if deliver.Err() != nil {
			return nil // it was stopped before it could deliver
		}
		if err != nil {
			return err
		}
		follow = &follower{leftOut: out, bus: c, node: cfg.Node, handover: cfg.Handover != "" && capture.NoHandover == "", log: log, ids: map[string]uint64{}}
		for !follow.read(deliver) && deliver.Err() == nil {
		}
		follow.publish() // before anything can be published
		g.Go(func() error { return follow.run(gctx, capture) })
		return publish(deliver, c, proto.Partition(cfg.Node, uint32(partitions)), cfg.Node, s, log)
	})
	err = g.Wait()
	if follow != nil && follow.retired.Load() {
		log.Info("agent_retired", "folder", cfg.Handover)
		err = errors.Join(err, capture.Release())
	}
	if left := s.snapshot().waiting; left > 0 {
		log.Warn("agent_stopped_with_events_unsent", "bytes", left)
	}
	err = errors.Join(err, ring.Close(), capture.Close())
	log.Info("agent_stopped", "error", err)
	return err
}

// publish opens the node's lane, however long NATS is away, and sends frames.
func publish(ctx context.Context, c *bus.Conn, partition uint32, node string, s *spool, log *slog.Logger) error {
	for {
		lane, err := c.OpenLane(ctx, bus.LaneConfig{
			Stream: proto.StreamRaw, Subject: proto.RawSubject(partition, node), Direct: true,
		})
		if err == nil {
			log.Info("lane_opened", "node", node, "epoch", lane.Epoch().String())
			if err = s.publish(ctx, lane, partition); err == nil || ctx.Err() != nil {
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("lane_not_opened", "error", err)
	}
}

func (cfg Config) withDefaults() Config {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&cfg.Procfs, "/proc")
	set(&cfg.LockFile, "/run/weir-agent.lock")
	if cfg.SpoolBytes == 0 {
		cfg.SpoolBytes = defaultSpool
	}
	return cfg
}

// loop reads the ring and owns everything between it and the spool.
type loop struct {
	capture *bpf.Capture
	ring    *bpf.Ring
	tracker *tracker
	routes  *route.Templater
	leftOut *leftOut
	batch   *batch
	spool   *spool
	clock   clock
	log     *slog.Logger

	drained   int64 // boot time at which the ring was last seen empty
	newest    int64 // boot time of the newest record read
	early     bool  // the frame was begun before the pods to leave out were known
	flushed   int64 // boot time of the last frame
	ringLoss  ringLoss
	stats     stats
	published snapshot
}

func newLoop(cfg Config, capture *bpf.Capture, ring *bpf.Ring, routes *route.Templater, out *leftOut, s *spool, log *slog.Logger) *loop {
	l := &loop{capture: capture, ring: ring, routes: routes, spool: s, early: true, log: log}
	l.batch = newBatch(proto.Frame{Cluster: cfg.Cluster, Node: cfg.Node, Agent: cfg.Version}, func(f *proto.Frame) {
		if err := s.put(f, l.early); err != nil {
			// Unencodable is a defect of ours; the events are lost, so count them.
			log.Error("frame_dropped", "error", err)
			l.batch.lost(proto.LossEvent, proto.UnitExchanges, uint64(len(f.Events)))
		}
	})
	l.leftOut = out
	procs := newProcesses(usableProcfs(cfg.Procfs, capture.PID, log), capture.Root, out)
	l.tracker = newTracker(cfg.MaxConns, procs, l.exchange, l.batch.lost)
	l.tracker.reads = capture.NoWait == ""
	l.ringLoss.last = capture.Inherited.Told
	l.tracker.inherits = capture.Inherited.Any
	if n := capture.Inherited.Records; n > 0 {
		l.batch.lost(proto.LossRestart, proto.UnitRecords, n)
	}
	l.clock.measure()
	return l
}

// run reads until ctx ends and the ring is empty.
func (l *loop) run(ctx context.Context) error {
	var r record
	take := func(sample []byte) {
		if err := decode(sample, &r); err != nil {
			l.stats.undecodable++
			return
		}
		l.stats.records++
		l.newest = max(l.newest, int64(r.TimeNs))
		l.tracker.record(&r)
	}
	l.flushed = bootTime()
	for stopping := false; ; stopping = ctx.Err() != nil {
		now := bootTime()
		drained := l.ring.Read(readBatch, take)
		if drained {
			l.drained = now
			l.tracker.inherits = false
		}
		if stopping && drained {
			return l.stop()
		}
		l.tick(bootTime())
		if drained {
			if err := l.ring.Wait(pollTime); err != nil {
				return err
			}
		}
	}
}

// stop leaves what follows to the next agent, and tells what only this one
// knows: of exchanges that are under way it saw the request alone.
func (l *loop) stop() error {
	err := l.capture.HandOver()
	now := bootTime()
	l.tracker.end(now)
	l.clock.measure()
	l.losses(now, true)
	l.flush(now)
	return err
}

// tick does what is due: old segments, losses, the frame.
func (l *loop) tick(now int64) {
	l.tracker.sweep(now)
	age := time.Duration(now - l.flushed)
	if age < frameTime || (l.batch.empty() && age < heartbeat) {
		return
	}
	l.clock.measure()
	l.losses(now, false)
	l.flush(now)
}

func (l *loop) flush(now int64) {
	l.flushed = now
	// All that ended before the ring was last empty has been read; if it
	// never is, all before the newest record less what may be in flight.
	settled := max(l.drained, l.newest-int64(pollTime)) - settleNS
	l.batch.flush(l.clock.wall(settled), l.clock.wall(now))
	l.early = !l.leftOut.known()
	l.publishStats()
}
