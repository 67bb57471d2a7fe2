package slo_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/alert/slo"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/proto"
)

const latency = `apiVersion: openslo/v1
kind: SLO
metadata:
  name: payment-latency
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 30d
      isRolling: true
  indicator:
    spec:
      thresholdMetric:
        metricSource:
          type: Weir
          spec:
            namespace: host
            workload: shop-payment
            metric: latency
  objectives:
    - op: lte
      value: 0.3
      target: 0.99
`

const ratio = `apiVersion: openslo/v1
kind: SLO
metadata: {name: cart}
spec:
  service: shop
  budgetingMethod: Occurrences
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, spec: {query: 'requests{code="500"}'}}}
        total: {metricSource: {type: Prometheus, spec: {query: requests}}}
  objectives:
    - target: 0.99
`

// Each mistake says where it is, what is wrong and what is expected.
func TestMistakes(t *testing.T) {
	for _, test := range []struct{ in, old, new, want string }{
		{latency, "openslo/v1", "openslo/v1alpha", `1:13: apiVersion "openslo/v1alpha": expected openslo/v1`},
		{latency, "kind: SLO", "kind: SLOs", `2:7: kind "SLOs": expected SLO or SLI; Service, DataSource, AlertPolicy, AlertCondition and AlertNotificationTarget are skipped`},
		{latency, "kind: SLO\n", "", `1:1: the document has no kind`},
		{latency, "metadata:", "metadata: [", "5:1: this is no YAML: did not find expected ',' or ']' of what begins in line 3"},
		{latency, "  name: payment-latency", "  labels: {team: a}", `4:3: metadata has no name`},
		{latency, "name: payment-latency", "name: a\n  labels: {severity: x, a-b: x}", `5:22: label "severity": expected another name, this one is set by Weir`},
		{latency, "name: payment-latency", "name: a\n  labels: {__name__: x}", `5:22: label "__name__": expected another name, this one is set by Weir`},
		{latency, "name: payment-latency", "name: a\n  labels: {a-b: x}", `5:17: label "a-b": expected letters, digits and underscores, as it becomes a label of alerts`},
		{latency, "name: payment-latency", "name: a\n  annotations: {weir.io/min: 1}", `5:30: unknown annotation "weir.io/min": expected weir.io/min-bad-requests`},
		{latency, "name: payment-latency", "name: a\n  annotations: {weir.io/min-bad-requests: few}", `5:43: weir.io/min-bad-requests "few": expected a number above 0`},
		{latency, "  service: shop\n", "", `6:3: the SLO has no service`},
		{latency, "service: shop", "service: shop\n  serviec: shop", `7:3: unknown key "serviec" in the spec of an SLO: expected one of description, service, indicator, indicatorRef, timeWindow, budgetingMethod, objectives, alertPolicies`},
		{latency, "service: shop", "service: shop\n  service: shop", `7:3: "service" is here twice`},
		{latency, "Occurrences", "Timeslices", `7:20: budgetingMethod "Timeslices": expected Occurrences; slices of time aren't understood, only shares of requests`},
		{latency, "duration: 30d", "duration: 720m", `9:17: duration "720m": expected a number with h, d, w, M (30 days), Q (90 days) or Y (365 days), such as 30d`},
		{latency, "duration: 30d", "duration: 1d", `9:17: duration "1d": expected at least 3d, the longest window that alerts look at, and at most 10Y`},
		{latency, "isRolling: true", "calendar: {startTime: 2026-01-01 00:00:00}", `10:17: windows that follow the calendar aren't understood: expected isRolling: true, and no calendar`},
		{latency, "isRolling: true", "isRolling: false", `9:7: the window isn't rolling, and windows that follow the calendar aren't understood: expected isRolling: true`},
		{latency, "indicator:\n", "indicatorRef: x\n  indicator:\n", `6:3: the SLO has both of indicator and indicatorRef, or neither: expected one`},
		{ratio, ratio[strings.Index(ratio, "  indicator:"):strings.Index(ratio, "  objectives:")], "  indicatorRef: x\n", `7:17: indicatorRef "x": expected the name of an SLI in these files`},
		{latency, "thresholdMetric", "threshold", `13:7: unknown key "threshold" in the spec of an indicator: expected one of description, thresholdMetric, ratioMetric`},
		{latency, "type: Weir", "type: Datadog", `15:17: type "Datadog": expected Weir or Prometheus`},
		{latency, "          type: Weir\n", "", `15:11: metricSource has no type`},
		{latency, "workload: shop-payment", "workloads: x", `17:13: the spec of a Weir source has no workload`},
		{latency, "workload: shop-payment", "workload: x\n            operation: charges", `19:24: operation "charges": expected a method and a route, such as POST /charges`},
		{latency, "workload: shop-payment", "workload: x\n            side: both", `19:19: side "both": expected server or client`},
		{latency, "metric: latency", "metric: errors", `19:21: metric errors has a threshold: expected none, or metric: latency`},
		{latency, "metric: latency", "metric: p99", `19:21: metric "p99": expected latency or errors`},
		{latency, "metric: latency", "metric: latency\n            threshold: 300ms", `19:21: latency has two limits, or none: expected threshold: 300ms here, or op: lte and value: 0.3 in the objective`},
		{latency, "op: lte\n      value: 0.3\n      ", "", `19:21: latency has two limits, or none: expected threshold: 300ms here, or op: lte and value: 0.3 in the objective`},
		{latency, "op: lte", "op: gte", `21:11: op "gte": expected lte or lt`},
		{latency, "op: lte\n      ", "", `21:7: the objective has a value, but no op: expected op: lte`},
		{latency, "value: 0.3", "value: 300ms", `22:14: value "300ms": expected seconds, such as 0.3`},
		{latency, "target: 0.99", "target: 99", `23:15: target "99": expected a share above 0 and below 1, such as 0.99`},
		{latency, "target: 0.99", "targetPercent: 100", `23:22: targetPercent "100": expected a number above 0 and below 100, such as 99`},
		{latency, "target: 0.99", "displayName: x", `21:7: the objective has both of target and targetPercent, or neither: expected one`},
		{latency, "target: 0.99", "target: 0.99\n      timeSliceTarget: 0.9", `24:7: unknown key "timeSliceTarget" in an objective: expected one of displayName, op, value, target, targetPercent`},
		{ratio, "counter: true", "counter: false", `10:18: counter "false": expected true: shares are of counters that only rise`},
		{ratio, "bad:", "good: {}\n        bad:", `10:9: ratioMetric has both of good and bad, or neither: expected one`},
		{ratio, "query: requests}", "query: 'requests{'}", "12:64: query: line 1, column 10: unexpected end of input inside braces\nrequests{\n         ^"},
		{ratio, "query: requests}", "query: 'sum(rate(requests[5m]))'}", `12:64: query "sum(rate(requests[5m]))": expected a selector of a counter, such as http_requests_total{job="shop"}, or a rate with {{.window}} for its range, such as sum(rate(http_requests_total[{{.window}}]))`},
		{ratio, "bad: {metricSource: {type: Prometheus", "bad: {metricSource: {type: Weir", `11:14: bad is of a source of type Weir, which knows the share by itself: expected it below raw, with rawType: failure, or below thresholdMetric`},
		{ratio, "bad:", "raw:", `12:16: ratioMetric has total beside raw: expected raw alone`},
		{ratio, "query: requests}", "query: 'sum(rate(requests[{{.window}}]))'}", `11:62: of bad and total one has {{.window}}: expected it in both or in neither`},
		{latency, "duration: 30d", "duration: 585Y", `9:17: duration "585Y": expected at least 3d, the longest window that alerts look at, and at most 10Y`},
		{latency, "type: Weir\n          spec:\n            namespace: host\n            workload: shop-payment\n            metric: latency", "type: Prometheus\n          spec: {query: http_request_duration_bucket}", `16:25: http_request_duration_bucket is part of a classic histogram: expected the name of a native one, without _bucket`},
		{ratio, "- target: 0.99", "- {target: 0.99, op: lte}", `14:7: op and value are for a thresholdMetric: expected none with a ratioMetric`},
		{ratio, "- target: 0.99", "- {target: 0.99, op: lte, value: 3}", `14:7: op and value are for a thresholdMetric: expected none with a ratioMetric`},
		{ratio, "- target: 0.99", "- target: 0.99\n    - targetPercent: 99", `15:7: a target of 99% is in this SLO already: expected another, which tells them apart`},
		{ratio, "- target: 0.99", "[]", `13:15: objectives is not a list of at least one`},
	} {
		in := strings.Replace(test.in, test.old, test.new, 1)
		if test.old == "- target: 0.99" && test.new == "[]" {
			in = strings.Replace(test.in, "\n    - target: 0.99", " []", 1)
		}
		if in == test.in {
			t.Fatalf("%q isn't in %s", test.old, in)
		}
		_, _, err := slo.Read(slo.File{Name: "slo.yaml", Data: []byte(in)})
		if err == nil {
			t.Errorf("%q is taken; want %s", test.new, test.want)
		} else if !strings.Contains("\n"+err.Error()+"\n", "\nslo.yaml:"+test.want) {
			t.Errorf("%q:\n%v\nwant\nslo.yaml:%s", test.new, err, test.want)
		}
	}
}

