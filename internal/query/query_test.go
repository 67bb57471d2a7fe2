package query

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

func TestWindowsAreWhole(t *testing.T) {
	for _, c := range []struct{ from, to, wantFrom, wantTo int64 }{
		{20e9, 30e9, 20e9, 30e9},
		{20e9 + 1, 30e9 + 1, 20e9, 40e9},
		{29e9, 29e9 + 1, 20e9, 30e9},
		{-1, 1, -10e9, 10e9},
	} {
		got := Interval{c.from, c.to}.Windows()
		if want := (Interval{c.wantFrom, c.wantTo}); got != want {
			t.Errorf("windows of [%d, %d) are %v, want %v", c.from, c.to, got, want)
		}
	}
}

func TestNear(t *testing.T) {
	names := []string{"payment", "payments", "cart", "catalogue", "nginx.service", "é"}
	for name, want := range map[string][]string{
		"paymet":    {"payment", "payments"},
		"Payment":   {"payment", "payments"},
		"nginx":     {"nginx.service"},
		"card":      {"cart"},
		"frontend":  nil,
		"zzzzzzzzz": nil,
	} {
		if got := Near(name, names); !reflect.DeepEqual(got, want) {
			t.Errorf("near %q are %q, want %q", name, got, want)
		}
	}
}

// delta is a delta of a number of requests that each took as long.
func delta(status string, n int, took time.Duration) *proto.Point {
	p := &proto.Point{
		Metric: proto.MetricHTTPServer, Side: proto.SideServer,
		Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/", proto.AttrStatus: status},
		Peer:  &proto.Peer{Namespace: "host", Workload: "web"},
		Parts: proto.Parts{Wait: new(histogram.Histogram)},
	}
	for range n {
		p.Hist.Record(int64(took))
		p.Parts.Wait.Record(int64(took) / 2)
	}
	return p
}

func TestTablesMergeToTheSameRows(t *testing.T) {
	cart := &proto.Latency{Namespace: "host", Workload: "cart", WorkloadKind: "process"}
	for _, by := range []By{{}, {Operation: true}, {Status: true}, {Peer: true, Status: true, Operation: true}} {
		one, a, b := NewTable(by), NewTable(by), NewTable(by)
		for i := range 20 {
			p := delta([]string{"200", "500"}[i%2], 1+i, time.Duration(i)*time.Millisecond)
			one.Add(cart, p)
			[]*Table{a, b}[i/10].Add(cart, p)
		}
		b.Merge(a)
		if !reflect.DeepEqual(one.Rows(), b.Rows()) {
			t.Errorf("by %+v: rows differ when added in two parts", by)
		}
		want := 1
		if by.Status {
			want = 2
		}
		if got := len(one.Rows()); got != want {
			t.Errorf("by %+v: %d rows, want %d", by, got, want)
		}
	}
}

