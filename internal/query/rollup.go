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

// Rollup is one commit of WEIR_ROLLUP: sums by the minute of what WEIR_LATENCY
// holds before Record.Position, since the commit before.
type Rollup struct {
	Messages []*proto.Latency
	Record   *proto.Commit
}

// Anew reports whether the roll-up begins anew with this commit: what commits
// before it hold is in it and in those that follow.
func (r *Rollup) Anew() bool { return r.Record.Seq == 1 }

// LastRollup is the newest commit record of WEIR_ROLLUP. It is nil if there is
// none that fits WEIR_LATENCY as it is now, or this user may not read it: then
// WEIR_LATENCY has all there is to know.
func LastRollup(ctx context.Context, c *bus.Conn) (*proto.Commit, error) {
	var denied *bus.DeniedError
	last, err := c.LastMessages(ctx, proto.StreamRollup, proto.SubjectRollupCommit)
	switch {
	case errors.Is(err, bus.ErrNoStream) || errors.As(err, &denied):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read roll-ups: %w", err)
	case len(last) == 0 || !last[0].FromLane():
		return nil, nil
	}
	record, err := proto.DecodeCommit(last[0].Data)
	if err != nil {
		return nil, fmt.Errorf("read roll-ups: message %d of %s: %w", last[0].Sequence, proto.StreamRollup, err)
	}
	input, err := c.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return nil, err
	}
	next := record.Position.Seq
	if record.InputCreatedNS != input.Created.UnixNano() || next < input.FirstSeq || next > input.LastSeq+1 {
		return nil, nil
	}
	return record, nil
}

// Rollups calls take for every commit of WEIR_ROLLUP stored at a time or later,
// with the messages of a subject, until take returns false or there are no more.
func Rollups(ctx context.Context, c *bus.Conn, subject string, from time.Time, take func(*Rollup) bool) error {
	r, err := c.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamRollup, Subjects: []string{subject, proto.SubjectRollupCommit}, StartTime: from, StopAtEnd: true,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	next := new(Rollup)
	for {
		m, err := r.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Subject != proto.SubjectRollupCommit:
			l, err := proto.DecodeLatency(m.Data)
			if err != nil {
				return fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamRollup, err)
			}
			next.Messages = append(next.Messages, l)
			continue
		}
		if next.Record, err = proto.DecodeCommit(m.Data); err != nil {
			return fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamRollup, err)
		}
		if !take(next) {
			return nil
		}
		next = new(Rollup)
	}
}

// rollups begin at this age to be quicker to read than WEIR_LATENCY.
const longAgo = 10 * time.Minute

// readRollups takes from WEIR_ROLLUP what it has of the interval. The windows of
// minutes that the interval cuts come from WEIR_LATENCY, where the sum of the
// minute tells when all of them were read. What isn't rolled up yet is left.
func (m *merge) readRollups(ctx context.Context) error {
	last, err := LastRollup(ctx, m.conn)
	if err != nil || last == nil {
		return err
	}
	stream, err := m.conn.StreamInfo(ctx, proto.StreamRollup)
	if err != nil {
		return err
	}
	if o := Oldest(stream); o > 0 {
		m.oldest = min(m.oldest, o)
	}
	first, end := Floor(m.interval.FromNS, proto.RollupNS), Floor(m.interval.ToNS, proto.RollupNS)
	whole := Interval{FromNS: first, ToNS: end}
	if first < m.interval.FromNS {
		whole.FromNS += proto.RollupNS
	}
	cut := map[int64]uint64{} // requests of the minutes at the ends
	m.next = last.Position.Seq
	selected := m.options.Selection
	err = Rollups(ctx, m.conn, selected.rollupSubject(), time.Unix(0, first).Add(-early), func(r *Rollup) bool {
		if r.Anew() {
			m.tables, m.losses, cut = map[int64]*Table{}, nil, map[int64]uint64{}
		}
		m.next = r.Record.Position.Seq
		m.lose(r.Record)
		for _, l := range r.Messages {
			m.addPoints(l, whole)
			for i := range l.Points {
				if p := &l.Points[i]; (p.StartNS == first || p.StartNS == end) && !whole.Contains(p.StartNS) && selected.covers(l, p) {
					cut[p.StartNS] += p.Hist.Count
				}
			}
		}
		return true
	})
	for minute, count := range cut {
		if err == nil {
			err = m.readMinute(ctx, Interval{FromNS: minute, ToNS: minute + proto.RollupNS}, count)
		}
	}
	return err
}

// readMinute adds the windows of the interval that are in a minute, until it
// has seen as many requests of that minute as are rolled up.
func (m *merge) readMinute(ctx context.Context, minute Interval, count uint64) error {
	r, err := m.conn.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{m.options.Selection.Subject()},
		StartTime: minute.From().Add(-early), StopAtEnd: true,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	inside := Interval{FromNS: max(minute.FromNS, m.interval.FromNS), ToNS: min(minute.ToNS, m.interval.ToNS)}
	for seen := uint64(0); seen < count; {
		msg, err := r.Next(ctx)
		if errors.Is(err, io.EOF) || err == nil && msg.Sequence >= m.next {
			m.oldest = max(m.oldest, minute.ToNS) // the rest has expired
			return nil
		}
		if err != nil {
			return err
		}
		l, err := proto.DecodeLatency(msg.Data)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", msg.Sequence, proto.StreamLatency, err)
		}
		m.addPoints(l, inside)
		for i := range l.Points {
			if p := &l.Points[i]; minute.Contains(p.StartNS) && m.options.Selection.covers(l, p) {
				seen += p.Hist.Count
			}
		}
	}
	return nil
}

// ramp is the start of a stream whose windows have lost their first deltas to
// the stream's limits.
const ramp = time.Minute

// Oldest is the time before which windows have lost deltas to a stream's limits,
// unix nanoseconds; 0 if it has lost none.
func Oldest(stream bus.StreamInfo) int64 {
	if stream.FirstSeq <= 1 {
		return 0
	}
	return stream.FirstTime.Add(ramp).UnixNano()
}

// Began is when measuring began, unix nanoseconds, if a stream still has its
// first message, else 0: the first commit comes a window and a little after the
// first event, or holds what waited for it.
func Began(ctx context.Context, c *bus.Conn, stream bus.StreamInfo, subject string) (int64, error) {
	if stream.FirstSeq > 1 || stream.FirstTime.IsZero() {
		return 0, nil
	}
	began := floor(stream.FirstTime.Add(-Settled).UnixNano()) - proto.WindowNS
	r, err := c.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{subject, proto.SubjectsCommit}, StartSeq: 1, StopAtEnd: true,
	})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if errors.Is(err, io.EOF) || err == nil && m.FromLane() {
			return began, nil
		}
		if err != nil {
			return 0, err
		}
		if l, err := proto.DecodeLatency(m.Data); err == nil {
			for i := range l.Points {
				began = min(began, l.Points[i].StartNS)
			}
		}
	}
}
