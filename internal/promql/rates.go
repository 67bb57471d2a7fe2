package promql

import (
	"context"
	"maps"
	"math"
	"slices"
	"sort"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/weirstream/weir/histogram"
)

// rates is what a sum needs to know of its time. A sum of rates is the rate of the
// sum wherever all series are extrapolated alike, so that series are added up
// before anything is subtracted or multiplied. A series that isn't, because it
// begins in the range or its counter is young, is set apart there.
type rates struct {
	ctx      context.Context // of the query
	edges    []edge
	over     int64   // the range, milliseconds
	divide   float64 // what increases are divided by: a rate's seconds, or 1
	quantile float64 // the one of each sum that is asked for, NaN for the sum itself
	steps    []step
	kept     []int // the edges that are the first or the last of some range, rising
	memory   work  // of the group that was worked out last
	groups   int   // that aren't worked out yet
	share    *Share
	held     int // bytes of memory's buckets that share knows of
}

// step is a time that values are wanted of, and the edges in its range.
type step struct {
	at          int64 // unix milliseconds
	first, last int   // edges; no rate is where they are less than two
	from, to    int   // first and last in rates.kept
	factor      float64
}

func (s *step) empty() bool { return s.first >= s.last }

// newRates plans a sum at times from first to end; a step of 0 is for first alone.
// The plan is held until the query ends.
func newRates(ctx context.Context, s *sumExpr, share *Share, edges []edge, first, end, every int64) (*rates, error) {
	r := &rates{ctx: ctx, edges: edges, over: s.over.Milliseconds(), divide: 1, quantile: s.quantile, share: share}
	if s.function == "rate" {
		r.divide = s.over.Seconds()
	}
	if every <= 0 {
		end, every = first, 1
	}
	after := func(ms int64) int { return sort.Search(len(edges), func(i int) bool { return edges[i].at > ms }) }
	index := map[int]int{} // of edges in kept
	for at := first; at <= end; at += every {
		t := step{at: at, first: after(at - r.over), last: after(at) - 1}
		if !t.empty() {
			t.factor = r.factor(&t, t.first, math.Inf(1))
			index[t.first], index[t.last] = 0, 0
		}
		r.steps = append(r.steps, t)
	}
	r.kept = slices.Sorted(maps.Keys(index))
	for i, edge := range r.kept {
		index[edge] = i
	}
	for i := range r.steps {
		t := &r.steps[i]
		t.from, t.to = index[t.first], index[t.last]
	}
	return r, share.Hold(stepBytes * (len(r.steps) + len(r.kept)))
}

// factor is what an increase since an edge is multiplied by. Prometheus's
// extrapolatedRate reaches for the ends of the range where samples are near enough
// to them, but not to where the counter would be below zero: before is how much it
// was at the edge, in increases.
func (r *rates) factor(t *step, first int, before float64) float64 {
	seconds := func(from, to int64) float64 { return float64(to-from) / 1000 }
	start, end := seconds(t.at-r.over, r.edges[first].at), seconds(r.edges[t.last].at, t.at)
	sampled := seconds(r.edges[first].at, r.edges[t.last].at)
	apart := sampled / float64(t.last-first)
	if start >= 1.1*apart {
		start = apart / 2
	}
	if end >= 1.1*apart {
		end = apart / 2
	}
	return (sampled + min(start, sampled*before) + end) / sampled / r.divide
}

// group is the series of one sum. It is worked out as the engine comes to it.
type group struct {
	*rates
	labels labels.Labels
	series []*series
}

func (g *group) Labels() labels.Labels { return g.labels }

func (g *group) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	w := g.work()
	if g.groups--; g.groups <= 0 {
		defer g.free() // the engine holds on to the groups while it works out what comes after them
	}
	for _, s := range g.series {
		if g.ctx.Err() != nil {
			return failing{chunkenc.NewNopIterator(), g.ctx.Err()}
		}
		w.add(s.of, s.form.wait)
		if err := g.hold(w.bytes()); err != nil {
			return failing{chunkenc.NewNopIterator(), err}
		}
	}
	return w.samples()
}

// failing is an iterator that ends with an error.
type failing struct {
	chunkenc.Iterator
	err error
}

func (f failing) Err() error { return f.err }

// work is a sum in the making, whose memory the next one uses again.
type work struct {
	*rates
	deltas []total                 // by kept edge: of all series since the kept edge before it
	sums   []total                 // by step: the rates of the series that are set apart
	apart  []total                 // by step: what of the deltas that is
	states []state                 // of a series, by kept edge
	scaled promhist.FloatHistogram // a sum that a quantile is taken of
}

func (r *rates) work() *work {
	w := &r.memory
	if w.rates == nil {
		*w = work{
			rates: r, deltas: make([]total, len(r.kept)), sums: make([]total, len(r.steps)), apart: make([]total, len(r.steps)),
			states: make([]state, len(r.kept)),
		}
	}
	for _, all := range [][]total{w.deltas, w.sums, w.apart} {
		for i := range all {
			all[i].reset()
		}
	}
	return w
}

