package promql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	kept = 24 * time.Hour

	// fresh is how far back windows of ten seconds are read. Before that the
	// minutes of WEIR_ROLLUP are read, which are fewer and there by then.
	fresh = 15 * time.Minute
	// lead is how much earlier than the first sample is read to know whether a
	// series was there before.
	lead = 5 * time.Minute
)

// Streams is a source that reads WEIR_LATENCY and WEIR_ROLLUP for each question.
type Streams struct {
	Conn *bus.Conn
	Now  func() time.Time
}

// Select reads what is asked for.
func (s Streams) Select(ctx context.Context, ask Ask) (*Answer, error) {
	r, err := s.plan(ctx, ask)
	if err != nil {
		return nil, err
	}
	if r.rolled != nil && r.begin < r.border {
		if err := r.readRollups(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.readLatencies(ctx); err != nil {
		return nil, err
	}
	return r.answer(), nil
}

// reading is an answer in the making.
type reading struct {
	conn   *bus.Conn
	ask    Ask
	begin  int64         // what ends before isn't read
	border int64         // windows from here on are read from WEIR_LATENCY
	rolled *proto.Commit // the newest of WEIR_ROLLUP, nil if there is none
	edges  []int64
	gone   string

	series map[query.Key]*gathered
	losses map[lossKey]*Losses
	held   int // bytes of these two
}

type lossKey struct{ node, reason, unit string }

// gathered is what was read of a series; nil if it isn't wanted.
type gathered struct {
	rows map[int]*query.Row // by window
}

// before is the window of all that comes before the first.
const before = -1

// plan decides which windows the answer has, and what is read for them.
func (s Streams) plan(ctx context.Context, ask Ask) (*reading, error) {
	now := s.Now()
	info, err := s.Conn.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return nil, err
	}
	progress, err := query.ReadProgress(ctx, s.Conn)
	if err != nil {
		return nil, err
	}
	r := &reading{conn: s.Conn, ask: ask, series: map[query.Key]*gathered{}, losses: map[lossKey]*Losses{}}
	last, err := query.LastRollup(ctx, s.Conn, proto.Minutes)
	if err != nil {
		return nil, err
	}
	if last != nil {
		r.rolled = last.Record
	}
	oldest := info.Oldest()
	if r.rolled != nil && oldest > 0 {
		rollups, err := s.Conn.StreamInfo(ctx, proto.StreamRollup)
		if err != nil {
			return nil, err
		}
		oldest = rollups.Oldest()
	}
	widest := int64(lookback)
	up := func(ns int64) int64 { return query.Floor(ns+widest-1, widest) }
	origin := max(up(now.Add(-kept).UnixNano()), up(oldest))
	if r.rolled != nil {
		r.border = query.Floor(now.Add(-fresh).UnixNano(), widest)
	}
	if ask.Interval.FromNS < origin && oldest > 0 {
		r.gone = "older than " + time.Unix(0, origin).UTC().Format(time.RFC3339) + " has expired"
	}
	r.cut(max(origin, ask.Interval.FromNS), min(ask.Interval.ToNS, progress.Complete(now)))
	if r.begin = origin; ask.Differences {
		r.begin = max(origin, query.Floor(r.edges[0]-int64(lead), int64(time.Minute)))
	}
	return r, nil
}

// cut makes the windows from the one that a time is in to another time.
func (r *reading) cut(from, to int64) {
	widths := []int64{int64(lookback), proto.RollupNS, proto.WindowNS}
	wanted := func(at, w int64) bool {
		least := proto.WindowNS
		if at < r.border {
			least = proto.RollupNS
		}
		return w <= max(r.ask.WidthNS, least)
	}
	for _, w := range widths {
		if wanted(from, w) {
			from = query.Floor(from, w)
			break
		}
	}
	r.edges = []int64{from}
	for at := from; ; {
		fits := slices.IndexFunc(widths, func(w int64) bool { return wanted(at, w) && at%w == 0 && at+w <= to })
		if fits < 0 || at < r.border && widths[fits] < proto.RollupNS {
			return
		}
		at += widths[fits]
		r.edges = append(r.edges, at)
	}
}

func (r *reading) readRollups(ctx context.Context) error {
	var full error
	err := query.Rollups(ctx, r.conn, proto.Minutes, proto.SubjectsRollup, time.Unix(0, r.begin).Add(-query.Early), proto.Position{}, func(c *query.Rollup) bool {
		if c.Anew {
			r.series, r.losses = map[query.Key]*gathered{}, map[lossKey]*Losses{}
			_ = r.hold(-r.held) // it holds less than before
		}
		r.rolled = c.Record
		older := func(ns int64) bool { return ns < r.border }
		if full = r.lose(c.Record, older); full != nil {
			return false
		}
		for _, l := range c.Messages {
			if full = r.add(l, older); full != nil {
				return false
			}
		}
		return true
	})
	return cmp.Or(err, full)
}

// readLatencies reads the windows after the border, and what isn't rolled up yet
// of those before.
func (r *reading) readLatencies(ctx context.Context) error {
	from := bus.ReadConfig{StartTime: time.Unix(0, max(r.begin, r.border)).Add(-query.Early)}
	next := uint64(0) // the first sequence that isn't rolled up
	if r.rolled != nil {
		if next = r.rolled.Position.Seq; r.rolled.LogNS < from.StartTime.UnixNano() {
			from = bus.ReadConfig{StartSeq: next}
		}
	}
	from.Stream, from.StopAtEnd = proto.StreamLatency, true
	from.Subjects = []string{proto.SubjectsLatency, proto.SubjectsCommit}
	for m, err := range r.conn.Messages(ctx, from) {
		if err == nil {
			err = r.take(m, func(ns int64) bool { return ns >= r.border || m.Sequence >= next })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) take(m *bus.Message, unread func(ns int64) bool) error {
	if proto.IsCommit(m.Subject) {
		commit, err := proto.DecodeCommit(m.Data)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamLatency, err)
		}
		return r.lose(commit, unread)
	}
	l, err := proto.DecodeLatency(m.Data)
	if err != nil {
		return fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamLatency, err)
	}
	return r.add(l, unread)
}

