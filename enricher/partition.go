package enricher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	patience   = time.Second   // age up to which a frame waits for names
	maxWaiting = 32            // frames that wait at once: each is up to 600 KB of events
	again      = patience / 10 // between tries to name a frame
	warmUp     = 64            // frames before the position that are read again to learn sockets from
)

// partition enriches one partition. Its only state that matters is the lane's
// last message.
type partition struct {
	log    *slog.Logger
	m      *metrics
	number uint32
	all    uint32 // partitions of the install
	lane   *bus.Lane
	reader *bus.Reader
	namer  Namer

	warned bool // of a message that is no agent's

	src   uint64 // input sequence consumed up to when the lane was opened
	seq   uint64 // messages published in this epoch
	queue []*waiting
	free  []*proto.Frame
	out   []byte
}

// waiting is a frame on its way through.
type waiting struct {
	frame     *proto.Frame
	src       uint64 // its sequence in WEIR_RAW
	missing   Missing
	until     time.Time // it goes then
	tried     time.Time // to name it
	lookAhead bool      // the node's next frame has been learned from
	waited    bool
}

// enrich goes on after the lane's last message until ctx ends or it fails.
func enrich(ctx context.Context, cfg Config, m *metrics, log *slog.Logger, number uint32) error {
	p := &partition{log: log, m: m, number: number}
	all, err := cfg.Bus.Partitions(ctx)
	if err != nil {
		return err
	}
	p.all = uint32(all)
	far := meet(ctx, cfg.Bus, m, number, p.all)
	defer far.leave()
	p.namer = cfg.NewNamer(far)
	p.lane, err = cfg.Bus.OpenLane(ctx, bus.LaneConfig{
		Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(number), Input: true,
	})
	if err != nil {
		return err
	}
	if err := p.open(ctx, cfg.Bus); err != nil {
		return err
	}
	defer p.reader.Close()
	log.Info("enriching", "partition", number, "after", p.src, "epoch", p.lane.Epoch().String())
	err = p.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open starts reading after the lane's Weir-Src. If that position is not of
// the stream as it is now (made anew, or its end lost in a power cut), every
// frame is read: readers of frames tell by their numbers what is new.
func (p *partition) open(ctx context.Context, c *bus.Conn) error {
	if last := p.lane.Last(); last != nil {
		info, err := c.StreamInfo(ctx, proto.StreamRaw)
		if err != nil {
			return err
		}
		p.src = last.Src
		if info.Created.After(last.Time) || p.src > info.LastSeq {
			p.log.Warn("input_is_another", "partition", p.number, "position", p.src, "created", info.Created, "last_seq", info.LastSeq)
			p.src = 0
		}
	}
	start := uint64(1)
	if p.src > warmUp {
		start = p.src + 1 - warmUp
	}
	var err error
	p.reader, err = c.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamRaw, Subjects: []string{proto.RawPartitionSubjects(p.number)}, StartSeq: start, Foreign: true,
	})
	return err
}

func (p *partition) run(ctx context.Context) error {
	for {
		if err := p.publishReady(ctx); err != nil {
			return err
		}
		m, err := p.next(ctx)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue // it is time to look at the first frame
		}
		if err != nil {
			return err
		}
		p.take(&m)
	}
}

// next reads a frame, until the first waiting one must go.
func (p *partition) next(ctx context.Context) (bus.Message, error) {
	if len(p.queue) == 0 {
		return p.reader.Next(ctx)
	}
	ctx, cancel := context.WithDeadline(ctx, p.queue[0].next())
	defer cancel()
	return p.reader.Next(ctx)
}

// take learns from a frame, names what it can and queues it.
func (p *partition) take(m *bus.Message) {
	f := p.frame()
	if !p.decode(m, f) {
		p.free = append(p.free, f)
		return
	}
	p.namer.Learn(f)
	if m.Sequence <= p.src {
		p.free = append(p.free, f)
		return
	}
	for _, w := range p.queue {
		w.lookAhead = w.lookAhead || w.frame.Node == f.Node
	}
	age := min(max(time.Since(m.Time), 0), patience) // the server's clock may differ from this one
	now := time.Now()
	p.queue = append(p.queue, &waiting{frame: f, src: m.Sequence, missing: p.namer.Name(f), until: now.Add(patience - age), tried: now})
}

