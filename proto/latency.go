package proto

import "github.com/weirstream/weir/histogram"

// LatencyVersion is the version of [Latency] and [Commit] messages.
const LatencyVersion = 1

// WindowNS is the interval of event time that one histogram covers.
const WindowNS = int64(10e9)

// RollupNS is the interval that one histogram of WEIR_ROLLUP covers.
const RollupNS = 6 * WindowNS

// HistoryNS is the interval that one histogram of WEIR_HISTORY covers.
const HistoryNS = 30 * RollupNS

// Latency is one workload's histogram deltas of one commit. The sum of all
// deltas with equal window and series is the window.
type Latency struct {
	V            int     `msgpack:"v"`
	Cluster      string  `msgpack:"cluster"`
	Namespace    string  `msgpack:"namespace"`
	Workload     string  `msgpack:"workload"`
	WorkloadKind string  `msgpack:"workload_kind"`
	Partition    uint32  `msgpack:"partition"`
	Commit       uint64  `msgpack:"commit"`
	WatermarkNS  int64   `msgpack:"watermark_ns"`
	Points       []Point `msgpack:"points"`
}

// Attribute names of [Point.Attrs]: OpenTelemetry semantic conventions.
const (
	AttrMethod    = "http.request.method"
	AttrRoute     = "http.route"
	AttrStatus    = "http.response.status_code"
	AttrErrorType = "error.type"

	MetricHTTPServer = "http.server.request.duration"
	MetricHTTPClient = "http.client.request.duration"
)

// Peer is the workload at the other end of a series.
type Peer struct {
	Namespace    string `msgpack:"namespace"`
	Workload     string `msgpack:"workload"`
	WorkloadKind string `msgpack:"workload_kind"`
	Service      string `msgpack:"service,omitempty"`
}

// Parts are sums of the three parts of latency, nanoseconds, and the wait as
// a histogram of its own (server side only).
type Parts struct {
	WaitNS       int64                `msgpack:"wait_ns"`
	ProcessingNS int64                `msgpack:"processing_ns"`
	TransferNS   int64                `msgpack:"transfer_ns"`
	Wait         *histogram.Histogram `msgpack:"-"` // key "wait" on the wire
}

// Exemplar is one exchange that stands for a point.
type Exemplar struct {
	ValueNS int64             `msgpack:"value_ns"`
	TimeNS  int64             `msgpack:"time_ns"`
	TraceID string            `msgpack:"trace_id,omitempty"`
	SpanID  string            `msgpack:"span_id,omitempty"`
	Attrs   map[string]string `msgpack:"attrs,omitempty"`
}

// MaxExemplars is how many exemplars a point carries at most.
const MaxExemplars = 4

// Point is one series' delta of one window. On the wire the histogram's
// fields (count, sum_ns, min_ns, max_ns, scale, zero_count, offset, buckets)
// are keys of the point itself.
type Point struct {
	StartNS   int64 // start of the window, event time
	WindowNS  int64
	Metric    string
	Side      Side // "server" or "client" on the wire
	Attrs     map[string]string
	Peer      *Peer // nil if merged away
	Errors    uint64
	Hist      histogram.Histogram
	Parts     Parts
	Lossy     bool // loss is known that could belong here
	Exemplars []Exemplar
}

// Position is how far an input stream was consumed: the stream sequence of
// the frame being read and the index of the next event in it. A frame that
// was read whole is (sequence + 1, 0).
type Position struct {
	Seq   uint64 `msgpack:"seq"`
	Index uint32 `msgpack:"index"`
}

// NodeMark is the last frame of a node that a commit includes.
type NodeMark struct {
	Epoch       uint64 `msgpack:"epoch"`
	EpochID     string `msgpack:"epoch_id"`
	Seq         uint64 `msgpack:"seq"`
	Events      uint64 `msgpack:"events"` // of the epoch so far: Before + count of frame Seq
	WatermarkNS int64  `msgpack:"watermark_ns"`
	SeenNS      int64  `msgpack:"seen_ns"` // the log's clock when it was last heard from
}

// Commit is the last message of every atomic batch of the aggregator, and
// its only state.
type Commit struct {
	V              int                 `msgpack:"v"`
	Cluster        string              `msgpack:"cluster"`
	Partition      uint32              `msgpack:"partition"`
	Epoch          uint64              `msgpack:"epoch"`
	EpochID        string              `msgpack:"epoch_id"`
	Seq            uint64              `msgpack:"seq"` // commit number of the partition, 1, 2, …
	Position       Position            `msgpack:"position"`
	InputCreatedNS int64               `msgpack:"input_created_ns"`
	LogNS          int64               `msgpack:"log_ns"` // the log's clock: newest stream timestamp read
	WatermarkNS    int64               `msgpack:"watermark_ns"`
	Idle           bool                `msgpack:"idle"`
	Messages       int                 `msgpack:"messages"` // latency messages of this batch
	Events         uint64              `msgpack:"events"`   // events counted by this batch
	Duplicates     uint64              `msgpack:"duplicates"`
	Nodes          map[string]NodeMark `msgpack:"nodes"`
	Loss           []Loss              `msgpack:"loss"`
	// AnewAfter is the stream sequence of the last record that counts no longer, as
	// the roll-up began anew after it; 0 if none.
	AnewAfter uint64 `msgpack:"anew_after,omitempty" json:",omitempty"`
	// SinceNS is the time before which windows lack what had left the input when a
	// roll-up began; 0 if nothing had.
	SinceNS int64 `msgpack:"since_ns,omitempty" json:",omitempty"`
}
