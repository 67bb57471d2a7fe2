package proto

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weirstream/weir/histogram"
)

// BenchmarkLatencyDecodeMerge decodes a message of ten series of 60 requests and
// merges its histograms.
func BenchmarkLatencyDecodeMerge(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	l := &Latency{V: 1, Namespace: "host", Workload: "cart", WorkloadKind: "unit"}
	for range 10 {
		p := Point{StartNS: 0, WindowNS: WindowNS, Metric: MetricHTTPServer, Side: SideServer,
			Attrs: map[string]string{AttrMethod: "GET", AttrRoute: "/route/{id}", AttrStatus: "200"},
			Peer:  &Peer{Namespace: "host", Workload: "front", WorkloadKind: "unit"}}
		p.Parts.Wait = &histogram.Histogram{}
		for range 60 {
			p.Hist.Record(int64(math.Exp(r.NormFloat64() + 14)))
			p.Parts.Wait.Record(r.Int64N(50_000))
		}
		l.Points = append(l.Points, p)
	}
	data, err := EncodeLatency(l)
	if err != nil {
		b.Fatal(err)
	}
	var sum, wait histogram.Histogram
	b.ReportAllocs()
	for b.Loop() {
		m, err := DecodeLatency(data)
		if err != nil {
			b.Fatal(err)
		}
		for i := range m.Points {
			sum.Merge(&m.Points[i].Hist)
			wait.Merge(m.Points[i].Parts.Wait)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
