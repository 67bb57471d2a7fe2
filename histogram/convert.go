package histogram

import (
	"fmt"
	"math"
)

// OTLP has the fields of an OpenTelemetry exponential histogram data point
// (unit s, negative range empty).
type OTLP struct {
	Count, ZeroCount uint64
	Sum, Min, Max    float64 // seconds
	Scale            int32
	Offset           int32
	BucketCounts     []uint64
}

// OTLP converts h. Counts and buckets are the same, and shared with h; sum,
// min and max lose nothing below 2^51 ns, 26 days.
func (h *Histogram) OTLP() OTLP {
	return OTLP{
		Count: h.Count, ZeroCount: h.ZeroCount,
		Sum: seconds(h.SumNS), Min: seconds(h.MinNS), Max: seconds(h.MaxNS),
		Scale: h.Scale, Offset: h.Offset, BucketCounts: h.Buckets,
	}
}

// FromOTLP converts a data point, of which it keeps BucketCounts. It refuses
// what [Histogram.Validate] refuses, and NaN.
func FromOTLP(p OTLP) (*Histogram, error) {
	h := &Histogram{
		Count: p.Count, ZeroCount: p.ZeroCount,
		Scale: p.Scale, Offset: p.Offset, Buckets: p.BucketCounts,
	}
	if err := h.setNS(p.Sum, p.Min, p.Max); err != nil {
		return nil, err
	}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	h.Trim()
	return h, nil
}

// Native has the fields of a Prometheus native histogram with integer counts
// (seconds, negative range empty, zero threshold 0).
type Native struct {
	Schema           int32
	Count, ZeroCount uint64
	Sum              float64 // seconds
	Spans            []Span
	Deltas           []int64 // of each bucket's count to the one before
}

// Span is a run of Length buckets, Offset after the end of the one before.
type Span struct {
	Offset int32
	Length uint32
}

// maxSpanGap empty buckets are cheaper as zeros within a span than as a span of
// their own.
const maxSpanGap = 2

// Native converts h. Prometheus names a bucket by its upper bound, so its
// indices are one higher.
func (h *Histogram) Native() Native {
	p := Native{Schema: h.Scale, Count: h.Count, ZeroCount: h.ZeroCount, Sum: seconds(h.SumNS)}
	offset, buckets := trim(h.Offset, h.Buckets)
	offset++
	previous := int64(0)
	for i := 0; i < len(buckets); {
		gap := 0
		for buckets[i+gap] == 0 { // ends: the last bucket isn't empty
			gap++
		}
		if gap > maxSpanGap || len(p.Spans) == 0 {
			p.Spans = append(p.Spans, Span{Offset: offset + int32(gap)})
			i, gap, offset = i+gap, 0, 0
		}
		for _, n := range buckets[i : i+gap+1] {
			p.Deltas = append(p.Deltas, int64(n)-previous)
			previous = int64(n)
		}
		p.Spans[len(p.Spans)-1].Length += uint32(gap + 1)
		i += gap + 1
	}
	return p
}

// FromNative converts a native histogram. Prometheus doesn't keep the least and
// greatest value: they become the bounds of the outermost buckets. It refuses
// what [Histogram.Validate] refuses, spans and deltas that don't fit, and NaN.
func FromNative(p Native) (*Histogram, error) {
	h := &Histogram{Count: p.Count, ZeroCount: p.ZeroCount, Scale: p.Schema}
	if p.Schema < MinScale || p.Schema > MaxScale {
		return nil, fmt.Errorf("convert native histogram: schema %d is outside %d to %d", p.Schema, MinScale, MaxScale)
	}
	deltas, count := p.Deltas, int64(0)
	for i, s := range p.Spans {
		gap := int64(s.Offset)
		if i == 0 {
			h.Offset, gap = s.Offset-1, 0
		}
		if gap < 0 || gap+int64(s.Length)+int64(len(h.Buckets)) > MaxForeignBucket || int(s.Length) > len(deltas) {
			return nil, fmt.Errorf("convert native histogram: span %d {offset %d, length %d} does not fit", i, s.Offset, s.Length)
		}
		h.Buckets = append(h.Buckets, make([]uint64, gap)...)
		for _, d := range deltas[:s.Length] {
			if count += d; count < 0 {
				return nil, fmt.Errorf("convert native histogram: bucket %d is negative", len(h.Buckets))
			}
			h.Buckets = append(h.Buckets, uint64(count))
		}
		deltas = deltas[s.Length:]
	}
	if len(deltas) > 0 {
		return nil, fmt.Errorf("convert native histogram: %d deltas are in no span", len(deltas))
	}
	h.Trim()
	var least, greatest float64
	if n := int32(len(h.Buckets)); n > 0 {
		least, greatest = boundNS(h.Offset, h.Scale)/1e9, boundNS(h.Offset+n, h.Scale)/1e9
	}
	if h.ZeroCount > 0 {
		least = 0
	}
	if err := h.setNS(p.Sum, least, greatest); err != nil {
		return nil, err
	}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// setNS sets sum, least and greatest from seconds. What is above an int64 of
// nanoseconds becomes the largest one.
func (h *Histogram) setNS(sum, least, greatest float64) error {
	for _, f := range []struct {
		ns *int64
		s  float64
	}{{&h.SumNS, sum}, {&h.MinNS, least}, {&h.MaxNS, greatest}} {
		if math.IsNaN(f.s) || f.s < 0 {
			return fmt.Errorf("convert histogram: %v is not a duration in seconds", f.s)
		}
		if ns := math.Round(f.s * 1e9); ns < math.MaxInt64 {
			*f.ns = int64(ns)
		} else {
			*f.ns = math.MaxInt64
		}
	}
	return nil
}
