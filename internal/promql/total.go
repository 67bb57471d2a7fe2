package promql

import (
	"math"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"

	"github.com/weirstream/weir/histogram"
)

// total is a sum of histograms, each times something. Unlike a histogram.Histogram
// it has as many buckets as it needs, so that its scale is the coarsest that came.
type total struct {
	there            bool // anything came
	scale            int32
	count, zero, sum float64 // sum in nanoseconds
	offset           int32
	buckets          []float64
}

// cover makes t no finer than a scale.
func (t *total) cover(scale int32) {
	if !t.there {
		t.there, t.scale = true, scale
	}
	if scale >= t.scale {
		return
	}
	old, offset, from := t.buckets, t.offset, t.scale
	t.scale, t.buckets = scale, nil
	addBuckets(t, from, offset, old, 1)
}

func (t *total) add(h *histogram.Histogram, factor float64) {
	if h.Count == 0 {
		return
	}
	t.cover(h.Scale)
	t.count += factor * float64(h.Count)
	t.zero += factor * float64(h.ZeroCount)
	t.sum += factor * float64(h.SumNS)
	addBuckets(t, h.Scale, h.Offset, h.Buckets, factor)
}

func (t *total) addTotal(o *total, factor float64) {
	if !o.there {
		return
	}
	t.cover(o.scale)
	t.count += factor * o.count
	t.zero += factor * o.zero
	t.sum += factor * o.sum
	addBuckets(t, o.scale, o.offset, o.buckets, factor)
}

// addBuckets adds buckets of a scale that is t's or finer.
func addBuckets[N uint64 | float64](t *total, scale, offset int32, buckets []N, factor float64) {
	if len(buckets) == 0 {
		return
	}
	shift := scale - t.scale
	first, last := offset>>shift, (offset+int32(len(buckets))-1)>>shift
	if old := t.buckets; len(old) == 0 {
		t.offset, t.buckets = first, make([]float64, last-first+1)
	} else if end := t.offset + int32(len(old)) - 1; first < t.offset || last > end {
		at := t.offset
		t.offset = min(first, at)
		t.buckets = make([]float64, max(last, end)-t.offset+1)
		copy(t.buckets[at-t.offset:], old)
	}
	for i, n := range buckets {
		if n != 0 {
			t.buckets[(offset+int32(i))>>shift-t.offset] += factor * float64(n)
		}
	}
}

// native is t as the engine works with it, a stale marker if nothing came.
func (t *total) native() *promhist.FloatHistogram {
	if !t.there {
		return &promhist.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}
	}
	f := &promhist.FloatHistogram{CounterResetHint: promhist.GaugeType, Schema: t.scale, Count: t.count, ZeroCount: t.zero, Sum: t.sum / 1e9}
	span(f, t.offset, t.buckets, 0)
	return f
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
		e.cover(histogramOf(s.Base, wait))
	}
	if !e.some {
		e.scale = histogram.RecordScale
	}
	return e
}

func (e *extent) cover(h *histogram.Histogram) {
	if h.Count == 0 {
		return
	}
	if !e.counted {
		e.counted, e.scale = true, h.Scale
	}
	if shift := e.scale - h.Scale; shift > 0 {
		e.first, e.last, e.scale = e.first>>shift, e.last>>shift, h.Scale
	}
	if len(h.Buckets) == 0 {
		return
	}
	shift := h.Scale - e.scale
	first, last := h.Offset>>shift, (h.Offset+int32(len(h.Buckets))-1)>>shift
	if e.some {
		first, last = min(first, e.first), max(last, e.last)
	}
	for last-first >= histogram.MaxBuckets {
		first, last, e.scale = first>>1, last>>1, e.scale-1
	}
	e.some, e.first, e.last = true, first, last
}
