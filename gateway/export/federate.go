package export

import (
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/weirstream/weir/internal/query"
	wire "github.com/weirstream/weir/proto"
)

// Selector says which series are wanted, by name and labels.
type Selector func(name string, labels []query.Label) bool

// Federate is what the sender of r is shown: what a scrape shows, but only the
// series that are wanted, and each name that Prometheus has for a histogram is
// one. It counts as a scrape, and has zeros of its own.
func (e *Exporter) Federate(r *http.Request, wanted Selector) []*dto.MetricFamily {
	e.ask()
	return e.table.federate(viewerOf(federation, r), wanted)
}

func (t *table) federate(to viewer, wanted Selector) []*dto.MetricFamily {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	f := federated{wanted: wanted, families: map[string]*dto.MetricFamily{}}
	for _, s := range t.all {
		labels := s.labels()
		if !f.wants(s.MetricName(), labels) && (s.Side != wire.SideServer || !f.wants(waitName(&s.Key), labels)) {
			continue // it stays to be shown
		}
		latency, wait, _ := s.show(to, t.now())
		f.add(s.MetricName(), labels, s, latency)
		if s.Side == wire.SideServer {
			f.add(waitName(&s.Key), labels, s, wait)
		}
	}
	out := make([]*dto.MetricFamily, 0, len(f.families))
	for _, family := range f.families {
		out = append(out, family)
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// federated is series one by one, as Prometheus hands them to others.
type federated struct {
	wanted   Selector
	families map[string]*dto.MetricFamily
}

// wants reports whether any of a histogram's series is wanted.
func (f *federated) wants(name string, labels []query.Label) bool {
	if f.wanted(name, labels) || f.wanted(name+"_count", labels) || f.wanted(name+"_sum", labels) {
		return true
	}
	return slices.ContainsFunc(classicBounds, func(le string) bool { return f.wanted(name+"_bucket", withBound(labels, le)) })
}

// add adds those of a histogram's series that are wanted. They share their labels,
// which would be most of the memory.
func (f *federated) add(name string, labels []query.Label, s *series, of *sum) {
	shared := pairs(labels)
	if f.wanted(name, labels) {
		f.put(name, dto.MetricType_HISTOGRAM, &dto.Metric{Label: shared, Histogram: of.native(s.began)})
	}
	number := func(name string, labels []query.Label, pairs []*dto.LabelPair, value float64) {
		if f.wanted(name, labels) {
			f.put(name, dto.MetricType_UNTYPED, &dto.Metric{Label: pairs, Untyped: &dto.Untyped{Value: &value}})
		}
	}
	number(name+"_count", labels, shared, float64(of.Count))
	number(name+"_sum", labels, shared, float64(of.SumNS)/1e9)
	for i, le := range classicBounds {
		number(name+"_bucket", withBound(labels, le), append(shared[:len(shared):len(shared)], bucketPairs[i]), float64(of.classic(i)))
	}
}

var bucketPairs = pairsOfBounds()

func pairsOfBounds() (out []*dto.LabelPair) {
	for _, le := range classicBounds {
		out = append(out, &dto.LabelPair{Name: proto.String("le"), Value: proto.String(le)})
	}
	return out
}

func (f *federated) put(name string, kind dto.MetricType, m *dto.Metric) {
	if f.families[name] == nil {
		f.families[name] = &dto.MetricFamily{Name: proto.String(name), Type: kind.Enum()}
	}
	f.families[name].Metric = append(f.families[name].Metric, m)
}

func withBound(labels []query.Label, le string) []query.Label {
	return append(slices.Clone(labels), query.Label{Name: "le", Value: le})
}
