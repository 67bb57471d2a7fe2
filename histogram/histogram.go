package histogram

// Histogram is a base-2 exponential histogram of durations. The zero value is
// empty and ready to use. It is not safe for concurrent use.
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
