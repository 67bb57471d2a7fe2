package export_test

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/counted"
)

const (
	serverMetric = "http.server.request.duration"
	clientMetric = "http.client.request.duration"
	waitMetric   = "http.server.request.wait.duration"
)

func values(attrs []*commonpb.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range attrs {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[kv.Key] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			out[kv.Key] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			out[kv.Key] = v.BoolValue
		}
	}
	return out
}

// text is a value as text, "" if there is none.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// windows sums the deltas that a receiver took, as the load counts them.
func (r *receiver) windows() bustest.Windows {
	out := bustest.Windows{}
	for metric, side := range map[string]proto.Side{serverMetric: proto.SideServer, clientMetric: proto.SideClient} {
		r.points(metric, func(resource map[string]any, _ metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint) {
			attrs := values(p.Attributes)
			k := bustest.Key{
				StartNS: int64(p.StartTimeUnixNano), Side: side, Workload: text(resource["service.name"]), Method: text(attrs["http.request.method"]),
				Route: text(attrs["http.route"]), Status: text(attrs["http.response.status_code"]), Error: text(attrs["error.type"]),
			}
			h, err := histogram.FromOTLP(histogram.OTLP{
				Count: p.Count, ZeroCount: p.ZeroCount, Sum: p.GetSum(), Min: p.GetMin(), Max: p.GetMax(),
				Scale: p.Scale, Offset: p.Positive.Offset, BucketCounts: p.Positive.BucketCounts,
			})
			if err != nil || p.TimeUnixNano-p.StartTimeUnixNano != uint64(proto.WindowNS) {
				r.Fatalf("%v in %v", err, p)
			}
			if out[k] == nil {
				out[k] = new(histogram.Histogram)
			}
			out[k].Merge(h)
		})
	}
	return out
}

// exits are the ways to reach a receiver.
var exits = map[string]func(r *receiver) export.OTLP{
	"http": func(r *receiver) export.OTLP { return to(export.HTTP, r.serveHTTP(nil)) },
	"grpc": func(r *receiver) export.OTLP { return to(export.GRPC, r.serveGRPC("127.0.0.1:0", nil)) },
}

// Each request that was made is in exactly one delta, and in one span, also over
// a restart.
func TestExact(t *testing.T) {
	t.Parallel()
	for name, exit := range exits {
		t.Run(name, func(t *testing.T) {
			r := counted.Start(t)
			to := &receiver{TB: t, token: "secret"}
			otlp := exit(to)
			otlp.Headers, otlp.Timeout, otlp.Delta, otlp.Sample = map[string]string{"x-token": "secret"}, bustest.Timeout, true, 1
			otlp.Uncompressed = name == "http"
			_, _, stop := start(r, export.Config{OTLP: otlp})
			r.Publish(4000)
			bustest.Eventually(t, func() bool { n, _ := to.spanCount(); return n == 4000 && to.windows().Count() == 4000 }, "not all arrives")
			stop()
			_, metrics, stop := start(r, export.Config{OTLP: otlp})
			r.Publish(6000)
			want := r.Load.Want()
			bustest.Eventually(t, func() bool { return to.windows().Count() >= want.Count() }, "not all deltas arrive")
			bustest.Eventually(t, func() bool { n, _ := to.spanCount(); return n >= 10_000 }, "not all spans arrive")
			stop()
			want.Check(t, to.windows())
			waits := uint64(0)
			to.points(waitMetric, func(_ map[string]any, _ metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint) {
				waits += p.Count
			})
			if waits != want.Count()/2 {
				t.Errorf("%d waits of %d requests", waits, want.Count()/2)
			}
			checkSpans(t, to)
			if sent := value(t, metrics, "weir_gateway_otlp_sent_total", "traces"); sent != 6000 {
				t.Errorf("it says that it sent %v spans", sent)
			}
		})
	}
}

func (r *receiver) spanCount() (n, failed int) {
	r.spans(func(_ map[string]any, s *tracepb.Span) {
		if n++; s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			failed++
		}
	})
	return n, failed
}

func checkSpans(t *testing.T, to *receiver) {
	t.Helper()
	ids, joined, kinds, exemplars := map[string]bool{}, map[string]bool{}, map[tracepb.Span_SpanKind]int{}, 0
	to.spans(func(resource map[string]any, s *tracepb.Span) {
		ids[string(s.SpanId)] = true
		if s.ParentSpanId != nil {
			joined[hex.EncodeToString(s.TraceId)] = true
		}
		kinds[s.Kind]++
		a := values(s.Attributes)
		wait, _ := a["weir.wait_ms"].(float64)
		parts := wait + a["weir.processing_ms"].(float64) + a["weir.transfer_ms"].(float64)
		if took := float64(s.EndTimeUnixNano-s.StartTimeUnixNano) / 1e6; took < parts-1e-6 || took > parts+1e-6 {
			t.Fatalf("a span of %v ms has parts of %v", took, parts)
		}
		if len(s.TraceId) != 16 || len(s.SpanId) != 8 || s.Name != text(a["http.request.method"])+" "+text(a["url.path"]) ||
			a["http.response.status_code"].(int64) < 200 || a["network.peer.address"] != "127.0.0.1" ||
			(a["url.scheme"] == "http") != (s.Kind == tracepb.Span_SPAN_KIND_SERVER) ||
			resource["service.namespace"] != proto.NamespaceHost || resource["host.name"] != "node1" {
			t.Fatalf("span %v of %v", s, resource)
		}
	})
	if len(ids) != 10_000 || kinds[tracepb.Span_SPAN_KIND_SERVER] != 5000 || kinds[tracepb.Span_SPAN_KIND_CLIENT] != 5000 {
		t.Errorf("%d span ids, kinds %v", len(ids), kinds)
	}
	to.points(serverMetric, func(_ map[string]any, _ metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint) {
		for _, e := range p.Exemplars {
			exemplars++
			if !joined[hex.EncodeToString(e.TraceId)] || len(e.SpanId) != 8 {
				t.Errorf("exemplar %v is of no span's trace", e)
			}
		}
	})
	if len(joined) == 0 || exemplars == 0 {
		t.Errorf("%d traces joined, %d exemplars", len(joined), exemplars)
	}
}

