package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// alive is how long a node is waited for after its last frame; agents send one
// a second, also when idle.
const alive = 10 * time.Second

// EventOptions say what to read from WEIR_ENRICHED.
type EventOptions struct {
	Interval  Interval // of the events' ends; not widened
	Follow    bool     // go on for ever; Interval.ToNS counts for nothing
	Selection Selection
	Filter    *Filter       // nil wants all
	Wait      time.Duration // how long to wait for frames that are on their way
}

// Events calls show for every event that is asked for, node by node in the
// order they ended. Without Follow it ends when every node that is alive has
// promised to send nothing more of the interval, or at the end of the stream
// after Options.Wait. What a node sends later, because it was cut off, is seen
// only by those who read again.
func Events(ctx context.Context, c *bus.Conn, o EventOptions, show func(*Event) error) error {
	e := events{options: o, show: show, nodes: map[string]nodeMark{}}
	if o.Follow {
		e.options.Interval.ToNS = 1<<63 - 1
		return e.read(ctx, c, false)
	}
	if err := e.read(ctx, c, true); err != nil || e.complete() || o.Wait == 0 {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	if err := e.read(waiting, c, false); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}

type nodeMark struct {
	watermark int64
	seen      time.Time
}

// events is the state of one call of [Events].
type events struct {
	options EventOptions
	show    func(*Event) error
	next    uint64 // stream sequence to go on from
	clock   time.Time
	nodes   map[string]nodeMark
	frame   proto.Frame
}

func (e *events) read(ctx context.Context, c *bus.Conn, toEnd bool) error {
	r, err := c.Read(ctx, bus.ReadConfig{
		Stream:    proto.StreamEnriched,
		Subjects:  []string{proto.SubjectsEnriched},
		StartSeq:  e.next,
		StartTime: e.options.Interval.From().Add(-early),
		StopAtEnd: toEnd,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		msg, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e.next = msg.Sequence + 1
		if err := e.frameOf(&msg); err != nil {
			return err
		}
		if !e.options.Follow && e.complete() && (!toEnd || e.clock.After(e.options.Interval.To().Add(early))) {
			return nil
		}
	}
}

func (e *events) frameOf(msg *bus.Message) error {
	f := &e.frame
	if err := f.Decode(msg.Data); err != nil {
		return fmt.Errorf("read message %d of %s: %w", msg.Sequence, proto.StreamEnriched, err)
	}
	e.clock = msg.Time
	e.nodes[f.Node] = nodeMark{watermark: f.WatermarkNS, seen: msg.Time}
	for i := range f.Events {
		if !e.options.Interval.Contains(f.Events[i].EndNS) {
			continue
		}
		event := NewEvent(f.Node, &f.Events[i])
		if !event.Selected(e.options.Selection) {
			continue
		}
		if e.options.Filter != nil {
			wanted, err := e.options.Filter.Wants(event)
			if err != nil {
				return err
			}
			if !wanted {
				continue
			}
		}
		if err := e.show(event); err != nil {
			return err
		}
	}
	return nil
}

// complete reports whether every node that is alive has come past the interval.
func (e *events) complete() bool {
	for _, n := range e.nodes {
		if n.watermark < e.options.Interval.ToNS && e.clock.Sub(n.seen) < alive {
			return false
		}
	}
	return len(e.nodes) > 0
}