// hold tells of memory.
func (r *reading) hold(bytes int) error {
	r.held += bytes
	return r.ask.Share.Hold(bytes)
}

// add adds a message's deltas, those whose times are unread.
func (r *reading) add(l *proto.Latency, unread func(ns int64) bool) error {
	for i := range l.Points {
		p := &l.Points[i]
		at, there := r.window(p.StartNS)
		if !there || !unread(p.StartNS) {
			continue
		}
		key := query.NewKey(l, p)
		g, known := r.series[key]
		if !known {
			if r.ask.Wanted(&key) {
				g = &gathered{rows: map[int]*query.Row{}}
			}
			r.series[key] = g
			if err := r.hold(seriesBytes); err != nil {
				return err
			}
		}
		if g == nil {
			continue
		}
		row := g.rows[at]
		held := RowBytes(row)
		if row == nil {
			row = new(query.Row)
			g.rows[at] = row
		}
		row.AddPoint(p)
		if err := r.hold(RowBytes(row) - held); err != nil {
			return err
		}
	}
	return nil
}

// window is the window that a time is in, before if it comes before the first;
// false if it isn't to be read.
func (r *reading) window(ns int64) (int, bool) {
	at, exact := slices.BinarySearch(r.edges, ns)
	if !exact {
		at--
	}
	return at, ns >= r.begin && at < len(r.edges)-1
}

func (r *reading) lose(c *proto.Commit, unread func(ns int64) bool) error {
	for _, l := range c.Loss {
		at, there := r.window(l.StartNS)
		if !there || !unread(l.StartNS) || !r.ask.Losses {
			continue
		}
		key := lossKey{l.Node, l.Reason, l.Unit}
		sum := r.losses[key]
		if sum == nil {
			if err := r.hold(8 * len(r.edges)); err != nil {
				return err
			}
			sum = &Losses{Node: l.Node, Reason: l.Reason, Unit: l.Unit, Counts: make([]uint64, len(r.edges)-1)}
			r.losses[key] = sum
		}
		if at == before {
			sum.Base += l.Count
		} else {
			sum.Counts[at] += l.Count
		}
	}
	return nil
}

func (r *reading) answer() *Answer {
	out := &Answer{Edges: r.edges, Missing: r.gone}
	for key, g := range r.series {
		if g == nil {
			continue
		}
		s := &Series{Key: key, Base: g.rows[before]}
		for at := range g.rows {
			if at != before {
				s.Windows = append(s.Windows, at)
			}
		}
		slices.Sort(s.Windows)
		s.Read = func(n int, wait, _ bool) *histogram.Histogram { return histogramOf(g.rows[s.Windows[n]], wait) }
		out.Series = append(out.Series, s)
	}
	for _, l := range r.losses {
		out.Losses = append(out.Losses, l)
	}
	return out
}
