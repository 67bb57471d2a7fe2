package histogram

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

const (
	// RecordScale is the scale of a histogram that only [Histogram.Record]
	// fills, until its range needs more than MaxBuckets.
	RecordScale = 5
	// MaxBuckets is what Record and Merge keep a histogram within, by
	// downscaling it. Nanoseconds to 292 years never need less than scale 3.
	MaxBuckets = 640

	// What Validate accepts from others.
	MinScale         = -4
	MaxScale         = 8
	MaxForeignBucket = 1024
)

// Histogram is a base-2 exponential histogram of durations. The zero value is
// empty and ready to use. It is not safe for concurrent use.
//
// Equal data has equal fields: the scale is the finest at which MaxBuckets
// hold the range, and Buckets begin and end with a bucket that isn't empty.
type Histogram struct {
	Count     uint64
	SumNS     int64
	MinNS     int64 // undefined if Count is 0
	MaxNS     int64
	Scale     int32
	ZeroCount uint64   // values ≤ 0
	Offset    int32    // index of Buckets[0]: bucket i holds (base^i, base^(i+1)] seconds, base = 2^(2^-Scale)
	Buckets   []uint64 // dense
}

// Record adds one duration in nanoseconds. Negative ones count as zero.
func (h *Histogram) Record(ns int64) {
	ns = max(ns, 0)
	if h.Count == 0 {
		h.Reset()
		h.Scale, h.MinNS, h.MaxNS = RecordScale, ns, ns
	}
	h.Count++
	h.addSum(ns)
	h.MinNS, h.MaxNS = min(h.MinNS, ns), max(h.MaxNS, ns)
	if ns == 0 {
		h.ZeroCount++
		return
	}
	if h.Scale > RecordScale {
		h.Downscale(RecordScale)
	}
	index := bucketIndex(uint64(ns)) >> uint(RecordScale-h.Scale)
	if i := int(index) - int(h.Offset); uint(i) < uint(len(h.Buckets)) {
		h.Buckets[i]++
		return
	}
	index >>= h.cover(index, index)
	h.Buckets[index-h.Offset]++
}

// Merge adds all that o holds; o stays as it is. The coarser scale wins.
func (h *Histogram) Merge(o *Histogram) {
	if o.Count == 0 {
		return
	}
	if h.Count == 0 {
		h.Reset()
		h.Scale, h.MinNS, h.MaxNS = o.Scale, o.MinNS, o.MaxNS
	}
	h.Downscale(o.Scale)
	h.Count += o.Count
	h.addSum(o.SumNS)
	h.MinNS, h.MaxNS = min(h.MinNS, o.MinNS), max(h.MaxNS, o.MaxNS)
	h.ZeroCount += o.ZeroCount

	offset, buckets := trim(o.Offset, o.Buckets)
	if len(buckets) == 0 {
		return
	}
	shift := uint(o.Scale - h.Scale)
	last := offset + int32(len(buckets)) - 1
	shift += h.cover(offset>>shift, last>>shift)
	if shift == 0 {
		into := h.Buckets[offset-h.Offset:]
		into = into[:len(buckets)]
		for i, n := range buckets {
			into[i] += n
		}
		return
	}
	for i, n := range buckets {
		h.Buckets[(offset+int32(i))>>shift-h.Offset] += n
	}
}

// addSum stays at the largest sum, 292 years, rather than wrap around.
func (h *Histogram) addSum(ns int64) {
	if h.SumNS += ns; h.SumNS < 0 {
		h.SumNS = math.MaxInt64
	}
}

// cover makes room for buckets first to last, indices at h's scale. When that
// would take more than MaxBuckets it first downscales, and returns by how much:
// the caller's indices are to be shifted right by it.
func (h *Histogram) cover(first, last int32) (shift uint) {
	if len(h.Buckets) == 0 {
		h.Offset = first
	} else {
		first = min(first, h.Offset)
		last = max(last, h.Offset+int32(len(h.Buckets))-1)
	}
	for int(last>>shift)-int(first>>shift) >= MaxBuckets {
		shift++
	}
	h.Downscale(h.Scale - int32(shift))
	first, last = first>>shift, last>>shift

	size, front := int(last-first)+1, int(h.Offset-first)
	old := len(h.Buckets)
	if old == 0 {
		front = 0
	}
	h.Buckets = slices.Grow(h.Buckets, size-old)[:size]
	copy(h.Buckets[front:], h.Buckets[:old])
	clear(h.Buckets[:front])
	clear(h.Buckets[front+old:])
	h.Offset = first
	return shift
}