// bytes are those of the buckets.
func (w *work) bytes() (n int) {
	for _, all := range [][]total{w.deltas, w.sums, w.apart} {
		for i := range all {
			n += 8 * cap(all[i].buckets)
		}
	}
	return n
}

// hold tells how large the buckets are.
func (r *rates) hold(bytes int) error {
	more := bytes - r.held
	r.held = bytes
	return r.share.Hold(more)
}

func (r *rates) free() {
	r.memory = work{}
	_ = r.hold(0) // it holds less than before
}

// state is what a series' counter is at an edge.
type state struct {
	count float64
	scale int32   // of the windows that are all before it
	next  int     // the first delta that isn't all before it
	left  float64 // what of that one comes after it
}

// follow adds what a series has between the kept edges to the deltas, and notes
// what its counter is at each.
func (w *work) follow(s *Series, wait bool) {
	shape, now := newExtent(s, wait), state{left: 1}
	if s.Base != nil {
		now.count = float64(histogramOf(s.Base, wait).Count)
	}
	var h *Sparse // the next delta, nil if it isn't read yet
	for i, kept := range w.kept {
		pass := func(left float64) { // until so much of the next delta is left
			if h == nil {
				h = s.sparse(now.next, wait)
			}
			now.count += (now.left - left) * float64(h.Count)
			if i > 0 {
				w.deltas[i].add(h, now.left-left)
			}
			now.left = left
		}
		e := w.edges[kept]
		for now.next < len(s.Windows) && s.Windows[now.next] < e.window {
			pass(0)
			shape.add(h)
			h, now.left = nil, 1
			now.next++
		}
		now.scale = shape.scale
		if e.part > 0 && now.next < len(s.Windows) && s.Windows[now.next] == e.window {
			pass(1 - e.part)
		}
		w.states[i] = now
	}
}

// add adds a series.
func (w *work) add(s *Series, wait bool) {
	w.follow(s, wait)
	begin := firstEdge(w.edges, s)
	for i := range w.steps {
		t := &w.steps[i]
		if t.empty() { // its edges may be none of those that are kept
			continue
		}
		first, from, to := t.first, w.states[t.from], w.states[t.to]
		if first < begin {
			first, from = begin, state{scale: histogram.RecordScale, left: 1}
		}
		if first >= t.last {
			continue
		}
		w.sums[i].cover(min(from.scale, to.scale))
		if to.count == from.count {
			continue
		}
		before := from.count / (to.count - from.count)
		if factor := w.factor(t, first, before); factor != t.factor {
			for n := from.next; n <= to.next && n < len(s.Windows); n++ {
				part := 1.0
				if n == from.next {
					part = from.left
				}
				if n == to.next {
					part -= to.left
				}
				if part > 0 {
					h := s.sparse(n, wait)
					w.apart[i].add(h, part)
					w.sums[i].add(h, factor*part)
				}
			}
		}
	}
}

// samples are the sums at all steps, or a quantile of each.
func (w *work) samples() chunkenc.Iterator {
	var all, rest total // of what is in the step's range: parts of counts and nanoseconds add up without an error, so nothing stays of what is taken away
	edges, sums, quantiles := make([]edge, len(w.steps)), []*promhist.FloatHistogram(nil), []float64(nil)
	from, to := 0, 0
	for i := range w.steps {
		t, sum := &w.steps[i], &w.sums[i]
		for ; to < t.to; to++ {
			all.addTotal(&w.deltas[to+1], 1)
		}
		for ; from < t.from; from++ {
			all.addTotal(&w.deltas[from+1], -1)
		}
		factor := 1.0
		switch {
		case !sum.there:
		case !w.apart[i].there && all.there && all.scale <= sum.scale:
			sum, factor = &all, t.factor
		default:
			rest.reset()
			rest.addTotal(&all, 1)
			rest.addTotal(&w.apart[i], -1)
			sum.addTotal(&rest, t.factor)
		}
		edges[i].at = t.at
		if math.IsNaN(w.quantile) {
			sums = append(sums, sum.native(factor))
		} else {
			quantiles = append(quantiles, sum.quantile(w.quantile, factor, &w.scaled))
		}
	}
	if sums == nil {
		return newNumbers(edges, 0, quantiles)
	}
	return storage.NewListSeriesIteratorWithCopy(&sampled{cursor{edges: edges}, sums})
}

// stale says that there is no value.
var stale = math.Float64frombits(value.StaleNaN)

// sampled is samples that are there.
type sampled struct {
	cursor
	values []*promhist.FloatHistogram
}

func (*sampled) Type() chunkenc.ValueType       { return chunkenc.ValFloatHistogram }
func (s *sampled) FH() *promhist.FloatHistogram { return s.values[s.i] }
func (s *sampled) Get(i int) chunks.Sample {
	s.i = i
	return s
}
