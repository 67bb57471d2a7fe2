package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// durations draws nanoseconds over all magnitudes, zero and negative ones too.
func durations() *rapid.Generator[int64] {
	wide := rapid.Custom(func(t *rapid.T) int64 {
		return int64(rapid.Uint64().Draw(t, "bits") >> rapid.UintRange(1, 63).Draw(t, "shift"))
	})
	return rapid.OneOf(wide, rapid.Int64Range(-2, 2_000), rapid.Int64Range(50_000, 5_000_000_000),
		rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, 1_000_000_000, 2_000_000_000, math.MaxInt64}))
}

func record(values []int64) *Histogram {
	h := new(Histogram)
	for _, v := range values {
		h.Record(v)
	}
	return h
}

func mustBeValid(t interface{ Fatalf(string, ...any) }, h *Histogram) {
	if err := h.Validate(); err != nil {
		t.Fatalf("%v: %+v", err, h)
	}
	if n := len(h.Buckets); n > MaxBuckets || n > 0 && (h.Buckets[0] == 0 || h.Buckets[n-1] == 0) {
		t.Fatalf("%d buckets, not trimmed or too many: %+v", n, h)
	}
}

// TestBucketIndex compares the index with its definition, exactly where float64
// can tell: everywhere but next to a bound.
func TestBucketIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := max(1, durations().Draw(t, "ns"))
		exact := math.Log2(float64(ns)/1e9) * 32
		want := int32(math.Ceil(exact)) - 1
		if got := bucketIndex(uint64(ns)); got != want && math.Abs(exact-math.Round(exact)) > 1e-9 {
			t.Fatalf("%d ns is in bucket %d, want %d", ns, got, want)
		}
	})
	for exp := range 34 { // powers of two seconds are upper bounds, inclusive
		ns := uint64(1e9) << exp
		if got, want := bucketIndex(ns), int32(exp*32-1); got != want {
			t.Errorf("2^%d s is in bucket %d, want %d", exp, got, want)
		}
		if got, want := bucketIndex(ns+1), int32(exp*32); exp < 33 && got != want {
			t.Errorf("2^%d s + 1 ns is in bucket %d, want %d", exp, got, want)
		}
	}
	for scale := int32(MinScale); scale <= RecordScale; scale++ {
		first, last := indexRange(scale)
		shift := RecordScale - scale
		if low, high := bucketIndex(1)>>shift, bucketIndex(math.MaxInt64)>>shift; low < first || high > last {
			t.Errorf("scale %d: buckets %d to %d are outside %d to %d", scale, low, high, first, last)
		}
	}
}

// TestMergeIsRecordAll: however values are cut into histograms and in whatever
// order these are merged, the result is the same in every field.
func TestMergeIsRecordAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(durations()).Draw(t, "values")
		all := record(values)
		mustBeValid(t, all)

		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rng.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		var parts []*Histogram
		for rest := values; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			parts = append(parts, record(rest[:n]))
			rest = rest[n:]
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var sum Histogram
		for _, p := range parts {
			before := p.Clone()
			sum.Merge(p)
			if !p.Equal(before) {
				t.Fatalf("merging changed its argument")
			}
		}
		if !sum.Equal(all) {
			t.Fatalf("merged %+v\nrecorded %+v", sum, *all)
		}
		if len(values) > 0 && sum.Offset != all.Offset {
			t.Fatalf("offsets %d and %d", sum.Offset, all.Offset)
		}
	})
}

// TestDownscale: downscaling is recording in coarser buckets, in one step or many.
func TestDownscale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := record(rapid.SliceOfN(durations(), 1, 50).Draw(t, "values"))
		scale := rapid.Int32Range(MinScale, RecordScale).Draw(t, "scale")
		once, steps := h.Clone(), h.Clone()
		once.Downscale(scale)
		for s := h.Scale - 1; s >= scale; s-- {
			steps.Downscale(s)
		}
		mustBeValid(t, once)
		if !once.Equal(steps) {
			t.Fatalf("at once %+v\nin steps %+v", once, steps)
		}
		want := make(map[int32]uint64)
		for i, n := range h.Buckets {
			if n > 0 {
				want[(h.Offset+int32(i))>>max(0, h.Scale-scale)] += n
			}
		}
		for i, n := range once.Buckets {
			if want[once.Offset+int32(i)] != n {
				t.Fatalf("bucket %d holds %d, want %d", once.Offset+int32(i), n, want[once.Offset+int32(i)])
			}
		}
		once.Merge(h)
		h.Merge(h.Clone())
		h.Downscale(once.Scale)
		if !once.Equal(h) {
			t.Fatalf("coarse with fine %+v\nfine with fine %+v", once, h)
		}
	})
}

func TestQuantileError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(1, 1_000), rapid.Int64Range(1, 60_000_000_000),
			rapid.Int64Range(100_000, 101_000)), 1, 200).Draw(t, "values")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		h := record(values)
		if h.Scale != RecordScale {
			t.Skip("the range needs a coarser scale")
		}
		slices.Sort(values)
		want := float64(values[max(0, int(math.Ceil(q*float64(len(values))))-1)])
		if got := h.Quantile(q); math.Abs(got-want)/want > 0.0109 {
			t.Fatalf("quantile %v is %v, want %v", q, got, want)
		}
	})
}

func TestQuantileEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for _, v := range []int64{0, 0, 0, 700, 1_000_000_007} {
		h.Record(v)
	}
	for _, c := range []struct{ q, want float64 }{
		{math.NaN(), 0}, {-1, 0}, {0, 0}, {0.6, 0}, {1, 1_000_000_007}, {2, 1_000_000_007},
	} {
		if got := h.Quantile(c.q); got != c.want {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
}

func TestCountBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(durations()).Draw(t, "values")
		h := record(values)
		exp := rapid.Int32Range(-31, 35).Draw(t, "exp")
		bound := math.Ldexp(1e9, int(exp))
		want := uint64(0)
		for _, v := range values {
			if float64(v) <= bound {
				want++
			}
		}
		if got := h.CountBelow(exp); got != want {
			t.Fatalf("%d values at or below 2^%d s, want %d", got, exp, want)
		}
		h.Downscale(-2)
		if got := h.CountBelow(exp &^ 3); exp&3 == 0 && got != want {
			t.Fatalf("scale -2: %d values at or below 2^%d s, want %d", got, exp, want)
		}
	})
}

func TestValidate(t *testing.T) {
	good := func() *Histogram { return record([]int64{0, 100, 200, 1_000_000}) }
	for name, spoil := range map[string]func(*Histogram){
		"scale too fine":      func(h *Histogram) { h.Scale = 9 },
		"scale too coarse":    func(h *Histogram) { h.Scale = -5 },
		"too many buckets":    func(h *Histogram) { h.Buckets = append(h.Buckets, make([]uint64, 1024)...) },
		"offset below 1 ns":   func(h *Histogram) { h.Offset = -961 },
		"offset overflow":     func(h *Histogram) { h.Offset = math.MaxInt32 },
		"offset underflow":    func(h *Histogram) { h.Offset = math.MinInt32 },
		"count too high":      func(h *Histogram) { h.Count++ },
		"count too low":       func(h *Histogram) { h.Count-- },
		"counts overflow":     func(h *Histogram) { h.ZeroCount, h.Buckets[0] = math.MaxUint64, 5 },
		"least above most":    func(h *Histogram) { h.MinNS = h.MaxNS + 1 },
		"least below nothing": func(h *Histogram) { h.MinNS = -1 },
		"negative sum":        func(h *Histogram) { h.SumNS = -1 },
	} {
		h := good()
		mustBeValid(t, h)
		spoil(h)
		if h.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestForeign: what Validate lets pass, whatever its scale and wherever its
// buckets, can be merged and recorded into.
func TestForeign(t *testing.T) {
	foreign := rapid.Custom(func(t *rapid.T) *Histogram {
		h := &Histogram{Scale: rapid.Int32Range(MinScale, MaxScale).Draw(t, "scale"), MaxNS: math.MaxInt64}
		first, last := indexRange(h.Scale)
		h.Offset = rapid.Int32Range(first, last).Draw(t, "offset")
		h.Buckets = make([]uint64, rapid.Int32Range(0, min(MaxForeignBucket, last-h.Offset+1)).Draw(t, "n"))
		if len(h.Buckets) == 0 {
			h.ZeroCount, h.Count = 3, 3
		}
		for range min(len(h.Buckets), 5) {
			h.Buckets[rapid.IntRange(0, len(h.Buckets)-1).Draw(t, "i")]++
			h.Count++
		}
		return h
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := foreign.Draw(t, "a"), foreign.Draw(t, "b")
		ab, ba := a.Clone(), b.Clone()
		ab.Trim()
		ba.Trim()
		ab.Merge(b)
		ba.Merge(a)
		if err := ab.Validate(); err != nil || !ab.Equal(ba) || len(ab.Buckets) > MaxBuckets {
			t.Fatalf("%v\na+b %+v\nb+a %+v", err, ab, ba)
		}
		count := ab.Count
		ab.Record(rapid.Int64Range(1, math.MaxInt64).Draw(t, "ns"))
		if err := ab.Validate(); err != nil || ab.Count != count+1 {
			t.Fatalf("%v after recording: %+v", err, ab)
		}
		_ = ab.Quantile(0.5)
	})
}

func TestResetAndClone(t *testing.T) {
	h := record([]int64{5, 500, 50_000})
	c := h.Clone()
	h.Reset()
	if h.Count != 0 || !h.Equal(new(Histogram)) || c.Count != 3 {
		t.Fatalf("after reset %+v, its clone %+v", h, c)
	}
	h.Record(7)
	if !h.Equal(record([]int64{7})) {
		t.Fatalf("after reset and record %+v", h)
	}
}

// web is what a histogram of a busy web service holds: about 150 buckets.
func web(n int) []int64 {
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]int64, n)
	for i := range values {
		values[i] = int64(2e6 * math.Exp(rng.NormFloat64()))
	}
	return values
}

func BenchmarkRecord(b *testing.B) {
	values := web(1 << 12)
	var h Histogram
	i := 0
	for b.Loop() {
		h.Record(values[i&(1<<12-1)])
		i++
	}
}

func BenchmarkMerge(b *testing.B) {
	values := web(1 << 12)
	o, h := record(values[:2048]), record(values[2048:])
	b.ReportMetric(float64(len(o.Buckets)), "buckets")
	for b.Loop() {
		h.Merge(o)
	}
}

func BenchmarkQuantile(b *testing.B) {
	h := record(web(1 << 12))
	for b.Loop() {
		h.Quantile(0.99)
	}
}
