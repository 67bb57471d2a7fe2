package alert

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const exemplarRules = `
groups:
- name: g
  rules:
  - {record: "workload:p99", expr: 'histogram_quantile(0.99, sum by (namespace, workload) (rate(http_server_request_duration_seconds[1m])))', labels: {team: a}}
  - {alert: Recorded, expr: 'workload:p99{namespace="shop"} > 1', labels: {severity: page}}
  - {alert: Errors, expr: 'sum by (workload) (rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[2m])) / sum by (workload) (rate(http_server_request_duration_seconds_count[2m])) > 0.1'}
  - {alert: Lost, expr: 'increase(weir_lost_exchanges_total[5m]) > scalar(sum(increase(http_server_request_duration_seconds_count[5m])))'}
  - {alert: All, expr: 'sum(rate(http_server_request_duration_seconds_count[2m])) > 1'}
  - {alert: Own, expr: 'sum(rate(http_server_request_duration_seconds_count[2m])) > 1', annotations: {exemplar: mine}}
  - {alert: Yesterday, expr: 'sum(rate(http_server_request_duration_seconds_count[2m] offset 1d)) > 1'}
`

// An alert is shown an exchange that it is about: of its labels and its rule's
// window, also by way of what other rules record.
func TestExemplars(t *testing.T) {
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	at := time.Now().UTC().Truncate(time.Second)
	point := func(status string, exemplars ...proto.Exemplar) proto.Point {
		p := proto.Point{
			StartNS: at.Add(-40*time.Second).UnixNano() / proto.WindowNS * proto.WindowNS, WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
			Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/pay", proto.AttrStatus: status}, Exemplars: exemplars,
		}
		if status == "500" {
			p.Attrs[proto.AttrErrorType] = "500"
		}
		p.Hist.Record(1)
		return p
	}
	exemplar := func(took, ago time.Duration, trace string) proto.Exemplar {
		return proto.Exemplar{ValueNS: int64(took), TimeNS: at.Add(-ago).UnixNano(), TraceID: strings.Repeat(trace, 32), SpanID: strings.Repeat(trace, 16)}
	}
	lane, err := conn.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	var parts []bus.Part
	for _, l := range []*proto.Latency{
		{V: 1, Namespace: "shop", Workload: "cart", WorkloadKind: "Deployment", Points: []proto.Point{
			point("200", exemplar(2*time.Second, 30*time.Second, "a"), exemplar(3*time.Second, 90*time.Second, "b")), point("500", exemplar(time.Second, 30*time.Second, "c"))}},
		{V: 1, Namespace: "shop", Workload: "payment", WorkloadKind: "Deployment", Points: []proto.Point{point("200", exemplar(9*time.Second, 30*time.Second, "d"))}},
		{V: 1, Namespace: "other", Workload: "cart", WorkloadKind: "Deployment", Points: []proto.Point{point("200", exemplar(8*time.Second, 30*time.Second, "e"), exemplar(99*time.Second, -time.Second, "f"))}},
	} {
		data, err := proto.EncodeLatency(l)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, bus.Part{Subject: proto.LatencySubject(l.Namespace, l.Workload), Data: data})
	}
	record, err := proto.EncodeCommit(&proto.Commit{V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: 1, Messages: len(parts)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Commit(t.Context(), parts, record, 1, 1, 1); err != nil {
		t.Fatal(err)
	}
	groups, err := Parse("rules.yaml", []byte(exemplarRules), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		rule   string
		labels map[string]string
		want   string
	}{
		{"Recorded", map[string]string{"workload": "cart", "namespace": "shop", "severity": "page", "team": "a"}, strings.Repeat("a", 32)},
		{"Recorded", map[string]string{"workload": "cart", "severity": "page"}, strings.Repeat("a", 32)}, // the namespace is the selector's
		{"Recorded", map[string]string{"workload": "payment", "namespace": "shop"}, strings.Repeat("d", 32)},
		{"Recorded", map[string]string{"workload": "nobody", "namespace": "shop"}, ""},
		{"Errors", map[string]string{"workload": "cart"}, strings.Repeat("c", 32)},
		{"Lost", map[string]string{"node": "n1"}, ""},
		{"All", nil, strings.Repeat("d", 32)},
		{"Own", nil, "mine"},
		{"Yesterday", nil, ""},
	} {
		of := proto.Alert{Group: groups[0].Key(), Rule: x.rule, State: Firing, FiredAt: at, Labels: map[string]string{labels.AlertName: x.rule}}
		for k, v := range x.labels {
			of.Labels[k] = v
		}
		for _, r := range groups[0].Rules {
			if r.ID == x.rule {
				of.Annotations = r.Annotations
			}
		}
		a := newAlert(of)
		tr := &turn{alerter: &alerter{cfg: Config{Bus: conn}, log: quiet}, e: newEvaluator(nil, nil, nil, 0), changes: []Change{{Alert: *a, At: at}}}
		tr.e.alerts[a.key()] = a
		if err := tr.exemplify(t.Context(), groups, at); err != nil {
			t.Fatal(err)
		}
		got := tr.changes[0].Annotations[exemplarName]
		if x.want == "" && got != "" || !strings.Contains(got, x.want) || a.Annotations[exemplarName] != got {
			t.Errorf("%s of %v: %q, want one with %q", x.rule, x.labels, got, x.want)
		}
		if x.rule == "Errors" && !strings.HasPrefix(got, `duration=1s operation="GET /pay" status=500 namespace=shop workload=cart side=server time=`) {
			t.Error(got)
		}
	}
}

// Rules that record series of one name, as those of all objectives do, are told
// apart by the labels that they set; and there may be many.
func TestExemplaryOfObjective(t *testing.T) {
	text := "groups:\n"
	for i := range 300 {
		text += strings.ReplaceAll(`- name: slo-N
  rules:
  - {record: "error:5m", expr: 'sum(rate(http_server_request_duration_seconds{workload="wN"}[5m]))', labels: {slo: N}}
  - {record: "error:1h", expr: 'avg_over_time(error:5m{slo="N"}[1h])', labels: {slo: N}}
  - {record: "all:N", expr: 'sum({__name__=~"all:.*"})'}
  - {alert: Burn, expr: 'error:5m{slo="N"} > 0.1 and error:1h{slo="N"} > 0.1 or {__name__=~"all:.*"}', labels: {slo: N}}
`, "N", strconv.Itoa(i))
	}
	groups, err := Parse("rules.yaml", []byte(text), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	x := exemplaryOf(groups, newAlert(proto.Alert{Group: groups[7].Key(), Rule: "Burn", Labels: map[string]string{labels.AlertName: "Burn", "slo": "7"}}), time.Now())
	if took := time.Since(began); took > time.Second {
		t.Errorf("it takes %s", took)
	}
	if x == nil {
		t.Fatal("it is about nothing")
	}
	for workload, want := range map[string]bool{"w7": true, "w8": false} {
		k := query.Key{Workload: workload, Kind: "unit", Side: proto.SideServer, Protocol: "http", Operation: "GET /"}
		if _, matches := x.selectors.Labels(&k); matches != want {
			t.Errorf("requests of %s match: %v", workload, matches)
		}
	}
}
