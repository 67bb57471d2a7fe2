package replay

import (
	"context"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// Item is one message of the past, of enriched events or of latencies. It is
// valid until the next one.
type Item struct {
	bus.Message        // Data is empty if it comes from a file
	Stream      string // that it was in

	Frame   *proto.Frame   // its events, those of the interval
	Latency *proto.Latency // its points, those of the interval
}

// encode gives the item's messages: its own bytes, or made of what a file held.
func (i *Item) encode() ([][]byte, error) {
	switch {
	case len(i.Data) > 0:
		return [][]byte{i.Data}, nil
	case i.Frame != nil:
		b, err := i.Frame.Append(nil)
		return [][]byte{b}, err
	}
	return proto.SplitLatency(i.Latency)
}

// subject is that of the stream.
func (i *Item) subject() string {
	switch {
	case i.Subject != "":
		return i.Subject
	case i.Frame != nil:
		return proto.EnrichedSubject(i.Frame.Partition)
	}
	return proto.LatencySubject(i.Latency.Namespace, i.Latency.Workload)
}

// Source calls play for every item, in order, until there are no more.
type Source func(ctx context.Context, play func(*Item) error) error

// playError is an error of playing an item, not of the file it comes from.
type playError struct{ error }

// Sink is where items go. Close completes what it wrote.
type Sink interface {
	Write(ctx context.Context, i *Item) error
	Close(ctx context.Context) error
}

// Played is what was played.
type Played struct {
	Messages uint64
	Events   uint64 // or points
	First    time.Time
	Last     time.Time // when the first and the last message had been stored
}

// Run plays a source at a speed into a sink, which it leaves open.
func Run(ctx context.Context, source Source, speed Speed, sink Sink) (Played, error) {
	var played Played
	pace := pacer{speed: speed}
	err := source(ctx, func(i *Item) error {
		if err := pace.wait(ctx, i.Time); err != nil {
			return err
		}
		if err := sink.Write(ctx, i); err != nil {
			return err
		}
		if played.Messages == 0 {
			played.First = i.Time
		}
		played.Last = i.Time
		played.Messages++
		if i.Frame != nil {
			played.Events += uint64(len(i.Frame.Events))
		} else {
			played.Events += uint64(len(i.Latency.Points))
		}
		return nil
	})
	return played, err
}

// Events plays frames of WEIR_ENRICHED that hold events of the interval, whole
// ones: also those that a node sent late. It waits for frames on their way.
func Events(c *bus.Conn, interval query.Interval, wait time.Duration) Source {
	return func(ctx context.Context, play func(*Item) error) error {
		o := query.FrameOptions{Interval: interval, ToEnd: true, Wait: wait}
		return query.Frames(ctx, c, o, func(m *bus.Message, f *proto.Frame) error {
			if len(f.Events) == 0 {
				return nil
			}
			return play(&Item{Message: *m, Stream: proto.StreamEnriched, Frame: f})
		})
	}
}

// Latencies plays messages of WEIR_LATENCY that hold windows of the interval.
func Latencies(c *bus.Conn, interval query.Interval) Source {
	return func(ctx context.Context, play func(*Item) error) error {
		return query.Latencies(ctx, c, interval, func(m *bus.Message, l *proto.Latency) error {
			return play(&Item{Message: *m, Stream: proto.StreamLatency, Latency: l})
		})
	}
}
