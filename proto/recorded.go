package proto

// RecordedVersion is that of [Recorded].
const RecordedVersion = 1

// MaxRecordedLabels bounds the labels of a recorded series.
const MaxRecordedLabels = 64

// Recorded is what the rules of one group gave at one time: a message of
// WEIR_RECORDED. There may be several for one group and time, with different
// series.
type Recorded struct {
	V           int
	Group       string // its file and name, as the alerter's record has it
	EvaluatedNS int64  // the time as of which the group was evaluated, unix nanoseconds
	TimeNS      int64  // of the samples: earlier if the group has a query_offset
	Series      []RecordedSeries
}

// RecordedSeries is one sample of one series: a number or a histogram. With
// neither the series ends: it has no value at that time.
type RecordedSeries struct {
	Rule      string // the rule's name; with #2 and so on if others of the group have the same
	Labels    []RecordedLabel
	Value     *float64
	Histogram *FloatHistogram
}

// RecordedLabel is a label; a series has them in the order of their names.
type RecordedLabel struct{ Name, Value string }

// FloatHistogram is one of Prometheus's native histograms with float counts.
type FloatHistogram struct {
	Schema          int32
	Hint            uint32 // Prometheus's CounterResetHint: 0 unknown, 1 reset, 2 none, 3 a gauge
	Count, Sum      float64
	ZeroThreshold   float64
	ZeroCount       float64
	PositiveSpans   []Span
	PositiveBuckets []float64
	NegativeSpans   []Span
	NegativeBuckets []float64
	Bounds          []float64 // upper bounds of custom buckets, schema −53
}

// Span is Length buckets that follow each other, Offset after the span before.
type Span struct {
	Offset int32
	Length uint32
}