func TestThresholds(t *testing.T) {
	table := NewTable(By{})
	for range 99 {
		table.Add(&proto.Latency{Workload: "cart"}, delta("200", 1, 10*time.Millisecond))
	}
	slow := delta("500", 1, time.Second)
	slow.Errors = 1
	table.Add(&proto.Latency{Workload: "cart"}, slow)
	row := table.Rows()[0]
	result := &Result{since: 0, until: int64(10 * time.Second), Losses: []proto.Loss{{Count: 2}}}
	for text, want := range map[string]bool{
		"p50 > 9ms": true, "p50 > 11ms": false, "p99.9 >= 1s": true, "p99 < 20ms": true,
		"max >= 1s": true, "max == 1s": true, "max != 1s": false, "wait_p50 > 4ms": true, "wait_p50 > 6ms": false,
		"count >= 100": true, "count <= 99": false, "rate == 10": true,
		"errors > 0": true, "errors > 1%": false, "errors >= 1%": true, "lost == 2": true, "lost > 1.5%": true,
	} {
		threshold, err := ParseThreshold(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := threshold.Broken(row, result); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "p99", "p99 >", "> 5ms", "p99 > 5", "p100 > 5ms", "p0 > 5ms", "pp > 5ms", "count > 1s", "max > 5%", "p99 >> 5ms", "wait_max > 5ms"} {
		if _, err := ParseThreshold(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestFilterMistakesHaveAPlace(t *testing.T) {
	for filter, want := range map[string]string{
		"staus == 200":                       "undeclared reference to 'staus'",
		"source.namespace == 1":              "found no matching overload for '_==_'",
		`status == 200 && "x"`:               "expected type 'bool' but found 'string'",
		"status ==":                          "Syntax error",
		`method.matches("(")`:                "", // only known when it runs, or refused now: an error either way
		strings.Repeat("(", 500) + "status":  "",
		"[1].all(x, [1].all(y, x / y > 0)) ": "",
	} {
		f, err := NewFilter(filter)
		if err == nil && want == "" {
			_, _ = f.Wants(NewEvent("n", &proto.Event{}))
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", filter, err, want)
		}
	}
}

func TestFilterCostIsBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 60) + "1]"
	f, err := NewFilter(fmt.Sprintf("%[1]s.all(a, %[1]s.all(b, %[1]s.all(c, a + b + c > 0)))", list))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wants(NewEvent("n", &proto.Event{})); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("error %v, want the cost limit", err)
	}
}

// TestFilterKnowsEveryField fails if a field of the JSON has no variable.
func TestFilterKnowsEveryField(t *testing.T) {
	event := NewEvent("n", &proto.Event{})
	for field := range reflect.TypeFor[Event]().Fields() {
		name := field.Tag.Get("json")
		if _, err := NewFilter(name + " == " + name); err != nil {
			t.Errorf("%s is no variable: %v", name, err)
		}
		if _, ok := (&activation{event}).ResolveName(name); !ok {
			t.Errorf("%s has no value", name)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	f, err := NewFilter(`status >= 500 && destination.workload == "cart" && duration_ms > 10`)
	if err != nil {
		b.Fatal(err)
	}
	event := NewEvent("n", &proto.Event{Status: 503, StartNS: 0, EndNS: 2e7, To: proto.Endpoint{Workload: "cart"}})
	for b.Loop() {
		if ok, err := f.Wants(event); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func TestLabels(t *testing.T) {
	point := func(attrs map[string]string) Key {
		return NewKey(&proto.Latency{Namespace: "shop", Workload: "cart", WorkloadKind: "Deployment"},
			&proto.Point{Metric: proto.MetricHTTPServer, Side: proto.SideServer, Attrs: attrs, Peer: &proto.Peer{Namespace: "external"}})
	}
	for _, c := range []struct {
		attrs map[string]string
		want  string
	}{
		{map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/a b", proto.AttrStatus: "200"},
			"http_request_method=GET http_response_status_code=200 http_route=/a b"},
		{map[string]string{proto.AttrMethod: "GET", proto.AttrStatus: "500", proto.AttrErrorType: "500"},
			"error_type=500 http_request_method=GET http_response_status_code=500"},
		{map[string]string{proto.AttrErrorType: "timeout"}, "error_type=timeout"},
		{map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/caf\xe9\xff"}, "http_request_method=GET http_route=/caf\uFFFD"}, // any bytes
		{map[string]string{proto.AttrStatus: "200", proto.AttrErrorType: "reset"}, "error_type=reset http_response_status_code=200"},
	} {
		k := point(c.attrs)
		var got []string
		for _, l := range k.Labels() {
			got = append(got, l.Name+"="+l.Value)
		}
		want := c.want + " namespace=shop peer_namespace=external workload=cart workload_kind=Deployment"
		if s := strings.Join(got, " "); s != want || k.MetricName() != "http_server_request_duration_seconds" {
			t.Errorf("%v: %s %s, want %s", c.attrs, k.MetricName(), s, want)
		}
	}
}
