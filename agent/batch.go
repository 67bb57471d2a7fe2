package agent

import (
	"github.com/weirstream/weir/proto"
)

// batch collects the events of the next frame. One goroutine uses it.
type batch struct {
	frame  proto.Frame
	losses map[lossKey]uint64
	bytes  int // upper bound of what the events' strings may take
	seal   func(*proto.Frame)
}

type lossKey struct{ reason, unit string }

// eventBytes is more than an event's numbers ever take in a frame.
const eventBytes = 128

// newBatch makes frames with what head says of all of them.
func newBatch(head proto.Frame, seal func(*proto.Frame)) *batch {
	head.Events = make([]proto.Event, 0, proto.MaxFrameEvents)
	return &batch{frame: head, losses: map[lossKey]uint64{}, seal: seal}
}

// next is room for one more event, zeroed. Close the frame with flush.
func (b *batch) next() *proto.Event {
	n := len(b.frame.Events)
	b.frame.Events = b.frame.Events[:n+1]
	e := &b.frame.Events[n]
	*e = proto.Event{}
	return e
}

// added accounts for the event that next gave, and says whether the frame is full.
func (b *batch) added(e *proto.Event) bool {
	b.bytes += eventBytes + len(e.Route) + len(e.Process.Name) + len(e.Process.Container) + len(e.Process.Unit)
	return len(b.frame.Events) == proto.MaxFrameEvents || b.bytes > proto.MaxFrameBytes*3/2
}

func (b *batch) lost(reason, unit string, n uint64) { b.losses[lossKey{reason, unit}] += n }

func (b *batch) empty() bool { return len(b.frame.Events) == 0 && len(b.losses) == 0 }

// flush hands over the frame. No event that ended before watermark follows.
func (b *batch) flush(watermark, now int64) {
	b.frame.WatermarkNS = watermark
	b.frame.Loss = b.frame.Loss[:0]
	for k, n := range b.losses {
		b.frame.Loss = append(b.frame.Loss, proto.Loss{Node: b.frame.Node, StartNS: now, Reason: k.reason, Unit: k.unit, Count: n})
	}
	clear(b.losses)
	b.seal(&b.frame)
	b.frame.Events = b.frame.Events[:0]
	b.bytes = 0
}
