package replay

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// latencyRow is a point of a latency message in a file. Its fields are those of
// docs/wire.md.
type latencyRow struct {
	V            int32     `json:"v" parquet:"v"`
	Cluster      string    `json:"cluster,omitempty" parquet:"cluster,dict"`
	Namespace    string    `json:"namespace" parquet:"namespace,dict"`
	Workload     string    `json:"workload" parquet:"workload,dict"`
	WorkloadKind string    `json:"workload_kind" parquet:"workload_kind,dict"`
	Start        time.Time `json:"start" parquet:"start,timestamp(nanosecond)"`
	WindowNS     int64     `json:"window_ns" parquet:"window_ns"`
	Metric       string    `json:"metric" parquet:"metric,dict"`
	Side         string    `json:"side" parquet:"side,dict"`

	Attrs     map[string]string `json:"attrs,omitempty" parquet:"attrs"`
	Peer      *peerRow          `json:"peer,omitempty" parquet:"peer,optional"`
	Errors    uint64            `json:"errors" parquet:"errors"`
	Count     uint64            `json:"count" parquet:"count"`
	SumNS     int64             `json:"sum_ns" parquet:"sum_ns"`
	MinNS     int64             `json:"min_ns" parquet:"min_ns"`
	MaxNS     int64             `json:"max_ns" parquet:"max_ns"`
	Scale     int32             `json:"scale" parquet:"scale"`
	ZeroCount uint64            `json:"zero_count" parquet:"zero_count"`
	Offset    int32             `json:"offset" parquet:"offset"`
	Buckets   []uint64          `json:"buckets" parquet:"buckets,list"`
	Parts     partsRow          `json:"parts" parquet:"parts"`
	Lossy     bool              `json:"lossy,omitempty" parquet:"lossy"`
	Exemplars []exemplarRow     `json:"exemplars,omitempty" parquet:"exemplars,list"`

	Partition uint32    `json:"partition" parquet:"partition"`
	Commit    uint64    `json:"commit" parquet:"commit"`
	Sequence  uint64    `json:"sequence" parquet:"sequence"` // of the message in WEIR_LATENCY, 0 if it was counted anew
	Stored    time.Time `json:"stored" parquet:"stored,timestamp(nanosecond)"`
	Watermark time.Time `json:"watermark" parquet:"watermark,timestamp(nanosecond)"`
}

type peerRow struct {
	Namespace    string `json:"namespace" parquet:"namespace,dict"`
	Workload     string `json:"workload" parquet:"workload,dict"`
	WorkloadKind string `json:"workload_kind" parquet:"workload_kind,dict"`
	Service      string `json:"service,omitempty" parquet:"service,dict"`
}

type partsRow struct {
	WaitNS       int64    `json:"wait_ns" parquet:"wait_ns"`
	ProcessingNS int64    `json:"processing_ns" parquet:"processing_ns"`
	TransferNS   int64    `json:"transfer_ns" parquet:"transfer_ns"`
	Wait         *histRow `json:"wait,omitempty" parquet:"wait,optional"`
}

type histRow struct {
	Count     uint64   `json:"count" parquet:"count"`
	SumNS     int64    `json:"sum_ns" parquet:"sum_ns"`
	MinNS     int64    `json:"min_ns" parquet:"min_ns"`
	MaxNS     int64    `json:"max_ns" parquet:"max_ns"`
	Scale     int32    `json:"scale" parquet:"scale"`
	ZeroCount uint64   `json:"zero_count" parquet:"zero_count"`
	Offset    int32    `json:"offset" parquet:"offset"`
	Buckets   []uint64 `json:"buckets" parquet:"buckets,list"`
}

type exemplarRow struct {
	ValueNS int64             `json:"value_ns" parquet:"value_ns"`
	Time    time.Time         `json:"time" parquet:"time,timestamp(nanosecond)"`
	TraceID string            `json:"trace_id,omitempty" parquet:"trace_id"`
	SpanID  string            `json:"span_id,omitempty" parquet:"span_id"`
	Attrs   map[string]string `json:"attrs,omitempty" parquet:"attrs"`
}

