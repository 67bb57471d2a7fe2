package promql

import (
	"slices"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/weirstream/weir/histogram"
)

// total is a sum of histograms, each times something. Unlike a histogram.Histogram
// it has as many buckets as it needs, so that its scale is the coarsest that came.
type total struct {
	there       bool // anything came
	scale       int32
	count, zero float64
	sum, low    float64 // nanoseconds, and what of them sum rounds off
	offset      int32
	buckets     []float64
}

// addSum adds nanoseconds without an error: a float64 alone rounds sums above 2⁵³,
// three months of latencies, and a few would stay of what is taken away again. It is
// Knuth's TwoSum.
func (t *total) addSum(ns float64) {
	sum := t.sum + ns
	added := sum - t.sum
	low := t.low + (t.sum - (sum - added)) + (ns - added)
	t.sum = sum + low
	t.low = low - (t.sum - sum)
}

// cover makes t no finer than a scale.
func (t *total) cover(scale int32) {
	if !t.there {
		t.there, t.scale = true, scale
	}
	if scale < t.scale {
		old := *t
		t.scale, t.buckets = scale, nil
		t.addBuckets(&old, 1)
	}
}

// grow makes room for buckets from one index to another.
func (t *total) grow(first, last int32) {
	old := len(t.buckets)
	if old == 0 {
		t.offset = first
	}
	first, last = min(first, t.offset), max(last, t.offset+int32(old)-1)
	size, front := int(last-first)+1, int(t.offset-first)
	if size == old {
		return
	}
	t.buckets = slices.Grow(t.buckets, size-old)[:size]
	copy(t.buckets[front:], t.buckets[:old])
	clear(t.buckets[:front])
	clear(t.buckets[front+old:])
	t.offset = first
}

func (t *total) add(h *Sparse, factor float64) {
	if h.Count == 0 {
		return
	}
	t.cover(h.Scale)
	t.count += factor * float64(h.Count)
	t.zero += factor * float64(h.ZeroCount)
	t.addSum(factor * float64(h.SumNS))
	if len(h.Filled) == 0 {
		return
	}
	shift := h.Scale - t.scale
	t.grow(h.Filled[0].Index>>shift, h.Filled[len(h.Filled)-1].Index>>shift)
	for _, b := range h.Filled {
		t.buckets[b.Index>>shift-t.offset] += factor * float64(b.Count)
	}
}

func (t *total) addTotal(o *total, factor float64) {
	if !o.there {
		return
	}
	t.cover(o.scale)
	t.count += factor * o.count
	t.zero += factor * o.zero
	t.addSum(factor * o.sum)
	t.addSum(factor * o.low)
	t.addBuckets(o, factor)
}

// addBuckets adds buckets of a scale that is t's or finer.
func (t *total) addBuckets(o *total, factor float64) {
	if len(o.buckets) == 0 {
		return
	}
	shift := o.scale - t.scale
	t.grow(o.offset>>shift, (o.offset+int32(len(o.buckets))-1)>>shift)
	if shift == 0 {
		into := t.buckets[o.offset-t.offset:][:len(o.buckets)]
		for i, n := range o.buckets {
			into[i] += factor * n
		}
		return
	}
	for i, n := range o.buckets {
		t.buckets[(o.offset+int32(i))>>shift-t.offset] += factor * n
	}
}

// reset empties t and keeps its memory.
func (t *total) reset() { *t = total{buckets: t.buckets[:0]} }

// native is t times something as the engine works with it.
func (t *total) native(factor float64) *promhist.FloatHistogram {
	if !t.there {
		return &promhist.FloatHistogram{Sum: stale}
	}
	f := &promhist.FloatHistogram{
		CounterResetHint: promhist.GaugeType, Schema: t.scale, Count: factor * t.count, ZeroCount: factor * t.zero, Sum: factor * t.sum / 1e9,
	}
	filled, spans, before := 0, 0, 0.0
	for _, n := range t.buckets {
		if n != 0 {
			filled++
			if before == 0 {
				spans++
			}
		}
		before = n
	}
	f.PositiveBuckets, f.PositiveSpans = make([]float64, 0, filled), make([]promhist.Span, 0, spans)
	span(f, t.offset, t.buckets, 0)
	for i := range f.PositiveBuckets {
		f.PositiveBuckets[i] *= factor
	}
	return f
}

// quantile is what the engine's histogram_quantile gives for t times something; f is
// memory for that.
func (t *total) quantile(q, factor float64, f *promhist.FloatHistogram) float64 {
	if !t.there {
		return stale
	}
	f.Schema, f.Count, f.ZeroCount = t.scale, factor*t.count, factor*t.zero
	f.PositiveSpans = append(f.PositiveSpans[:0], promhist.Span{Offset: t.offset + 1, Length: uint32(len(t.buckets))})
	f.PositiveBuckets = slices.Grow(f.PositiveBuckets[:0], len(t.buckets))
	for _, n := range t.buckets { // empty ones are passed over
		f.PositiveBuckets = append(f.PositiveBuckets, factor*n)
	}
	v, _ := promql.HistogramQuantile(q, f, "", posrange.PositionRange{}) // its notes are of infinite latencies
	return v
}

// extent is the scale that a counter of deltas has, and why: what
// histogram.Histogram.Merge makes of it, without the buckets.
type extent struct {
	counted     bool
	scale       int32
	some        bool  // there are buckets
	first, last int32 // buckets
}

func newExtent(s *Series, wait bool) extent {
	var e extent
	if s.Base != nil {
		h := histogramOf(s.Base, wait)
		e.cover(h, len(h.Buckets) > 0, h.Offset, h.Offset+int32(len(h.Buckets))-1)
	}
	if !e.counted {
		e.scale = histogram.RecordScale
	}
	return e
}

func (e *extent) add(h *Sparse) {
	if n := len(h.Filled); n > 0 {
		e.cover(&h.Histogram, true, h.Filled[0].Index, h.Filled[n-1].Index)
	} else {
		e.cover(&h.Histogram, false, 0, 0)
	}
}

// cover takes a delta in, whose buckets are from one index to another if there are any.
func (e *extent) cover(h *histogram.Histogram, some bool, first, last int32) {
	if h.Count == 0 {
		return
	}
	if !e.counted {
		e.counted, e.scale = true, h.Scale
	}
	if shift := e.scale - h.Scale; shift > 0 {
		e.first, e.last, e.scale = e.first>>shift, e.last>>shift, h.Scale
	}
	if !some {
		return
	}
	shift := h.Scale - e.scale
	first, last = first>>shift, last>>shift
	if e.some {
		first, last = min(first, e.first), max(last, e.last)
	}
	for last-first >= histogram.MaxBuckets {
		first, last, e.scale = first>>1, last>>1, e.scale-1
	}
	e.some, e.first, e.last = true, first, last
}
