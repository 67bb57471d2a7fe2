package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	exemplarTime  = 5 * time.Second
	mostExemplars = 200             // of an answer: the slowest
	afterwards    = 5 * time.Minute // how much later they are looked for
)

type exemplarsAnswer struct {
	Exemplars []exemplar `json:"exemplars"`
	LeftOut   int        `json:"left_out"`
}

// exemplar is one request that stands for others.
type exemplar struct {
	Time      float64 `json:"time"` // unix milliseconds
	Value     float64 `json:"value_ms"`
	Operation string  `json:"operation"`
	Status    string  `json:"status"`
	Peer      peer    `json:"peer"`
	TraceID   string  `json:"trace_id"`
	SpanID    string  `json:"span_id"`
}

// exemplarQuery is requests of a workload that took [least, most) nanoseconds.
type exemplarQuery struct {
	interval    query.Interval
	workload    query.Workload
	side        proto.Side
	least, most int64
}

// exemplars answers with the slowest first. They are wanted of single windows
// and rarely, so they are read from the stream rather than kept.
func (g *gateway) exemplars(r *http.Request) (any, error) {
	q := r.URL.Query()
	var e exemplarQuery
	var err error
	if e.interval, err = g.interval(q); err != nil {
		return nil, err
	}
	if e.workload, e.side, err = workload(q); err != nil {
		return nil, err
	}
	if e.least, e.most, err = latencyBounds(q); err != nil {
		return nil, err
	}
	if !g.bus.Connected() {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(r.Context(), exemplarTime)
	defer cancel()
	out, err := g.readExemplars(ctx, e)
	if err != nil {
		return nil, slow(err, "reading exemplars", exemplarTime)
	}
	slices.SortStableFunc(out, func(a, b exemplar) int { return cmp.Compare(b.Value, a.Value) })
	leftOut := max(0, len(out)-mostExemplars)
	return &exemplarsAnswer{Exemplars: out[:len(out)-leftOut], LeftOut: leftOut}, nil
}

func (g *gateway) readExemplars(ctx context.Context, e exemplarQuery) ([]exemplar, error) {
	out := []exemplar{} // not null
	for m, err := range g.bus.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{proto.LatencySubject(e.workload.Namespace, e.workload.Name)},
		StartTime: e.interval.From().Add(-query.Early), StopAtEnd: true,
	}) {
		if err != nil {
			return nil, fmt.Errorf("read exemplars: %w", err)
		}
		if m.Time.After(e.interval.To().Add(afterwards)) {
			break
		}
		if l, err := proto.DecodeLatency(m.Data); err == nil { // what can't be read is counted elsewhere
			out = e.take(out, l)
		}
	}
	return out, nil
}

func (e *exemplarQuery) take(out []exemplar, l *proto.Latency) []exemplar {
	if l.Namespace != e.workload.Namespace || l.Workload != e.workload.Name || e.workload.Kind != "" && l.WorkloadKind != e.workload.Kind {
		return out
	}
	for i := range l.Points {
		p := &l.Points[i]
		if p.Side != e.side || !e.interval.Contains(p.StartNS) {
			continue
		}
		k := query.NewKey(l, p)
		for _, x := range p.Exemplars {
			if x.ValueNS >= e.least && x.ValueNS < e.most {
				out = append(out, exemplar{
					Time: float64(x.TimeNS) / 1e6, Value: float64(x.ValueNS) / 1e6, Operation: k.Operation, Status: k.Status,
					Peer: peer{k.PeerNamespace, k.PeerWorkload, k.PeerKind}, TraceID: x.TraceID, SpanID: x.SpanID,
				})
			}
		}
	}
	return out
}
