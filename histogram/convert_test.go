package histogram

import (
	"math"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	promhist "github.com/prometheus/prometheus/model/histogram"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestOTLP sends histograms through OpenTelemetry's own data point and back.
func TestOTLP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := record(rapid.SliceOfN(rapid.Int64Range(-1, 1<<40), 1, 50).Draw(t, "values"))
		h.Downscale(rapid.Int32Range(MinScale, RecordScale).Draw(t, "scale"))
		p := h.OTLP()
		data, err := proto.Marshal(&metricspb.ExponentialHistogramDataPoint{
			Count: p.Count, Sum: &p.Sum, Min: &p.Min, Max: &p.Max, Scale: p.Scale, ZeroCount: p.ZeroCount,
			Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: p.Offset, BucketCounts: p.BucketCounts},
		})
		if err != nil {
			t.Fatal(err)
		}
		var dp metricspb.ExponentialHistogramDataPoint
		if err := proto.Unmarshal(data, &dp); err != nil {
			t.Fatal(err)
		}
		back, err := FromOTLP(OTLP{
			Count: dp.Count, Sum: dp.GetSum(), Min: dp.GetMin(), Max: dp.GetMax(), Scale: dp.Scale,
			ZeroCount: dp.ZeroCount, Offset: dp.Positive.Offset, BucketCounts: dp.Positive.BucketCounts,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !back.Equal(h) {
			t.Fatalf("there and back %+v\nwas %+v", back, h)
		}
	})
}

func prometheusOf(p Native) *promhist.Histogram {
	h := &promhist.Histogram{
		Schema: p.Schema, Count: p.Count, ZeroCount: p.ZeroCount, Sum: p.Sum, PositiveBuckets: p.Deltas,
	}
	for _, s := range p.Spans {
		h.PositiveSpans = append(h.PositiveSpans, promhist.Span{Offset: s.Offset, Length: s.Length})
	}
	return h
}

// TestNativeInPrometheus: Prometheus accepts the histogram and sees the same
// counts between the same bounds.
func TestNativeInPrometheus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := record(rapid.SliceOf(durations()).Draw(t, "values"))
		h.Downscale(rapid.Int32Range(MinScale, RecordScale).Draw(t, "scale"))
		p := h.Native()
		ph := prometheusOf(p)
		if err := ph.Validate(); err != nil {
			t.Fatalf("%v: %+v", err, ph)
		}
		seen := h.ZeroCount
		for it := ph.PositiveBucketIterator(); it.Next(); {
			b := it.At()
			if b.Count == 0 {
				continue
			}
			seen += b.Count
			i := b.Index - 1 - h.Offset
			if h.Buckets[i] != b.Count {
				t.Fatalf("bucket %d holds %d, Prometheus sees %d", i, h.Buckets[i], b.Count)
			}
			// Prometheus caps the last bucket of a schema at the largest float64.
			for _, bound := range []struct{ ours, theirs float64 }{
				{boundNS(b.Index-1, h.Scale), b.Lower * 1e9}, {boundNS(b.Index, h.Scale), b.Upper * 1e9},
			} {
				if math.Abs(bound.ours-bound.theirs) > 1e-9*bound.theirs {
					t.Fatalf("bound %v, in Prometheus %v", bound.ours, bound.theirs)
				}
			}
		}
		if seen != h.Count {
			t.Fatalf("Prometheus sees %d values, want %d", seen, h.Count)
		}
		back, err := FromNative(p)
		if err != nil {
			t.Fatal(err)
		}
		if back.Count != h.Count || !reflect.DeepEqual(back.Native().Deltas, p.Deltas) || !reflect.DeepEqual(back.Native().Spans, p.Spans) {
			t.Fatalf("there and back %+v\nwas %+v", back, h)
		}
	})
}

