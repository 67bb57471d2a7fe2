package history

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// maxDeltas are in an answer, at 32 bytes each besides what the history holds anyway.
const maxDeltas = 8_000_000

// piece is a window of a level.
type piece struct {
	level    int
	from, to int64
}

// Select takes what is asked for out of the history, each part of it in the
// finest windows that are kept of it unless the question needs no such fine ones,
// and packed as it is: nobody is held up while the engine works.
func (c *History) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	return c.choose(ctx, ask, maxDeltas)
}

// choose is Select with another bound on deltas.
func (c *History) choose(ctx context.Context, ask promql.Ask, most int) (*promql.Answer, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	end := min(ask.Interval.ToNS, c.complete())
	origin := c.origin()
	from := max(origin, c.edge(min(ask.Interval.FromNS, end), ask.WidthNS))
	out := &promql.Answer{Edges: []int64{from}, Missing: c.missingBefore(ask.Interval.FromNS, origin)}
	t := &taking{History: c, ask: ask, out: out, known: make([]seen, len(c.series)), losses: map[lossKey]*promql.Losses{}, most: most}
	for _, p := range c.pieces(origin, from, math.MaxInt64) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t.before(p)
	}
	for _, p := range c.pieces(from, end, ask.WidthNS) {
		if t.window(p); t.deltas > t.most {
			return nil, promql.TooManyDeltas(t.most)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	t.finish()
	return out, nil
}

// origin is where counters begin: with the history of the coarsest level that
// has any.
func (c *History) origin() int64 {
	first := int64(math.MaxInt64)
	for i, l := range c.levels {
		first = min(first, l.floor(c.covered(i)+l.step-1))
	}
	return first
}

// edge is the start of the window that a time is in.
func (c *History) edge(ns, width int64) int64 {
	level := c.at(width, func(l *level) int64 { return l.floor(ns) })
	if level < 0 {
		return ns
	}
	return c.levels[level].floor(ns)
}

// at chooses the level of a window: the coarsest that isn't wider than wanted,
// else the finest that is kept; -1 if none is. start is the window's start at a
// level, below 0 if it has none there.
func (c *History) at(width int64, start func(*level) int64) int {
	best := -1
	for i, l := range c.levels {
		if c.covered(i) <= start(l) && (best < 0 || l.step <= width) {
			best = i
		}
	}
	return best
}

// pieces are the windows from one time to another, without gaps.
func (c *History) pieces(from, to, width int64) (out []piece) {
	for from < to {
		level := c.at(width, func(l *level) int64 {
			if l.floor(from) != from || from+l.step > to {
				return -1
			}
			return from
		})
		if level < 0 {
			return out
		}
		out = append(out, piece{level, from, from + c.levels[level].step})
		from += c.levels[level].step
	}
	return out
}

// missingBefore says why counters don't begin where they are asked to.
func (c *History) missingBefore(ns, origin int64) string {
	if began := c.began(); ns >= origin || began > 0 && origin <= began {
		return ""
	}
	switch {
	case c.problem != "":
		return c.problem
	case slices.Max(c.loaded) > 0:
		return fmt.Sprintf("history is still being read (%.0f %%): it begins at %s", 100*c.loading, clock(origin))
	}
	return fmt.Sprintf("history begins at %s", clock(origin))
}

// taking is an answer in the making.
type taking struct {
	*History
	ask    promql.Ask
	out    *promql.Answer
	known  []seen // by series
	losses map[lossKey]*promql.Losses
	deltas int // in the answer
	most   int // of them
	u      unpacker
}

// packed is a series of the answer and its deltas.
type packed struct {
	promql.Series
	cells [][]byte
}

// seen is a series that was come across.
type seen struct {
	asked  bool
	packed *packed // nil if it isn't wanted
}

// series is nil if it isn't wanted.
func (t *taking) series(id uint32) *packed {
	s := &t.known[id]
	if !s.asked {
		s.asked = true
		if key := t.History.series[id]; t.ask.Wanted(&key) {
			s.packed = &packed{Series: promql.Series{Key: key}}
		}
	}
	return s.packed
}

// before adds a window to what comes before the answer.
func (t *taking) before(p piece) {
	w := t.levels[p.level].windows[p.from]
	if w == nil {
		return
	}
	for key, n := range w.losses {
		t.loss(key).Base += n
	}
	for id, row := range w.rows {
		if s := t.series(id); s != nil {
			t.base(s).AddRow(row)
		}
	}
	for id, c := range w.cells {
		s, cell := t.series(id), w.cell(c)
		switch {
		case s == nil:
		case t.ask.Differences:
			base := t.base(s)
			addTotals(&base.Hist, t.u.unpackOne(cell, false, false))
			if s.Key.Side == proto.SideServer {
				addTotals(&base.Wait, t.u.unpackOne(cell, true, false))
			}
		default:
			t.base(s).AddRow(t.u.unpack(cell))
		}
	}
}

// addTotals adds what a histogram holds, but not how it is spread.
func addTotals(to, h *histogram.Histogram) {
	to.Merge(&histogram.Histogram{Scale: h.Scale, Count: h.Count, ZeroCount: h.Count, SumNS: h.SumNS, MinNS: h.MinNS, MaxNS: h.MaxNS})
}

func (t *taking) base(s *packed) *query.Row {
	if s.Base == nil {
		s.Base = new(query.Row)
	}
	return s.Base
}

// window adds one of the answer's windows.
func (t *taking) window(p piece) {
	at := len(t.out.Edges) - 1
	t.out.Edges = append(t.out.Edges, p.to)
	w := t.levels[p.level].windows[p.from]
	if w == nil {
		return
	}
	add := func(id uint32, cell func() []byte) {
		if s := t.series(id); s != nil {
			s.Windows = append(s.Windows, at)
			s.cells = append(s.cells, cell())
			t.deltas++
		}
	}
	for id, row := range w.rows { // deltas may still come: a copy
		add(id, func() []byte { return pack(nil, row) })
	}
	for id, c := range w.cells {
		add(id, func() []byte { return w.cell(c) })
	}
	for key, n := range w.losses {
		l := t.loss(key)
		l.Counts = append(l.Counts, make([]uint64, at+1-len(l.Counts))...)
		l.Counts[at] += n
	}
}

func (t *taking) loss(key lossKey) *promql.Losses {
	l := t.losses[key]
	if l == nil {
		l = &promql.Losses{Node: key.node, Reason: key.reason, Unit: key.unit}
		t.losses[key] = l
	}
	return l
}

func (t *taking) finish() {
	u := new(unpacker) // the answer is read after this one is gone
	for _, s := range t.known {
		p := s.packed
		if p == nil || p.Base == nil && len(p.Windows) == 0 {
			continue
		}
		p.Read = func(n int, wait, buckets bool) *histogram.Histogram { return u.unpackOne(p.cells[n], wait, buckets) }
		p.Sparse = func(n int, wait bool) *promql.Sparse { return u.unpackSparse(p.cells[n], wait) }
		t.out.Series = append(t.out.Series, &p.Series)
	}
	if !t.ask.Losses {
		return
	}
	for _, l := range t.losses {
		l.Counts = append(l.Counts, make([]uint64, len(t.out.Edges)-1-len(l.Counts))...)
		t.out.Losses = append(t.out.Losses, l)
	}
}