// decode reads a message's frame, or counts why it is left out.
func (p *partition) decode(m *bus.Message, f *proto.Frame) bool {
	err := f.Decode(m.Data)
	switch {
	case err == nil && p.rightful(m, f):
		return true
	case err != nil && m.FromLane():
		p.m.undecodable.Inc()
		p.log.Error("frame_left_out", "subject", m.Subject, "sequence", m.Sequence, "error", err)
	default:
		p.m.foreign.Inc()
		if !p.warned {
			p.warned = true
			p.log.Warn("foreign_message_left_out", "subject", m.Subject, "sequence", m.Sequence)
		}
	}
	return false
}

// rightful tells whether a message is what it says: the frame of the node whose
// lane it is on, in that node's partition.
func (p *partition) rightful(m *bus.Message, f *proto.Frame) bool {
	return m.FromLane() && m.Epoch == f.Epoch && !f.Enriched &&
		proto.Partition(f.Node, p.all) == p.number && proto.RawSubject(p.number, f.Node) == m.Subject
}

// next is when to look at a frame again.
func (w *waiting) next() time.Time {
	if t := w.tried.Add(again); w.missing == Anything && t.Before(w.until) {
		return t
	}
	return w.until
}

// mayGo tells whether nothing is gained by waiting on.
func (w *waiting) mayGo(now time.Time) bool {
	return w.missing == Nothing || w.missing == NextFrame && w.lookAhead || !now.Before(w.until)
}

func (p *partition) frame() *proto.Frame {
	if n := len(p.free); n > 0 {
		f := p.free[n-1]
		p.free = p.free[:n-1]
		return f
	}
	return new(proto.Frame)
}

// publishReady publishes frames from the front of the queue up to one that
// had better wait.
func (p *partition) publishReady(ctx context.Context) error {
	for len(p.queue) > 0 {
		w, now := p.queue[0], time.Now()
		full := len(p.queue) >= maxWaiting
		if w.missing != Nothing && (full || w.mayGo(now) || !now.Before(w.next())) {
			w.missing, w.tried, w.waited = p.namer.Name(w.frame), now, true
		}
		if !full && !w.mayGo(now) {
			break
		}
		if w.waited {
			p.m.waited.Inc()
		}
		if err := p.publish(ctx, w); err != nil {
			return err
		}
		p.queue = append(p.queue[:0], p.queue[1:]...)
		p.free = append(p.free, w.frame)
	}
	p.m.lag.WithLabelValues(proto.PartitionToken(p.number)).Set(float64(p.reader.Lag()))
	return nil
}

func (p *partition) publish(ctx context.Context, w *waiting) error {
	f := w.frame
	f.Enriched = true
	unresolved, stale := 0, 0
	for i := range f.Events {
		if f.Events[i].Flags&proto.FlagUnresolved != 0 {
			unresolved++
		}
		if f.Events[i].Flags&proto.FlagStale != 0 {
			stale++
		}
	}
	data, err := f.Append(p.out[:0])
	if errors.Is(err, proto.ErrFrameTooLarge) {
		p.m.tooLarge.Inc()
		unresolved = len(f.Events)
		data, err = withoutNames(f).Append(p.out[:0])
	}
	if err != nil {
		p.m.undecodable.Inc()
		p.log.Error("frame_left_out", "node", f.Node, "sequence", w.src, "error", err)
		return nil
	}
	p.out = data
	p.seq++
	if _, err := p.lane.Publish(ctx, data, p.seq, w.src, len(f.Events)); err != nil {
		return fmt.Errorf("publish enriched frame: %w", err)
	}
	p.m.frames.Inc()
	p.m.events.Add(float64(len(f.Events)))
	p.m.unresolved.Add(float64(unresolved))
	p.m.stale.Add(float64(stale))
	return nil
}

// withoutNames takes the names out of a frame, which fitted before it had them.
func withoutNames(f *proto.Frame) *proto.Frame {
	for i := range f.Events {
		e := &f.Events[i]
		e.From, e.To = proto.Endpoint{}, proto.Endpoint{}
		e.Flags |= proto.FlagUnresolved
	}
	return f
}