// TestNativeIsClientGolang: the same values observed by Prometheus' own client
// are in the same buckets.
func TestNativeIsClientGolang(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(200_000, 100_000_000_000), rapid.Just(int64(0))), 1, 100).Draw(t, "values")
		c := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "d", NativeHistogramBucketFactor: 1.022, NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
		})
		for _, v := range values {
			c.Observe(float64(v) / 1e9)
		}
		var m dto.Metric
		if err := c.Write(&m); err != nil {
			t.Fatal(err)
		}
		want := m.GetHistogram()
		got := record(values).Native()
		if got.Schema != want.GetSchema() || got.Count != want.GetSampleCount() || got.ZeroCount != want.GetZeroCount() {
			t.Fatalf("got %+v\nwant %v", got, want)
		}
		theirs := &promhist.Histogram{Schema: want.GetSchema(), PositiveBuckets: want.GetPositiveDelta()}
		for _, s := range want.GetPositiveSpan() {
			theirs.PositiveSpans = append(theirs.PositiveSpans, promhist.Span{Offset: s.GetOffset(), Length: s.GetLength()})
		}
		if ours := prometheusOf(got); !reflect.DeepEqual(counts(ours), counts(theirs)) {
			t.Fatalf("got %v\nwant %v", counts(ours), counts(theirs))
		}
	})
}

func counts(h *promhist.Histogram) map[int32]uint64 {
	counts := make(map[int32]uint64)
	for it := h.PositiveBucketIterator(); it.Next(); {
		if b := it.At(); b.Count > 0 {
			counts[b.Index] = b.Count
		}
	}
	return counts
}

func TestConversionsRefuse(t *testing.T) {
	for name, p := range map[string]Native{
		"schema":            {Schema: 9},
		"custom buckets":    {Schema: -53},
		"length":            {Schema: 5, Spans: []Span{{0, 2}}, Deltas: []int64{1}},
		"huge length":       {Schema: 5, Spans: []Span{{0, math.MaxUint32}}, Deltas: []int64{1}},
		"huge gap":          {Schema: 5, Count: 2, Spans: []Span{{0, 1}, {math.MaxInt32, 1}}, Deltas: []int64{1, 0}},
		"negative gap":      {Schema: 5, Count: 2, Spans: []Span{{0, 1}, {-1, 1}}, Deltas: []int64{1, 0}},
		"lowest offset":     {Schema: 5, Count: 1, Spans: []Span{{math.MinInt32, 1}}, Deltas: []int64{1}},
		"negative count":    {Schema: 5, Spans: []Span{{0, 1}}, Deltas: []int64{-1}},
		"deltas left":       {Schema: 5, Deltas: []int64{1}},
		"count":             {Schema: 5, Count: 2, Spans: []Span{{0, 1}}, Deltas: []int64{1}},
		"not a number":      {Schema: 5, Count: 1, Sum: math.NaN(), Spans: []Span{{0, 1}}, Deltas: []int64{1}},
		"negative duration": {Schema: 5, Count: 1, Sum: -1, Spans: []Span{{0, 1}}, Deltas: []int64{1}},
	} {
		if h, err := FromNative(p); err == nil {
			t.Errorf("native %s: accepted as %+v", name, h)
		}
	}
	for name, p := range map[string]OTLP{
		"scale":        {Scale: 20},
		"count":        {Count: 1},
		"not a number": {Count: 1, ZeroCount: 1, Min: math.NaN()},
		"offset":       {Count: 1, Scale: 5, Offset: math.MaxInt32, BucketCounts: []uint64{1}},
	} {
		if h, err := FromOTLP(p); err == nil {
			t.Errorf("otlp %s: accepted as %+v", name, h)
		}
	}
	if h, err := FromNative(Native{Schema: 5, Count: 1, Sum: math.Inf(1), Spans: []Span{{1, 1}}, Deltas: []int64{1}}); err != nil || h.SumNS != math.MaxInt64 {
		t.Errorf("an infinite sum: %+v, %v", h, err)
	}
}