// newLatencyRows are the rows of an item, appended to rows.
func newLatencyRows(rows []latencyRow, i *Item) []latencyRow {
	l := i.Latency
	for k := range l.Points {
		p := &l.Points[k]
		h := histRow(p.Hist)
		row := latencyRow{
			V: rowVersion, Cluster: l.Cluster, Namespace: l.Namespace, Workload: l.Workload, WorkloadKind: l.WorkloadKind,
			Start: utc(p.StartNS), WindowNS: p.WindowNS, Metric: p.Metric, Side: p.Side.String(), Attrs: p.Attrs, Errors: p.Errors,
			Count: h.Count, SumNS: h.SumNS, MinNS: h.MinNS, MaxNS: h.MaxNS, Scale: h.Scale, ZeroCount: h.ZeroCount, Offset: h.Offset, Buckets: h.Buckets,
			Parts: partsRow{WaitNS: p.Parts.WaitNS, ProcessingNS: p.Parts.ProcessingNS, TransferNS: p.Parts.TransferNS},
			Lossy: p.Lossy, Partition: l.Partition, Commit: l.Commit, Sequence: i.Sequence, Stored: i.Time.UTC(), Watermark: utc(l.WatermarkNS),
		}
		if p.Parts.Wait != nil {
			wait := histRow(*p.Parts.Wait)
			row.Parts.Wait = &wait
		}
		if p.Peer != nil {
			peer := peerRow(*p.Peer)
			row.Peer = &peer
		}
		for _, x := range p.Exemplars {
			row.Exemplars = append(row.Exemplars, exemplarRow{x.ValueNS, utc(x.TimeNS), x.TraceID, x.SpanID, x.Attrs})
		}
		rows = append(rows, row)
	}
	return rows
}

// point is the point that a row was made of.
func (r *latencyRow) point() (proto.Point, error) {
	p := proto.Point{
		StartNS: r.Start.UnixNano(), WindowNS: r.WindowNS, Metric: r.Metric, Side: proto.ParseSide(r.Side), Attrs: r.Attrs, Errors: r.Errors,
		Hist: histogram.Histogram{Count: r.Count, SumNS: r.SumNS, MinNS: r.MinNS, MaxNS: r.MaxNS,
			Scale: r.Scale, ZeroCount: r.ZeroCount, Offset: r.Offset, Buckets: slices.Clone(r.Buckets)},
		Parts: proto.Parts{WaitNS: r.Parts.WaitNS, ProcessingNS: r.Parts.ProcessingNS, TransferNS: r.Parts.TransferNS},
		Lossy: r.Lossy,
	}
	if r.Parts.Wait != nil {
		wait := histogram.Histogram(*r.Parts.Wait)
		wait.Buckets = slices.Clone(wait.Buckets)
		p.Parts.Wait = &wait
	}
	if r.Peer != nil {
		peer := proto.Peer(*r.Peer)
		p.Peer = &peer
	}
	for _, x := range r.Exemplars {
		p.Exemplars = append(p.Exemplars, proto.Exemplar{ValueNS: x.ValueNS, TimeNS: x.Time.UnixNano(), TraceID: x.TraceID, SpanID: x.SpanID, Attrs: x.Attrs})
	}
	if p.Side == proto.SideUnknown {
		return p, fmt.Errorf("side %q is not server or client", r.Side)
	}
	return p, p.Validate()
}

// messages makes items of consecutive rows: a message of each workload.
type messages struct {
	item    Item
	latency proto.Latency
}

// maxPoints of an item: more are several messages.
const maxPoints = 1024

func (g *messages) add(r *latencyRow, play func(*Item) error) error {
	p, err := r.point()
	if err != nil {
		return err
	}
	l := &g.latency
	if len(l.Points) > 0 && (len(l.Points) == maxPoints || r.Sequence != g.item.Sequence || r.Namespace != l.Namespace || r.Workload != l.Workload ||
		r.WorkloadKind != l.WorkloadKind || r.Cluster != l.Cluster || r.Partition != l.Partition || r.Commit != l.Commit) {
		if err := g.flush(play); err != nil {
			return err
		}
	}
	if len(l.Points) == 0 {
		g.item = Item{Message: bus.Message{Sequence: r.Sequence, Time: r.Stored}, Stream: proto.StreamLatency, Latency: l}
		*l = proto.Latency{V: proto.LatencyVersion, Cluster: r.Cluster, Namespace: r.Namespace, Workload: r.Workload, WorkloadKind: r.WorkloadKind,
			Partition: r.Partition, Commit: r.Commit, WatermarkNS: r.Watermark.UnixNano(), Points: l.Points}
	}
	l.Points = append(l.Points, p)
	return nil
}

func (g *messages) flush(play func(*Item) error) error {
	if len(g.latency.Points) == 0 {
		return nil
	}
	err := play(&g.item)
	g.latency.Points = g.latency.Points[:0]
	return err
}
