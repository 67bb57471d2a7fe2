package promql

import (
	"context"
	"math"
	"sort"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/weirstream/weir/histogram"
)

// rates is what a sum needs to know of each series.
type rates struct {
	ctx    context.Context // of the query
	times  []int64         // of the edges, unix milliseconds
	over   int64           // the range, milliseconds
	divide float64         // what increases are divided by: a rate's seconds, or 1
	steps  []step
	kept   []int                 // the edges that are the first or the last of some range, rising
	states []histogram.Histogram // of a series at each of kept; its memory is used again
}

// step is a time that values are wanted of, and which edges are in its range.
type step struct {
	at          int64 // unix milliseconds
	first, last int   // edges
	from, to    int   // first and last in rates.kept; from == to where no rate is
}

// newRates plans a sum at times from first to end; a step of 0 is for first alone.
func newRates(ctx context.Context, s *sumExpr, times []int64, first, end, every int64) *rates {
	r := &rates{ctx: ctx, times: times, over: s.over.Milliseconds(), divide: 1}
	if s.function == "rate" {
		r.divide = s.over.Seconds()
	}
	if every <= 0 {
		end, every = first, 1
	}
	after := func(ms int64) int { return sort.Search(len(times), func(i int) bool { return times[i] > ms }) }
	needed := map[int]bool{}
	for at := first; at <= end; at += every {
		t := step{at: at, first: after(at - r.over), last: after(at) - 1}
		if t.first < t.last {
			needed[t.first], needed[t.last] = true, true
		}
		r.steps = append(r.steps, t)
	}
	index := make([]int, len(times))
	for i := range times {
		if needed[i] {
			index[i] = len(r.kept)
			r.kept = append(r.kept, i)
		}
	}
	for i := range r.steps {
		if t := &r.steps[i]; t.first < t.last {
			t.from, t.to = index[t.first], index[t.last]
		}
	}
	r.states = make([]histogram.Histogram, len(r.kept))
	return r
}

// group is the series of one sum. Its values are worked out as the engine comes
// to it, and are its own.
type group struct {
	*rates
	labels labels.Labels
	series []*series
}

func (g *group) Labels() labels.Labels { return g.labels }

func (g *group) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	sums := make([]total, len(g.steps))
	for _, s := range g.series {
		if g.ctx.Err() != nil {
			return failing{chunkenc.NewNopIterator(), g.ctx.Err()}
		}
		g.add(sums, s)
	}
	out := &sampled{values: make([]*promhist.FloatHistogram, len(g.steps))}
	for i, t := range g.steps {
		out.times, out.values[i] = append(out.times, t.at), sums[i].native()
		sums[i].buckets = nil
	}
	return histogramCopies{storage.NewListSeriesIterator(out)}
}

// failing is an iterator that ends with an error.
type failing struct {
	chunkenc.Iterator
	err error
}

func (f failing) Err() error { return f.err }

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

// add adds the rates of a series at all steps.
func (r *rates) add(sums []total, s *series) {
	c := newCounter(s.of, s.form)
	for i, edge := range r.kept {
		c.upTo(edge)
		set(&r.states[i], &c.sum)
	}
	var increase histogram.Histogram
	begun := histogram.Histogram{Scale: histogram.RecordScale} // where the series begins
	for i, t := range r.steps {
		first, from := t.first, &r.states[t.from]
		if first < c.first {
			first, from = c.first, &begun
		}
		if first < t.last {
			set(&increase, &r.states[t.to])
			subtract(&increase, from)
			sums[i].add(&increase, r.factor(t, first, from.Count, increase.Count))
		}
	}
}

// set makes h a copy of o in the memory that it has.
func set(h, o *histogram.Histogram) {
	buckets := append(h.Buckets[:0], o.Buckets...)
	*h = *o
	h.Buckets = buckets
}

// subtract takes from a counter what it was earlier. The coarser scale wins.
func subtract(h, o *histogram.Histogram) {
	h.Count -= o.Count
	h.SumNS -= o.SumNS
	h.ZeroCount -= o.ZeroCount
	h.Downscale(o.Scale) // before anything came in a series' scale may be coarser
	shift := o.Scale - h.Scale
	for i, n := range o.Buckets {
		h.Buckets[(o.Offset+int32(i))>>shift-h.Offset] -= n
	}
	h.Trim()
}

// factor is what an increase is multiplied by: Prometheus's extrapolatedRate
// reaches for the ends of the range where samples are near enough to them, but
// not for a time at which the counter would be below zero.
func (r *rates) factor(t step, first int, before, increase uint64) float64 {
	seconds := func(from, to int64) float64 { return float64(to-from) / 1000 }
	start, end := seconds(t.at-r.over, r.times[first]), seconds(r.times[t.last], t.at)
	sampled := seconds(r.times[first], r.times[t.last])
	apart := sampled / float64(t.last-first)
	if start >= 1.1*apart {
		start = apart / 2
	}
	if increase > 0 {
		start = min(start, sampled*(float64(before)/float64(increase)))
	}
	if end >= 1.1*apart {
		end = apart / 2
	}
	return (sampled + start + end) / sampled / r.divide
}

// total is the sum of rates at a step.
type total struct {
	series           int
	count, zero, sum float64
	scale            int32
	offset           int32
	buckets          []float64
}

func (t *total) add(h *histogram.Histogram, factor float64) {
	if t.series++; t.series == 1 {
		t.scale = h.Scale
	}
	t.count += factor * float64(h.Count)
	t.zero += factor * float64(h.ZeroCount)
	t.sum += factor * float64(h.SumNS) / 1e9
	if h.Scale < t.scale {
		t.downscale(h.Scale)
	}
	if len(h.Buckets) == 0 {
		return
	}
	shift := h.Scale - t.scale
	first, last := h.Offset>>shift, (h.Offset+int32(len(h.Buckets))-1)>>shift
	t.cover(first, last)
	for i, n := range h.Buckets {
		if n > 0 {
			t.buckets[(h.Offset+int32(i))>>shift-t.offset] += factor * float64(n)
		}
	}
}

// cover makes room for buckets.
func (t *total) cover(first, last int32) {
	if old := t.buckets; len(old) == 0 {
		t.offset, t.buckets = first, make([]float64, last-first+1)
	} else if end := t.offset + int32(len(old)) - 1; first < t.offset || last > end {
		at := t.offset
		t.offset = min(first, at)
		t.buckets = make([]float64, max(last, end)-t.offset+1)
		copy(t.buckets[at-t.offset:], old)
	}
}

func (t *total) downscale(scale int32) {
	shift, old, at := t.scale-scale, t.buckets, t.offset
	t.scale, t.buckets = scale, nil
	if len(old) == 0 {
		return
	}
	t.cover(at>>shift, (at+int32(len(old))-1)>>shift)
	for i, n := range old {
		t.buckets[(at+int32(i))>>shift-t.offset] += n
	}
}

// native is the sum as the engine works with it, a stale marker if there is none.
func (t *total) native() *promhist.FloatHistogram {
	if t.series == 0 {
		return &promhist.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}
	}
	f := &promhist.FloatHistogram{CounterResetHint: promhist.GaugeType, Schema: t.scale, Count: t.count, ZeroCount: t.zero, Sum: t.sum}
	span(f, t.offset, t.buckets, 0)
	return f
}