// All mistakes of all files are said at once, in their order and once.
func TestAllMistakes(t *testing.T) {
	bad := strings.Replace(ratio, "query: requests}", "quarry: requests}", 1)
	bad = strings.Replace(bad, "service: shop", "service:", 1) + "    - target: 2\n"
	_, _, err := slo.Read(slo.File{Name: "a.yaml", Data: []byte(latency)}, slo.File{Name: "b.yaml", Data: []byte(bad)},
		slo.File{Name: "c.yaml", Data: []byte(latency)})
	want := `b.yaml:5:11: service is not a value: expected text
b.yaml:12:56: the spec of a Prometheus source has no query
b.yaml:12:57: unknown key "quarry" in the spec of a Prometheus source: expected one of query
b.yaml:15:15: target "2": expected a share above 0 and below 1, such as 0.99
c.yaml:4:9: there is an SLO "payment-latency" already, at a.yaml:1: expected another name`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// The same share of the budget is meant whatever the period: of a week, 2 % in an
// hour is 3.36 times too fast.
func TestPeriods(t *testing.T) {
	for _, test := range []struct {
		duration string
		period   time.Duration
		page     string
	}{{"30d", 30 * 24 * time.Hour, "> 14.4\n"}, {"1M", 30 * 24 * time.Hour, "> 14.4\n"}, {"28d", 28 * 24 * time.Hour, "> 13.44\n"}, {"1w", 7 * 24 * time.Hour, "> 3.36\n"}, {"1Q", 90 * 24 * time.Hour, "> 43.2\n"}} {
		file := slo.File{Name: "slo.yaml", Data: []byte(strings.Replace(latency, "30d", test.duration, 1))}
		objectives, _, err := slo.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(objectives) != 1 || objectives[0].Period != test.period {
			t.Errorf("%s is %v", test.duration, objectives[0].Period)
		}
		groups, _, err := slo.Compile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range groups[0].Rules {
			if r.Labels["severity"] == "page" && !strings.Contains(r.Expr, test.page) {
				t.Errorf("%s pages if\n%swant %s", test.duration, r.Expr, test.page)
			}
		}
	}
}

// With a target of 90 % an hour can't use up 2 % of 30 days' budget.
func TestAlertsThatCannotFire(t *testing.T) {
	groups, notes, err := slo.Compile(slo.File{Name: "slo.yaml", Data: []byte(strings.Replace(latency, "0.99", "0.9", 1))})
	if err != nil {
		t.Fatal(err)
	}
	want := "slo.yaml:21: no page after 1h: with a target of 90% not even 1h of nothing but bad requests use up 2% of the budget"
	if len(notes) != 1 || notes[0] != want {
		t.Errorf("notes are %q, want %q", notes, want)
	}
	for _, r := range groups[0].Rules {
		if r.Alert != "" && strings.Contains(r.Expr, "14.4") {
			t.Errorf("there is an alert on\n%s", r.Expr)
		}
	}
}

// Queries with a place for the window are taken as they are; how many requests
// they stand for isn't known.
func TestWindowInQuery(t *testing.T) {
	in := strings.NewReplacer(`'requests{code="500"}'`, `'sum by (route) (rate(requests{workload="cart",code="500"}[{{.window}}]))'`,
		"query: requests}", `query: 'sum by (route) (rate(requests{workload="cart"}[{{ .window }}]))'}`).Replace(ratio)
	groups, _, err := slo.Compile(slo.File{Name: "slo.yaml", Data: []byte(in)})
	if err != nil {
		t.Fatal(err)
	}
	r := groups[0].Rules[0]
	total := `sum by (route) (rate(requests{workload="cart"}[5m]))`
	want := `((sum by (route) (rate(requests{code="500",workload="cart"}[5m]))) or (` + total + `) * 0) / ((` + total + `) > 0)`
	if r.Record != "weir:slo_error_ratio:rate5m" || r.Expr != want || r.Labels["workload"] != "cart" {
		t.Errorf("%s is\n%s of %v, want\n%s", r.Record, r.Expr, r.Labels, want)
	}
	for _, r := range groups[0].Rules {
		if strings.Contains(r.Expr+r.Record, "weir:slo_requests") {
			t.Errorf("requests are counted: %s", r.Expr)
		}
	}
}

// What others are told of the share of bad requests is what the rules record.
func TestLoad(t *testing.T) {
	template := strings.NewReplacer(`'requests{code="500"}'`, `"sum(rate(requests{code='500'}[{{.window}}])) # a comment"`,
		"query: requests}", `query: "sum(rate(requests[{{ .window }}]))"}`).Replace(ratio)
	failures := ratio[:strings.Index(ratio, "counter:")] +
		"rawType: failure\n        raw: {metricSource: {type: Weir, spec: {namespace: host, workload: cart, metric: errors}}}\n" + ratio[strings.Index(ratio, "  objectives:"):]
	for name, in := range map[string]string{"latency": latency, "ratio": ratio, "template": template, "failures": failures} {
		groups, err := slo.Load(slo.File{Name: "slo.yaml", Data: []byte(in)})
		if err != nil || len(groups) != 1 {
			t.Fatalf("%s: %v, %d groups", name, err, len(groups))
		}
		o := groups[0].Objective
		if o == nil || o.Service != "shop" || o.Target != 0.99 || o.Period != 30*24*3600 || o.Labels["objective"] != "99" || o.Labels["slo"] != o.SLO || !strings.Contains(o.Text, "99%") {
			t.Errorf("%s: %+v", name, o)
		}
		for i, window := range []string{"5m", "30m", "1h"} {
			got, err := promql.Parse(strings.ReplaceAll(o.ErrorRatio, proto.ObjectiveWindow, window))
			if err != nil {
				t.Fatalf("%s: %v in %s", name, err, o.ErrorRatio)
			}
			want, err := promql.Parse(groups[0].Rules[i].Expr)
			if err != nil || got.String() != want.String() {
				t.Errorf("%s: told is\n%s\nrecorded is\n%s %v", name, got, want, err)
			}
		}
	}
}

// The example of docs/slo.md is one.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/slo.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	objectives, notes, err := slo.Read(slo.File{Name: "payment.yaml", Data: []byte(example)})
	if err != nil || len(objectives) != 1 || len(notes) != 0 {
		t.Fatalf("%d objectives, notes %q, error %v", len(objectives), notes, err)
	}
	if want := objectives[0].Text; !strings.Contains(string(page), want) {
		t.Errorf("docs/slo.md doesn't say %q", want)
	}
}

