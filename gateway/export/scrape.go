package export

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	wire "github.com/weirstream/weir/proto"
)

const (
	scrapeTime = 30 * time.Second

	latencyHelp = "Latency of requests, by the workload that served or made them, in seconds."
	waitHelp    = "Time from a request's arrival to the server's first read of it, in seconds."
)

// overflowLabel marks the series of what found no room, as OpenTelemetry's SDKs
// name it.
const overflowLabel = "otel_metric_overflow"

// ServeHTTP answers a scrape in the format that the scraper prefers: protobuf,
// OpenMetrics or the older text.
func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTime)) // what can't have one has none
	g := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return t.families(viewerOf(scrapes, r)), nil })
	promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true}).ServeHTTP(w, r)
}

// families are all series as Prometheus has them, as they are shown to a viewer.
func (t *table) families(to viewer) []*dto.MetricFamily {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	byName := map[string]*dto.MetricFamily{}
	add := func(name, help string, labels []*dto.LabelPair, h *dto.Histogram) {
		f := byName[name]
		if f == nil {
			f = &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_HISTOGRAM.Enum(), Unit: proto.String("seconds")}
			byName[name] = f
		}
		f.Metric = append(f.Metric, &dto.Metric{Label: labels, Histogram: h})
	}
	for _, s := range t.all {
		latency, wait, exemplars := s.show(to, t.now())
		labels := pairs(s.labels())
		add(s.MetricName(), latencyHelp, labels, latency.histogram(s.began, exemplars))
		if s.Side == wire.SideServer {
			add(waitName(&s.Key), waitHelp, labels, wait.histogram(s.began, nil))
		}
	}
	out := make([]*dto.MetricFamily, 0, len(byName))
	for _, f := range byName {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// waitName is http_server_request_wait_duration_seconds.
func waitName(k *query.Key) string {
	return strings.TrimSuffix(k.MetricName(), "duration_seconds") + "wait_duration_seconds"
}

func (s *series) labels() []query.Label {
	if s.overflow {
		return []query.Label{{Name: overflowLabel, Value: "true"}}
	}
	return s.Labels()
}

func pairs(labels []query.Label) []*dto.LabelPair {
	out := make([]*dto.LabelPair, len(labels))
	for i, l := range labels {
		out[i] = &dto.LabelPair{Name: &l.Name, Value: &l.Value}
	}
	return out
}

// histogram has both kinds of buckets: scrapers take those they know.
func (s *sum) histogram(began time.Time, exemplars []wire.Exemplar) *dto.Histogram {
	h := s.native(began)
	for i, bound := range bounds {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: proto.Uint64(s.classic(i))})
	}
	h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: h.SampleCount})
	for _, e := range exemplars {
		if id(e.TraceID, 16) == nil {
			continue
		}
		x := exemplar(&e)
		i, _ := slices.BinarySearch(bounds, x.GetValue())
		h.Bucket[i].Exemplar = x
		h.Exemplars = append(h.Exemplars, x)
	}
	return h
}

// native has no classic buckets.
func (s *sum) native(began time.Time) *dto.Histogram {
	n := s.Native()
	if n.Count == 0 {
		n.Schema = histogram.RecordScale // rates are as coarse as the coarsest sample in their range
	}
	h := &dto.Histogram{
		SampleCount: &n.Count, SampleSum: &n.Sum, CreatedTimestamp: timestamppb.New(began),
		Schema: &n.Schema, ZeroThreshold: proto.Float64(0), ZeroCount: &n.ZeroCount, PositiveDelta: n.Deltas,
	}
	for _, span := range n.Spans {
		h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: &span.Offset, Length: &span.Length})
	}
	if len(h.PositiveSpan) == 0 { // says that it is a native one, too
		h.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	return h
}

// classic is how many values are at or below bound i, the last of which is +Inf:
// whole ones, within the count.
func (s *sum) classic(i int) uint64 {
	if i == len(bounds) {
		return s.Count
	}
	return min(uint64(s.below[i]+0.5), s.Count)
}

func exemplar(e *wire.Exemplar) *dto.Exemplar {
	labels := []query.Label{{Name: "trace_id", Value: e.TraceID}}
	if id(e.SpanID, 8) != nil {
		labels = append(labels, query.Label{Name: "span_id", Value: e.SpanID})
	}
	return &dto.Exemplar{
		Label: pairs(labels), Value: proto.Float64(seconds(e.ValueNS)), Timestamp: timestamppb.New(time.Unix(0, e.TimeNS)),
	}
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }
