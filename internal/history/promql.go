package history

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// seriesBytes are what an answer holds of a series without its deltas.
const seriesBytes = 384

// piece is a window of a level.
type piece struct {
	level    int
	from, to int64
}

// Select takes what is asked for out of the history, each part of it in the
// finest windows that are kept of it unless the question needs no such fine ones,
// and packed as it is: nobody is held up while the engine works.
func (c *History) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	end := min(ask.Interval.ToNS, c.complete())
	origin := c.origin()
	from := max(origin, c.edge(min(ask.Interval.FromNS, end), ask.WidthNS))
	out := &promql.Answer{Edges: []int64{from}, Missing: c.missingBefore(ask.Interval.FromNS, origin)}
	pieces := c.pieces(from, end, ask.WidthNS)
	t := &taking{History: c, ask: ask, out: out, known: make([]seen, len(c.series)), losses: map[lossKey]*promql.Losses{}, windows: len(pieces)}
	for _, p := range c.pieces(origin, from, math.MaxInt64) {
		if err := cmp.Or(ctx.Err(), t.before(p)); err != nil {
			return nil, err
		}
	}
	for _, p := range pieces {
		if err := cmp.Or(ctx.Err(), t.window(p)); err != nil {
			return nil, err
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

	windows int // of the answer
	u       unpacker
}

// packed is a series of the answer and its deltas.
type packed struct {
	promql.Series
	cells [][]byte
	held  bool // its bytes are counted
}

// bytes are those of where the deltas are.
func (s *packed) bytes() int { return 8*cap(s.Windows) + 24*cap(s.cells) }

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

// hold counts bytes of a series.
func (t *taking) hold(s *packed, bytes int) error {
	if !s.held {
		s.held = true
		bytes += seriesBytes
	}
	return t.ask.Share.Hold(bytes)
}

// before adds a window to what comes before the answer.
func (t *taking) before(p piece) error {
	w := t.levels[p.level].windows[p.from]
	if w == nil {
		return nil
	}
	add := func(id uint32, delta func(*packed)) error {
		s := t.series(id)
		if s == nil {
			return nil
		}
		held := promql.RowBytes(s.Base)
		if s.Base == nil {
			s.Base = new(query.Row)
		}
		delta(s)
		return t.hold(s, promql.RowBytes(s.Base)-held)
	}
	for id, row := range w.rows {
		if err := add(id, func(s *packed) { s.Base.AddRow(row) }); err != nil {
			return err
		}
	}
	for id, c := range w.cells {
		err := add(id, func(s *packed) {
			cell := w.cell(c)
			if !t.ask.Differences {
				s.Base.AddRow(t.u.unpack(cell))
				return
			}
			addTotals(&s.Base.Hist, t.u.unpackOne(cell, false, false))
			if s.Key.Side == proto.SideServer {
				addTotals(&s.Base.Wait, t.u.unpackOne(cell, true, false))
			}
		})
		if err != nil {
			return err
		}
	}
	return t.lose(w, func(l *promql.Losses, n uint64) { l.Base += n })
}

// addTotals adds what a histogram holds, but not how it is spread.
func addTotals(to, h *histogram.Histogram) {
	to.Merge(&histogram.Histogram{Scale: h.Scale, Count: h.Count, ZeroCount: h.Count, SumNS: h.SumNS, MinNS: h.MinNS, MaxNS: h.MaxNS})
}

// window adds one of the answer's windows.
func (t *taking) window(p piece) error {
	at := len(t.out.Edges) - 1
	t.out.Edges = append(t.out.Edges, p.to)
	w := t.levels[p.level].windows[p.from]
	if w == nil {
		return nil
	}
	add := func(s *packed, cell []byte, copied int) error {
		held := s.bytes()
		s.Windows = append(s.Windows, at)
		s.cells = append(s.cells, cell)
		return t.hold(s, s.bytes()-held+copied)
	}
	for id, row := range w.rows { // deltas may still come: a copy
		if s := t.series(id); s != nil {
			cell := pack(nil, row)
			if err := add(s, cell, cap(cell)); err != nil {
				return err
			}
		}
	}
	for id, c := range w.cells {
		if s := t.series(id); s != nil {
			if err := add(s, w.cell(c), 0); err != nil {
				return err
			}
		}
	}
	return t.lose(w, func(l *promql.Losses, n uint64) {
		l.Counts = append(l.Counts, make([]uint64, at+1-len(l.Counts))...)
		l.Counts[at] += n
	})
}

// lose adds a window's losses, if they are asked for.
func (t *taking) lose(w *window, add func(*promql.Losses, uint64)) error {
	if !t.ask.Losses {
		return nil
	}
	for key, n := range w.losses {
		l := t.losses[key]
		if l == nil {
			if err := t.ask.Share.Hold(8 * t.windows); err != nil {
				return err
			}
			l = &promql.Losses{Node: key.node, Reason: key.reason, Unit: key.unit}
			t.losses[key] = l
		}
		add(l, n)
	}
	return nil
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
	for _, l := range t.losses {
		l.Counts = append(l.Counts, make([]uint64, len(t.out.Edges)-1-len(l.Counts))...)
		t.out.Losses = append(t.out.Losses, l)
	}
}