// What a person writes is no template.
func TestBraces(t *testing.T) {
	in := strings.NewReplacer("- op: lte", "- displayName: '{{ $labels.x }}'\n      op: lte", "service: shop", "service: '{{ shop }}'").Replace(latency)
	groups, _, err := slo.Compile(slo.File{Name: "slo.yaml", Data: []byte(in)})
	if err != nil {
		t.Fatal(err)
	}
	rules := groups[0].Rules
	if got := rules[len(rules)-1].Annotations["description"]; !strings.Contains(got, `{{"{{"}} $labels.x }}: 99% of`) {
		t.Errorf("the description is %s", got)
	}
	if got := rules[len(rules)-1].Labels["service"]; got != `{{"{{"}} shop }}` {
		t.Errorf("an alert's service is %s", got)
	}
	if got := rules[0].Labels["service"]; got != `{{ shop }}` {
		t.Errorf("a recording's service is %s", got)
	}
}

// Whatever a file holds, reading it ends without a panic, and a Prometheus takes
// what comes of it.
func FuzzRead(f *testing.F) {
	f.Add(latency)
	f.Add(ratio)
	f.Add(strings.Replace(ratio, "query: requests}", `query: "requests offset 5m # a comment"}`, 1))
	f.Add(strings.Replace(ratio, "query: requests}", `query: "a{b=~'{{.window}}'} or rate(requests[{{.window}}]) # a comment"}`, 1))
	f.Add("a: &a [*a]\n---\n{}\n---\n<<: {kind: SLO}\n")
	f.Fuzz(func(t *testing.T, in string) {
		groups, _, err := slo.Compile(slo.File{Name: "slo.yaml", Data: []byte(in)})
		if err != nil {
			return
		}
		out, err := slo.Marshal(groups)
		if err != nil {
			t.Fatal(err)
		}
		_, errs := rulefmt.Parse(out, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		if len(errs) > 0 {
			t.Errorf("%v in\n%s", errs, out)
		}
	})
}
