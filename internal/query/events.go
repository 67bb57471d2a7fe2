package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// alive is how long a node is waited for after its last frame; agents send one
// a second, also when idle.
const alive = 10 * time.Second

// FrameOptions say which frames to read from WEIR_ENRICHED, and what of them.
type FrameOptions struct {
	Interval Interval      // of the events' ends; not widened
	Follow   bool          // go on for ever; Interval.ToNS counts for nothing
	ToEnd    bool          // read on to the end of the stream: nodes that were cut off sent later
	Wait     time.Duration // how long to wait for frames that are on their way

	// The events that are decoded, as in [proto.Frame.DecodeWhere]; a nil Keep
	// decodes those of the interval.
	Columns proto.Columns
	Keep    func(*proto.Frame, *proto.Event) bool
}

// Frames calls take for every frame that may hold events of the interval, in
// the order of the stream; the frame holds those that are wanted. Without Follow
// it ends when every node that is alive has promised to send nothing more of the
// interval, or at the end of the stream after Wait. What a node sends later,
// because it was cut off, is seen with ToEnd, or by those who read again.
func Frames(ctx context.Context, c *bus.Conn, o FrameOptions, take func(*bus.Message, *proto.Frame) error) error {
	if o.Follow {
		o.Interval.ToNS = 1<<63 - 1
	}
	within := narrowing{ends, func(_ *proto.Frame, e *proto.Event) bool { return o.Interval.Contains(e.EndNS) }}
	if o.Keep != nil {
		within = within.and(narrowing{o.Columns, o.Keep})
	}
	f := frames{options: o, where: within, take: take, nodes: map[string]nodeMark{}}
	if o.Follow {
		return f.read(ctx, c, false)
	}
	if err := f.read(ctx, c, true); err != nil || f.complete() || o.Wait == 0 {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	if err := f.read(waiting, c, false); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}

// EventOptions say what to read from WEIR_ENRICHED.
type EventOptions struct {
	Interval  Interval // of the events' ends; not widened
	Follow    bool     // go on for ever; Interval.ToNS counts for nothing
	Selection Selection
	Filter    *Filter       // nil wants all
	Wait      time.Duration // how long to wait for frames that are on their way
}

// Events calls show for every event that is asked for, node by node in the
// order they ended, and ends as [Frames] does. Most of what isn't asked for is
// never decoded.
func Events(ctx context.Context, c *bus.Conn, o EventOptions, show func(*Event) error) error {
	frames := FrameOptions{Interval: o.Interval, Follow: o.Follow, Wait: o.Wait}
	if where := o.narrowing(); where.keep != nil {
		frames.Columns, frames.Keep = where.columns, where.keep
	}
	return Frames(ctx, c, frames, func(_ *bus.Message, f *proto.Frame) error {
		for i := range f.Events {
			event := NewEvent(f.Node, &f.Events[i])
			if o.Filter != nil {
				wanted, err := o.Filter.Wants(event)
				if err != nil {
					return err
				}
				if !wanted {
					continue
				}
			}
			if err := show(event); err != nil {
				return err
			}
		}
		return nil
	})
}

// Chooser returns what tells the events that are asked for from others, in frames
// that were decoded whole. Only a filter makes it take the view of one.
func (o EventOptions) Chooser() func(*proto.Frame, *proto.Event) (bool, error) {
	narrow := o.narrowing()
	return func(f *proto.Frame, e *proto.Event) (bool, error) {
		if narrow.keep != nil && !narrow.keep(f, e) {
			return false, nil
		}
		if o.Filter == nil {
			return true, nil
		}
		return o.Filter.Wants(NewEvent(f.Node, e))
	}
}

type nodeMark struct {
	watermark int64
	seen      time.Time
}

// frames is the state of one call of [Frames].
type frames struct {
	options FrameOptions
	where   narrowing
	take    func(*bus.Message, *proto.Frame) error
	next    uint64 // stream sequence to go on from
	clock   time.Time
	nodes   map[string]nodeMark
	frame   proto.Frame
}

func (f *frames) read(ctx context.Context, c *bus.Conn, toEnd bool) error {
	for msg, err := range c.Messages(ctx, bus.ReadConfig{
		Stream:    proto.StreamEnriched,
		Subjects:  []string{proto.SubjectsEnriched},
		StartSeq:  f.next,
		StartTime: f.options.Interval.From().Add(-Early),
		StopAtEnd: toEnd,
	}) {
		if err != nil {
			return err
		}
		f.next = msg.Sequence + 1
		if err := f.frame.DecodeWhere(msg.Data, f.where.columns, f.where.keep); err != nil {
			return fmt.Errorf("read message %d of %s: %w", msg.Sequence, proto.StreamEnriched, err)
		}
		f.clock = msg.Time
		f.nodes[f.frame.Node] = nodeMark{watermark: f.frame.WatermarkNS, seen: msg.Time}
		if err := f.take(msg, &f.frame); err != nil {
			return err
		}
		if !f.options.Follow && f.complete() && (!toEnd || !f.options.ToEnd && f.clock.After(f.options.Interval.To().Add(Early))) {
			return nil
		}
	}
	return nil
}

// complete reports whether every node that is alive has come past the interval.
func (f *frames) complete() bool {
	for _, n := range f.nodes {
		if n.watermark < f.options.Interval.ToNS && f.clock.Sub(n.seen) < alive {
			return false
		}
	}
	return len(f.nodes) > 0
}

// Last keeps the last of many events.
type Last struct {
	size int
	kept []*Event
	next int
}

// NewLast keeps a number of them.
func NewLast(n int) *Last { return &Last{size: n, kept: []*Event{}} }

// Add takes an event in.
func (l *Last) Add(e *Event) error {
	if len(l.kept) < l.size {
		l.kept = append(l.kept, e)
		return nil
	}
	l.kept[l.next] = e
	l.next = (l.next + 1) % l.size
	return nil
}

// Events are those that were added last, in that order.
func (l *Last) Events() []*Event { return append(l.kept[l.next:], l.kept[:l.next]...) }
