package export

import (
	"context"
	"errors"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weirstream/weir/internal/bus"
	wire "github.com/weirstream/weir/proto"
)

// flushEach is how long a request is filled.
const flushEach = time.Second

// request is a message and how many items it has.
type request struct {
	proto.Message
	items int
}

// requests are all series as OTLP has them.
func (t *table) requests() (out []request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	now := t.now().UnixNano()
	b := newPoints(metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE)
	for i, s := range t.all {
		b.addSum(s, now)
		if b.full() || i == len(t.all)-1 {
			data, items := b.take()
			out = append(out, request{data, items})
		}
	}
	return out
}

// pushSums sends all sums every interval, and once more when ctx ends. What
// isn't taken within an interval isn't lost: the next sums hold it.
func (e *Exporter) pushSums(ctx, sending context.Context, x *exit, to sink) {
	for ended := false; !ended; {
		pause(ctx, e.cfg.OTLP.Interval)
		ended = ctx.Err() != nil // also while what was counted before was on its way
		turn, cancel := context.WithTimeout(sending, max(e.cfg.OTLP.Interval, flushTime))
		for _, r := range e.table.requests() {
			x.deliver(turn, r.items, func(ctx context.Context) (int64, error) { return to.send(ctx, r.Message) })
		}
		cancel()
	}
}

// batch is a request being filled.
type batch interface {
	count() int // of items
	full() bool
	take() (request proto.Message, items int)
}

// follower sends what a stream's messages hold, from now on. It reads on when
// the receiver has taken what was read: the stream is the queue.
type follower struct {
	*Exporter
	*exit
	sink             sink
	stream, subjects string
	batch            batch
	fill             func(data []byte, room func()) error // adds a message to the batch; room is to be called after each item
	last             uint64                               // sequence of the last message read,
	readAt           time.Time                            // when that was,
	due              time.Time                            // and when what it began to fill is sent
}

func (e *Exporter) pushDeltas(ctx, sending context.Context, x *exit, to sink) {
	b := newPoints(metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA)
	f := &follower{Exporter: e, exit: x, sink: to, stream: wire.StreamLatency, subjects: wire.SubjectsLatency, batch: b}
	f.fill = func(data []byte, room func()) error {
		l, err := wire.DecodeLatency(data)
		if err != nil {
			return err
		}
		for i := range l.Points {
			b.addDelta(l, &l.Points[i])
			room()
		}
		return nil
	}
	f.run(ctx, sending)
}

func (e *Exporter) pushSpans(ctx, sending context.Context, x *exit, to sink) {
	b := newSpans()
	var frame wire.Frame
	f := &follower{Exporter: e, exit: x, sink: to, stream: wire.StreamEnriched, subjects: wire.SubjectsEnriched, batch: b}
	f.fill = func(data []byte, room func()) error {
		if err := frame.Decode(data); err != nil {
			return err
		}
		for i := range frame.Events {
			if e.cfg.OTLP.wanted(&frame.Events[i]) {
				b.add(&frame, &frame.Events[i])
				room()
			}
		}
		return nil
	}
	f.run(ctx, sending)
}

// run follows until ctx ends, and then sends what is left.
func (f *follower) run(ctx, sending context.Context) {
	for ctx.Err() == nil {
		if err := f.follow(ctx, sending); err != nil && ctx.Err() == nil {
			f.exit.log.Warn("export_begins_again", "stream", f.stream, "error", err)
			pause(ctx, tryAgain)
		}
	}
	f.flush(sending)
}

func (f *follower) follow(ctx, sending context.Context) error {
	info, err := f.cfg.Bus.StreamInfo(ctx, f.stream)
	if err != nil {
		return err
	}
	f.last, f.readAt = info.LastSeq, time.Now()
	r, err := f.read(ctx, f.stream, f.subjects, f.last+1)
	if err != nil {
		return err
	}
	defer r.Close()
	f.following.Add(1)
	defer f.following.Add(-1)
	for {
		var m bus.Message
		if f.batch.count() == 0 {
			m, err = r.Next(ctx)
			f.due = time.Now().Add(flushEach)
		} else {
			m, err = next(ctx, r, time.Until(f.due))
		}
		switch {
		case err == nil:
			f.took(ctx, sending, &m)
		case !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
			return err
		}
		if !time.Now().Before(f.due) {
			f.flush(sending)
		}
	}
}

// took takes a message in.
func (f *follower) took(ctx, sending context.Context, m *bus.Message) {
	if m.Sequence > f.last+1 && time.Since(f.readAt) > lookEach { // it may be other subjects' messages that are missing
		if info, err := f.cfg.Bus.StreamInfo(ctx, f.stream); err == nil && info.FirstSeq > f.last+1 {
			f.Exporter.metrics.expired.WithLabelValues(f.name).Add(float64(info.FirstSeq - f.last - 1))
		}
	}
	f.last, f.readAt = m.Sequence, time.Now()
	if m.Foreign {
		return
	}
	err := f.fill(m.Data, func() {
		if f.batch.full() {
			f.flush(sending)
		}
	})
	if err != nil {
		f.Exporter.metrics.undecodable.Inc()
		f.exit.log.Debug("message_skipped", "stream", f.stream, "sequence", m.Sequence, "error", err)
	}
}

func (f *follower) flush(sending context.Context) {
	data, items := f.batch.take()
	f.deliver(sending, items, func(ctx context.Context) (int64, error) { return f.sink.send(ctx, data) })
	f.due = time.Now().Add(flushEach)
}