// Failed and slow requests are always sent, of the others about the share asked for.
func TestSampling(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	all, few := &receiver{TB: t}, &receiver{TB: t}
	for to, sample := range map[*receiver]float64{all: 0, few: 0.1} {
		otlp := export.OTLP{Traces: to.serveHTTP(nil) + "/v1/traces", Protocol: export.HTTP, Timeout: bustest.Timeout, Sample: sample}
		if sample == 0 {
			otlp.Slow = 10 * time.Millisecond
		}
		start(r, export.Config{OTLP: otlp})
	}
	failed, slow := 0, 0
	for range 10 {
		f := r.Load.Next(1000, time.Now().UnixNano())
		for i := range f.Events {
			if f.Events[i].Error != "" {
				failed++
			} else if f.Events[i].DurationNS() >= int64(10*time.Millisecond) {
				slow++
			}
		}
		r.Frame(f)
	}
	if failed == 0 || slow == 0 {
		t.Fatalf("the load has %d failed and %d slow requests", failed, slow)
	}
	bustest.Eventually(t, func() bool { n, _ := all.spanCount(); return n == failed+slow }, "not all failed and slow ones arrive")
	bustest.Eventually(t, func() bool { _, n := few.spanCount(); return n == failed }, "not all failed ones arrive")
	if n, _ := few.spanCount(); n-failed < 800 || n-failed > 1200 {
		t.Errorf("%d of about 10,000 requests are a tenth", n-failed)
	}
}

// Sums only rise, and the last ones hold every request, also those counted just
// before the exporter stopped.
func TestSums(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	to := &receiver{TB: t}
	began := time.Now()
	e, _, stop := start(r, export.Config{Unwanted: 200 * time.Millisecond, OTLP: export.OTLP{ // it is wanted whoever scrapes
		Metrics: to.serveHTTP(nil) + "/v1/metrics", Protocol: export.HTTP, Timeout: bustest.Timeout, Interval: 200 * time.Millisecond,
	}})
	for range 3 {
		r.Publish(2000)
	}
	bustest.Eventually(t, func() bool { return families(t, e, protobuf)[serverName] != nil }, "no series are shown")
	settled(t, e, 3000)
	stop()
	last := map[string]uint64{}
	to.points(serverMetric, func(resource map[string]any, temporality metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint) {
		key := fmt.Sprint(resource, values(p.Attributes))
		if p.Count < last[key] || temporality != metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE ||
			p.StartTimeUnixNano < uint64(began.UnixNano()) || p.TimeUnixNano < p.StartTimeUnixNano {
			t.Errorf("%s had %d, then %v", key, last[key], p)
		}
		last[key] = p.Count
	})
	sum := uint64(0)
	for _, n := range last {
		sum += n
	}
	if sum != 3000 {
		t.Errorf("the last sums hold %d requests, want 3000", sum)
	}
}

// The last sums are sent also if the exporter is stopped while a receiver takes
// its time with those before.
func TestLastSums(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	taken := make(chan struct{})
	to := &receiver{TB: t, misbehaveHTTP: func(int, http.ResponseWriter) bool { <-taken; return false }}
	e, _, stop := start(r, export.Config{OTLP: export.OTLP{
		Metrics: to.serveHTTP(nil) + "/v1/metrics", Protocol: export.HTTP, Timeout: bustest.Timeout, Interval: 50 * time.Millisecond,
	}})
	r.Publish(200)
	bustest.Eventually(t, func() bool { return to.requests() > 0 }, "nothing is sent")
	r.Publish(200)
	families(t, e, protobuf) // are zeros
	settled(t, e, 200)
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	bustest.Eventually(t, func() bool { return !e.Counting() }, "it doesn't stop")
	close(taken)
	<-ended
	last := map[string]uint64{}
	to.points(serverMetric, func(resource map[string]any, _ metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint) {
		key := fmt.Sprint(resource, values(p.Attributes)) // what was given up in between may come in any order
		last[key] = max(last[key], p.Count)
	})
	sum := uint64(0)
	for _, n := range last {
		sum += n
	}
	if sum != 200 {
		t.Errorf("the last sums hold %d requests, want 200", sum)
	}
}