// Downscale makes the buckets coarser: each step down joins them in pairs,
// exactly. A scale that is not below the histogram's changes nothing.
func (h *Histogram) Downscale(scale int32) {
	if scale >= h.Scale {
		return
	}
	shift := uint(h.Scale - scale)
	h.Scale = scale
	if len(h.Buckets) == 0 {
		return
	}
	offset := h.Offset >> shift
	size := 0
	for i, n := range h.Buckets {
		to := int((h.Offset+int32(i))>>shift - offset)
		if to == size { // the first of its pair; i ≥ to, so nothing unread is overwritten
			h.Buckets[to] = 0
			size++
		}
		h.Buckets[to] += n
	}
	h.Offset, h.Buckets = offset, h.Buckets[:size]
}

// Reset empties h and keeps its memory.
func (h *Histogram) Reset() { *h = Histogram{Buckets: h.Buckets[:0]} }

// Clone is a copy that shares nothing with h.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.Buckets = slices.Clone(h.Buckets)
	return &c
}

// Equal tells whether both hold the same in the same buckets.
func (h *Histogram) Equal(o *Histogram) bool {
	if h.Count == 0 || o.Count == 0 {
		return h.Count == o.Count
	}
	return h.Count == o.Count && h.SumNS == o.SumNS && h.MinNS == o.MinNS && h.MaxNS == o.MaxNS &&
		h.Scale == o.Scale && h.ZeroCount == o.ZeroCount &&
		slices.Equal(h.Buckets, o.Buckets) && (len(h.Buckets) == 0 || h.Offset == o.Offset)
}

// Trim brings what others have sent into the form that equal data has here: no
// empty buckets at the ends, at most MaxBuckets.
func (h *Histogram) Trim() {
	h.Offset, h.Buckets = trim(h.Offset, h.Buckets)
	if n := int32(len(h.Buckets)); n > MaxBuckets {
		h.cover(h.Offset, h.Offset+n-1)
	}
}

func trim(offset int32, buckets []uint64) (int32, []uint64) {
	for len(buckets) > 0 && buckets[0] == 0 {
		buckets = buckets[1:]
		offset++
	}
	for len(buckets) > 0 && buckets[len(buckets)-1] == 0 {
		buckets = buckets[:len(buckets)-1]
	}
	if len(buckets) == 0 {
		offset = 0
	}
	return offset, buckets
}

// Validate refuses what can't be a histogram of durations: a scale outside
// −4…8, more than 1,024 buckets, buckets for durations no int64 of nanoseconds
// holds, counts that don't add up, negative sums. What passes can be merged with
// anything.
func (h *Histogram) Validate() error {
	if h.Scale < MinScale || h.Scale > MaxScale {
		return fmt.Errorf("validate histogram: scale %d is outside %d to %d", h.Scale, MinScale, MaxScale)
	}
	if len(h.Buckets) > MaxForeignBucket {
		return fmt.Errorf("validate histogram: %d buckets, at most %d are allowed", len(h.Buckets), MaxForeignBucket)
	}
	if first, last := indexRange(h.Scale); len(h.Buckets) > 0 &&
		(h.Offset < first || int64(h.Offset)+int64(len(h.Buckets)) > int64(last)+1) {
		return fmt.Errorf("validate histogram: buckets %d to %d are outside %d to %d",
			h.Offset, int64(h.Offset)+int64(len(h.Buckets))-1, first, last)
	}
	sum := h.ZeroCount
	for _, n := range h.Buckets {
		var carry uint64
		if sum, carry = bits.Add64(sum, n, 0); carry != 0 {
			return fmt.Errorf("validate histogram: bucket counts overflow")
		}
	}
	if sum != h.Count {
		return fmt.Errorf("validate histogram: count is %d, buckets hold %d", h.Count, sum)
	}
	if h.Count > 0 && (h.SumNS < 0 || h.MinNS < 0 || h.MinNS > h.MaxNS) {
		return fmt.Errorf("validate histogram: sum %d, least %d, greatest %d ns", h.SumNS, h.MinNS, h.MaxNS)
	}
	return nil
}
