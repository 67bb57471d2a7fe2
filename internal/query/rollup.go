package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Rollup is one commit of a roll-up: sums of what its input holds before
// Record.Position, since the commit before.
type Rollup struct {
	Messages []*proto.Latency
	Record   *proto.Commit
	Sequence uint64 // of the record
	Anew     bool   // what commits before it hold is in it and in those that follow
}

// UnreadableError is a message of a roll-up that can't be read. What it holds is
// still in the roll-up's input, for as long as that keeps it.
type UnreadableError struct {
	Stream   string
	Sequence uint64
	Err      error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("read message %d of %s: %s", e.Sequence, e.Stream, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// LastRollup is the newest commit of a roll-up, without messages. It is nil if there is
// none that fits the input as it is now, or this user may not read it: then the
// input has all there is to know.
func LastRollup(ctx context.Context, c *bus.Conn, what proto.Rollup) (*Rollup, error) {
	var denied *bus.DeniedError
	last, err := c.LastMessages(ctx, what.Stream, what.Commit)
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
		return nil, &UnreadableError{what.Stream, last[0].Sequence, err}
	}
	input, err := c.StreamInfo(ctx, what.Input)
	if err != nil {
		return nil, err
	}
	next := record.Position.Seq
	if record.InputCreatedNS != input.Created.UnixNano() || next < input.FirstSeq || next > input.LastSeq+1 {
		return nil, nil
	}
	return &Rollup{Record: record, Sequence: last[0].Sequence}, nil
}

// Rollups calls take for every commit of a roll-up stored at a time or later,
// or from a position on if one is given, with the messages of a subject, until
// take returns false or there are no more.
func Rollups(ctx context.Context, c *bus.Conn, what proto.Rollup, subject string, since time.Time, from proto.Position, take func(*Rollup) bool) error {
	next := new(Rollup)
	inside := from.Index > 0 // then the first batch is one of which some is known
	for m, err := range c.Messages(ctx, bus.ReadConfig{
		Stream: what.Stream, Subjects: slices.Compact([]string{subject, what.Commit}),
		StartTime: since, StartSeq: from.Seq, StopAtEnd: true,
	}) {
		if err != nil {
			return err
		}
		if m.Subject != what.Commit {
			l, err := proto.DecodeLatency(m.Data)
			if err != nil {
				return &UnreadableError{what.Stream, m.Sequence, err}
			}
			next.Messages = append(next.Messages, l)
			continue
		}
		if next.Record, err = proto.DecodeCommit(m.Data); err != nil {
			return &UnreadableError{what.Stream, m.Sequence, err}
		}
		next.Sequence, next.Anew = m.Sequence, next.Record.Seq == 1 && !inside
		if !take(next) {
			return nil
		}
		next, inside = new(Rollup), false
	}
	return nil
}

// Intervals that begin at these ages are quicker to read from roll-ups.
const (
	longAgo     = 10 * time.Minute // minutes
	veryLongAgo = 2 * time.Hour    // half hours
)

// sums are what is taken from a roll-up.
type sums struct {
	proto.Rollup
	end  uint64           // sequence of its input: what is later isn't taken; 0 if there is no bound
	void uint64           // sequence of its input: what comes before it, and itself, counts no longer
	next proto.Position   // of its input: where to go on
	cut  map[int64]uint64 // requests of the windows that the interval cuts, by their start
}

// readRollups takes from the roll-ups what they have of the interval: half
// hours, then minutes that aren't in those. The windows that the interval cuts
// come from what was summed, where the sum tells when all of them were read.
// What isn't rolled up yet is left.
func (m *merge) readRollups(ctx context.Context) error {
	minutes, err := LastRollup(ctx, m.conn, proto.Minutes)
	if err != nil || minutes == nil {
		return err
	}
	all := []*sums{{Rollup: proto.Minutes, next: minutes.Record.Position, cut: map[int64]uint64{}}}
	if err := m.reaches(ctx, proto.Minutes, minutes); err != nil {
		return err
	}
	if m.options.Now.Sub(m.interval.From()) > veryLongAgo {
		halfHours, err := LastRollup(ctx, m.conn, proto.HalfHours)
		if err != nil {
			return err
		}
		if halfHours != nil {
			if err := m.reaches(ctx, proto.HalfHours, halfHours); err != nil {
				return err
			}
			all = []*sums{{Rollup: proto.HalfHours, end: minutes.Sequence + 1, void: minutes.Record.AnewAfter, cut: map[int64]uint64{}}, all[0]}
		}
	}
	var from proto.Position
	for _, s := range all {
		since := time.Unix(0, Floor(m.interval.FromNS, s.StepNS)).Add(-Early)
		err := Rollups(ctx, m.conn, s.Rollup, m.options.Selection.in(s.Subjects), since, from, func(r *Rollup) bool {
			if s.end > 0 && r.Record.Position.Seq > s.end {
				return false
			}
			if r.Anew {
				m.tables, m.losses = map[int64]*Table{}, nil
				for _, s := range all {
					clear(s.cut)
				}
			}
			s.next = r.Record.Position
			m.lose(r.Record)
			for _, l := range r.Messages {
				m.addSums(l, s.StepNS, m.interval, s.cut)
			}
			return true
		})
		if err != nil {
			return err
		}
		from = s.next
	}
	for i, s := range all {
		var finer map[int64]uint64
		if i+1 < len(all) {
			finer = all[i+1].cut
		}
		for start := range s.cut {
			if err := m.readCut(ctx, s, start, finer); err != nil {
				return err
			}
		}
		m.next = s.next.Seq
	}
	return nil
}

// reaches notes how far back a roll-up is whole, and when measuring began if only
// it still knows.
func (m *merge) reaches(ctx context.Context, what proto.Rollup, last *Rollup) error {
	stream, err := m.conn.StreamInfo(ctx, what.Stream)
	if err != nil {
		return err
	}
	oldest := max(last.Record.SinceNS, stream.Oldest())
	m.oldest = min(m.oldest, oldest)
	if oldest == 0 && m.began == 0 && !stream.FirstTime.IsZero() {
		m.began, err = firstWindow(ctx, m.conn, what.Stream, stream.FirstTime.UnixNano(), m.options.Selection.in(what.Subjects), what.Commit)
	}
	return err
}

// addSums adds the sums that lie within the interval, and counts the requests of
// those that it cuts.
func (m *merge) addSums(l *proto.Latency, step int64, of Interval, cut map[int64]uint64) (requests uint64) {
	for i := range l.Points {
		p := &l.Points[i]
		if !m.options.Selection.covers(l, p) || p.StartNS+step <= of.FromNS || p.StartNS >= of.ToNS {
			continue
		}
		requests += p.Hist.Count
		switch window := (Interval{p.StartNS, p.StartNS + step}); {
		case window.FromNS >= m.interval.FromNS && window.ToNS <= m.interval.ToNS:
			m.table(p.StartNS).Add(l, p)
		case window.FromNS < m.interval.ToNS && window.ToNS > m.interval.FromNS:
			cut[p.StartNS] += p.Hist.Count
		}
	}
	return requests
}

// readCut adds what a window that the interval cuts was summed from, until it
// has seen as many requests.
func (m *merge) readCut(ctx context.Context, s *sums, start int64, cut map[int64]uint64) error {
	window := Interval{FromNS: start, ToNS: start + s.StepNS}
	subjects, step := proto.SubjectsLatency, proto.WindowNS
	if s.Input == proto.Minutes.Stream {
		subjects, step = proto.Minutes.Subjects, proto.Minutes.StepNS
	}
	seen := uint64(0)
	for msg, err := range m.conn.Messages(ctx, bus.ReadConfig{
		Stream: s.Input, Subjects: []string{m.options.Selection.in(subjects)}, StartTime: window.From().Add(-Early), StopAtEnd: true,
	}) {
		if err != nil {
			return err
		}
		if msg.Sequence >= s.next.Seq {
			break
		}
		if msg.Sequence <= s.void {
			continue
		}
		l, err := proto.DecodeLatency(msg.Data)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", msg.Sequence, s.Input, err)
		}
		if seen += m.addSums(l, step, window, cut); seen >= s.cut[start] {
			return nil
		}
	}
	m.oldest = max(m.oldest, window.ToNS) // the rest has expired
	return nil
}

// Began is when measuring began, unix nanoseconds, if WEIR_LATENCY still has its
// first message, else 0: the first commit comes a window and a little after the
// first event, or holds what waited for it.
func Began(ctx context.Context, c *bus.Conn, stream bus.StreamInfo, subject string) (int64, error) {
	if stream.FirstSeq > 1 || stream.FirstTime.IsZero() {
		return 0, nil
	}
	return firstWindow(ctx, c, proto.StreamLatency, floor(stream.FirstTime.Add(-Settled).UnixNano())-proto.WindowNS, subject, proto.SubjectsCommit)
}

// firstWindow is the earliest window in the first batch of a stream, at most a time.
func firstWindow(ctx context.Context, c *bus.Conn, stream string, first int64, subject, commits string) (int64, error) {
	for m, err := range c.Messages(ctx, bus.ReadConfig{Stream: stream, Subjects: []string{subject, commits}, StartSeq: 1, StopAtEnd: true}) {
		if err != nil {
			return 0, err
		}
		if m.FromLane() {
			break
		}
		if l, err := proto.DecodeLatency(m.Data); err == nil {
			for i := range l.Points {
				first = min(first, l.Points[i].StartNS)
			}
		}
	}
	return first, nil
}
