package export

import (
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	wire "github.com/weirstream/weir/proto"
)

// Bounds of a request: receivers refuse more than 4 MiB unless told otherwise.
const (
	maxItems = 1000
	maxBytes = 1 << 20
)

// points is a request of data points being filled.
type points struct {
	temporality metricspb.AggregationTemporality
	data        *metricspb.MetricsData
	resources   map[resource]*metricspb.ScopeMetrics
	items       int
	bytes       int
}

func newPoints(t metricspb.AggregationTemporality) *points {
	return &points{temporality: t, data: new(metricspb.MetricsData), resources: map[resource]*metricspb.ScopeMetrics{}}
}

func (b *points) count() int { return b.items }

func (b *points) full() bool { return b.items >= maxItems || b.bytes >= maxBytes }

// take is the request and how many points it has; b is empty after it.
func (b *points) take() (request proto.Message, items int) {
	request, items = b.data, b.items
	*b = *newPoints(b.temporality)
	return request, items
}

func (b *points) add(r resource, name, help string, p *metricspb.ExponentialHistogramDataPoint) {
	s := b.resources[r]
	if s == nil {
		s = &metricspb.ScopeMetrics{Scope: scope}
		of := r.proto()
		b.data.ResourceMetrics = append(b.data.ResourceMetrics, &metricspb.ResourceMetrics{Resource: of, ScopeMetrics: []*metricspb.ScopeMetrics{s}})
		b.resources[r] = s
		b.bytes += proto.Size(of)
	}
	h := b.metric(s, name, help)
	h.DataPoints = append(h.DataPoints, p)
	b.items++
	b.bytes += proto.Size(p)
}

func (b *points) metric(s *metricspb.ScopeMetrics, name, help string) *metricspb.ExponentialHistogram {
	for _, m := range s.Metrics {
		if m.Name == name {
			return m.GetExponentialHistogram()
		}
	}
	h := &metricspb.ExponentialHistogram{AggregationTemporality: b.temporality}
	s.Metrics = append(s.Metrics, &metricspb.Metric{
		Name: name, Description: help, Unit: "s", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: h},
	})
	b.bytes += len(name) + len(help)
	return h
}

// addDelta adds what one delta of a window says.
func (b *points) addDelta(l *wire.Latency, p *wire.Point) {
	key := query.NewKey(l, p)
	of, attrs := resourceOf(&key, l.Cluster), attributesOf(&key)
	start, end := p.StartNS, p.StartNS+p.WindowNS
	b.add(of, otelName(&key), latencyHelp, dataPoint(&p.Hist, attrs, start, end, p.Exemplars))
	if w := p.Parts.Wait; w != nil && w.Count > 0 {
		b.add(of, otelWaitName(&key), waitHelp, dataPoint(w, attrs, start, end, nil))
	}
}

// addSum adds what a series has come to at a time.
func (b *points) addSum(s *series, now int64) {
	of, attrs := resourceOf(&s.Key, s.cluster), attributesOf(&s.Key)
	if s.overflow {
		attrs.add("otel.metric.overflow", &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}})
	}
	start := s.began.UnixNano()
	b.add(of, otelName(&s.Key), latencyHelp, dataPoint(s.latency.Clone(), attrs, start, now, s.exemplars))
	if s.wait.Count > 0 {
		b.add(of, otelWaitName(&s.Key), waitHelp, dataPoint(s.wait.Clone(), attrs, start, now, nil))
	}
}

func resourceOf(k *query.Key, cluster string) resource {
	return resource{cluster: cluster, namespace: k.Namespace, workload: k.Workload, kind: k.Kind}
}

// otelName is http.server.request.duration.
func otelName(k *query.Key) string { return k.Protocol + "." + k.Side.String() + ".request.duration" }

func otelWaitName(k *query.Key) string {
	return k.Protocol + "." + k.Side.String() + ".request.wait.duration"
}

// dataPoint shares its buckets with h.
func dataPoint(h *histogram.Histogram, attrs attributes, start, end int64, exemplars []wire.Exemplar) *metricspb.ExponentialHistogramDataPoint {
	o := h.OTLP()
	p := &metricspb.ExponentialHistogramDataPoint{
		Attributes: attrs, StartTimeUnixNano: uint64(start), TimeUnixNano: uint64(end),
		Count: o.Count, Sum: &o.Sum, Min: &o.Min, Max: &o.Max, Scale: o.Scale, ZeroCount: o.ZeroCount,
		Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: o.Offset, BucketCounts: o.BucketCounts},
	}
	for _, e := range exemplars {
		p.Exemplars = append(p.Exemplars, &metricspb.Exemplar{
			TimeUnixNano: uint64(e.TimeNS), Value: &metricspb.Exemplar_AsDouble{AsDouble: seconds(e.ValueNS)},
			TraceId: id(e.TraceID, 16), SpanId: id(e.SpanID, 8),
		})
	}
	return p
}
