package alert

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// BenchmarkExemplars looks for the exemplar of one alert in five minutes of 200
// workloads with 10 series each: of one workload, and of all.
func BenchmarkExemplars(b *testing.B) {
	server := bustest.Start(b)
	conn := bustest.Connect(b, server.URL)
	bustest.Provision(b, conn, 1, 1)
	lane, err := conn.OpenLane(b.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now().UTC()
	for n := range uint64(30) {
		var parts []bus.Part
		for w := range 200 {
			l := &proto.Latency{V: 1, Namespace: "shop", Workload: fmt.Sprintf("w%d", w), WorkloadKind: "Deployment"}
			for i := range 10 {
				p := proto.Point{
					StartNS: at.Add(-time.Duration(n+1)*10*time.Second).UnixNano() / proto.WindowNS * proto.WindowNS, WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
					Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: fmt.Sprintf("/%d", i), proto.AttrStatus: "200"},
				}
				for x := range 4 {
					p.Hist.Record(int64(x+1) * 1e6)
					p.Exemplars = append(p.Exemplars, proto.Exemplar{ValueNS: int64(x+1) * 1e6, TimeNS: p.StartNS + 1, TraceID: fmt.Sprintf("%032x", w)})
				}
				l.Points = append(l.Points, p)
			}
			data, err := proto.EncodeLatency(l)
			if err != nil {
				b.Fatal(err)
			}
			parts = append(parts, bus.Part{Subject: proto.LatencySubject(l.Namespace, l.Workload), Data: data})
		}
		record, err := proto.EncodeCommit(&proto.Commit{V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: n + 1, Messages: len(parts)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := lane.Commit(b.Context(), parts, record, n+1, n+1, 1); err != nil {
			b.Fatal(err)
		}
	}
	groups, err := Parse("rules.yaml", []byte(`
groups:
- name: g
  rules:
  - {alert: A, expr: 'sum by (namespace, workload) (rate(http_server_request_duration_seconds_count[5m])) > 0'}
`), time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	for name, of := range map[string]map[string]string{"workload": {"namespace": "shop", "workload": "w7"}, "all": {"workload": "w7"}} {
		b.Run(name, func(b *testing.B) {
			of[labels.AlertName] = "A"
			for b.Loop() {
				a := newAlert(proto.Alert{Group: groups[0].Key(), Rule: "A", State: Firing, FiredAt: at, Labels: of})
				t := &turn{alerter: &alerter{cfg: Config{Bus: conn}, log: quiet}, e: newEvaluator(nil, nil, nil, 0), changes: []Change{{Alert: *a, At: at}}}
				t.e.alerts[a.key()] = a
				if err := t.exemplify(b.Context(), groups, at); err != nil || a.Exemplar == "" {
					b.Fatal(err, a.Exemplar)
				}
			}
		})
	}
}
