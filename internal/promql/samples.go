package promql

import (
	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/weirstream/weir/histogram"
)

// cursor is a sample of a series at one of its edges. The first is where
// the series' first window begins, so that its first requests are an increase.
type cursor struct {
	edges []edge // from the first sample's on
	i     int
}

func (c *cursor) Len() int                   { return len(c.edges) }
func (c *cursor) T() int64                   { return c.edges[c.i].at }
func (*cursor) ST() int64                    { return 0 }
func (*cursor) F() float64                   { return 0 }
func (*cursor) H() *promhist.Histogram       { return nil }
func (*cursor) FH() *promhist.FloatHistogram { return nil }
func (*cursor) Type() chunkenc.ValueType     { return chunkenc.ValFloat }
func (*cursor) Copy() chunks.Sample          { panic("the engine copies values, not samples") }

// numbers are samples that are numbers.
type numbers struct {
	cursor
	values []float64
}

func newNumbers(edges []edge, first int, values []float64) chunkenc.Iterator {
	return storage.NewListSeriesIterator(&numbers{cursor{edges: edges[first:]}, values[first:]})
}

func (n *numbers) Get(i int) chunks.Sample {
	n.i = i
	return n
}

func (n *numbers) F() float64 { return n.values[n.i] }

// counter is a series' native histogram at one edge after the other.
type counter struct {
	series *Series
	wait   bool
	next   int // the delta to add next
	sum    histogram.Histogram
}

func newCounter(s *Series, f form) *counter {
	c := &counter{series: s, wait: f.wait}
	if s.Base != nil {
		c.sum.Merge(histogramOf(s.Base, f.wait))
	}
	if c.sum.Count == 0 {
		c.sum.Scale = histogram.RecordScale // a coarser one would make all that follow coarser
	}
	return c
}

// upTo adds the windows before one, and reports whether there were any.
func (c *counter) upTo(window int) bool {
	before := c.next
	for ; c.next < len(c.series.Windows) && c.series.Windows[c.next] < window; c.next++ {
		c.sum.Merge(c.series.Read(c.next, c.wait, true))
	}
	return c.next > before
}

// histograms are samples that are native histograms. They are added up as the
// engine goes through them: in memory is one of a series.
type histograms struct {
	cursor
	*counter
	shown promhist.FloatHistogram // the counter as the engine works with it
	fresh bool                    // shown is that of now

	begun               bool // whole and delta are those of the window that the sample is within
	whole, delta, parts total
}

func newHistograms(edges []edge, s *Series, f form) chunkenc.Iterator {
	h := &histograms{counter: newCounter(s, f)}
	h.edges = edges[firstEdge(edges, s):]
	return histogramCopies{storage.NewListSeriesIterator(h)}
}

func (h *histograms) Get(i int) chunks.Sample {
	h.i = i
	return h
}

func (*histograms) Type() chunkenc.ValueType { return chunkenc.ValFloatHistogram }

// FH adds the windows that end at the sample's time or before, and what has gone
// by of the one that it is within.
func (h *histograms) FH() *promhist.FloatHistogram {
	e := h.edges[h.i]
	if h.upTo(e.window) || !h.fresh {
		convert(&h.shown, &h.sum)
		h.fresh, h.begun = true, false
	}
	shown := &h.shown
	if e.part > 0 && h.begin(e.window) {
		h.parts.reset()
		h.parts.addTotal(&h.whole, 1)
		h.parts.addTotal(&h.delta, e.part)
		shown = h.parts.native(1)
	}
	if shown.CounterResetHint = promhist.UnknownCounterReset; h.i > 0 {
		shown.CounterResetHint = promhist.NotCounterReset
	}
	return shown
}

// begin reports whether anything is in a window that comes next.
func (h *histograms) begin(window int) bool {
	if h.next == len(h.series.Windows) || h.series.Windows[h.next] != window {
		return false
	}
	if !h.begun {
		h.begun = true
		h.whole.reset()
		h.whole.add(sparse(&h.sum), 1)
		h.delta.reset()
		h.delta.add(h.series.sparse(h.next, h.wait), 1)
	}
	return h.delta.there
}

// histogramCopies hands out histograms that stay as they are when the next is read.
type histogramCopies struct{ chunkenc.Iterator }

func (c histogramCopies) AtFloatHistogram(into *promhist.FloatHistogram) (int64, *promhist.FloatHistogram) {
	t, h := c.Iterator.AtFloatHistogram(nil)
	if into == nil {
		return t, h.Copy()
	}
	h.CopyTo(into)
	return t, into
}

// maxGap empty buckets are cheaper as zeros within a span than as a span of their own.
const maxGap = 2

// convert makes f the native histogram of h, in the memory that f has. It is
// [histogram.Histogram.Native] with float counts.
func convert(f *promhist.FloatHistogram, h *histogram.Histogram) {
	f.Schema, f.Count, f.ZeroCount, f.Sum = h.Scale, float64(h.Count), float64(h.ZeroCount), float64(h.SumNS)/1e9
	span(f, h.Offset, h.Buckets, maxGap)
}

// span makes buckets those of f. Empty ones are left out where there are more
// than some in a row. Prometheus names a bucket by its upper bound, so its indices
// are one higher.
func span[N uint64 | float64](f *promhist.FloatHistogram, offset int32, buckets []N, most int32) {
	f.PositiveSpans, f.PositiveBuckets = f.PositiveSpans[:0], f.PositiveBuckets[:0]
	gap := offset + 1
	for _, n := range buckets {
		if n == 0 {
			gap++
			continue
		}
		if last := len(f.PositiveSpans) - 1; last >= 0 && gap <= most {
			f.PositiveSpans[last].Length += uint32(gap) + 1
			for range gap {
				f.PositiveBuckets = append(f.PositiveBuckets, 0)
			}
		} else {
			f.PositiveSpans = append(f.PositiveSpans, promhist.Span{Offset: gap, Length: 1})
		}
		f.PositiveBuckets = append(f.PositiveBuckets, float64(n))
		gap = 0
	}
}

// column is one of a series' classic metrics: its samples by edge.
type column struct {
	of     func(*histogram.Histogram) float64 // what a delta adds
	values []float64
}

// fill adds a series' deltas up, each decoded once for all columns.
func fill(columns []column, edges []edge, s *Series, f form) {
	wholes, deltas := make([]float64, len(columns)), make([]float64, len(columns)) // before a window, and in it
	for i, c := range columns {
		columns[i].values = make([]float64, len(edges))
		if s.Base != nil {
			wholes[i] = c.of(histogramOf(s.Base, f.wait))
		}
	}
	n := 0
	for at, e := range edges {
		if e.part == 0 {
			var h *histogram.Histogram
			if n < len(s.Windows) && s.Windows[n] == e.window {
				h = s.Read(n, f.wait, f.kind == bucket)
				n++
			}
			for i, c := range columns {
				wholes[i] += deltas[i]
				if deltas[i] = 0; h != nil {
					deltas[i] = c.of(h)
				}
			}
		}
		for i, c := range columns {
			c.values[at] = wholes[i] + e.part*deltas[i]
		}
	}
}
