package promql_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

var begin = time.Unix(1_800_000_000, 0)

// minutes is a source with windows of a minute: a number of requests of 10 ms in
// each, for each workload.
type minutes map[string][]int

func (m minutes) Select(_ context.Context, ask promql.Ask) (*promql.Answer, error) {
	a := &promql.Answer{Edges: []int64{begin.UnixNano()}}
	for _, workload := range slices.Sorted(maps.Keys(m)) {
		counts := m[workload]
		key := query.Key{Namespace: "shop", Workload: workload, Kind: "Deployment", Side: proto.SideServer, Protocol: "http", Operation: "GET /carts/{id}", Status: "200"}
		for len(a.Edges) <= len(counts) {
			a.Edges = append(a.Edges, a.Edges[len(a.Edges)-1]+int64(time.Minute))
		}
		if !ask.Wanted(&key) {
			continue
		}
		s := &promql.Series{Key: key}
		for i, n := range counts {
			if n > 0 {
				s.Windows = append(s.Windows, i)
			}
		}
		s.Read = func(n int, _, _ bool) *histogram.Histogram {
			h := new(histogram.Histogram)
			for range counts[s.Windows[n]] {
				h.Record(10e6)
			}
			return h
		}
		a.Series = append(a.Series, s)
	}
	return a, nil
}

func instant(t *testing.T, source promql.Source, expr string, at time.Time) *promql.Result {
	t.Helper()
	r, err := promql.New(source, 1).Instant(t.Context(), expr, at)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return r
}

// A series that begins is an increase from zero, and stays when it falls silent.
func TestCounters(t *testing.T) {
	source := minutes{"cart": {0, 0, 60, 120, 0, 0, 0, 0, 0, 0}, "old": {5, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	end := begin.Add(10 * time.Minute)
	for expr, want := range map[string]float64{
		`http_server_request_duration_seconds_count{workload="cart"}`:                     180,
		`http_server_request_duration_seconds_sum{workload="cart"}`:                       1.8,
		`http_server_request_duration_seconds_bucket{workload="cart",le="0.005"}`:         0,
		`http_server_request_duration_seconds_bucket{workload="cart",le="+Inf"}`:          180,
		`histogram_count(http_server_request_duration_seconds{workload="cart"})`:          180,
		`increase(http_server_request_duration_seconds_count{workload="cart"}[9m])`:       180,
		`increase(http_server_request_duration_seconds_count{workload="cart"}[3m])`:       0,
		`http_server_request_duration_seconds_count{workload="old"}`:                      5,
		`count_over_time(http_server_request_duration_seconds_count{workload="old"}[1h])`: 11,
		`count({http_route="/carts/{id}", http_request_method="GET", http_response_status_code="200", workload_kind="Deployment", namespace="shop", workload="old", __name__="http_server_request_duration_seconds"})`: 1,
	} {
		v := instant(t, source, expr, end).Value.(prom.Vector)
		if len(v) != 1 || v[0].F != want {
			t.Errorf("%s is %v, want %v", expr, v, want)
		}
	}
	if v := instant(t, source, `http_server_request_duration_seconds_count{workload="cart"}`, begin.Add(90*time.Second)).Value.(prom.Vector); len(v) != 0 {
		t.Errorf("before it begins: %v", v)
	}
}

// A question that no windows can answer says so.
func TestWarnings(t *testing.T) {
	r := instant(t, minutes{"cart": {1, 1, 1}}, "rate(http_server_request_duration_seconds_count[1m])", begin.Add(3*time.Minute))
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "there is a sample every 1m: use a range of at least [2m]") {
		t.Errorf("%q", r.Warnings)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		expr         string
		line, column int
		pointed      string
	}{
		{"sum(rate(x[5m])", 1, 16, "sum(rate(x[5m])\n               ^"},
		{"sum(\n\trate(x))", 2, 7, "\trate(x))\n\t     ^"},
		{`x{a="é",b=c}`, 1, 12, "x{a=\"é\",b=c}\n          ^"},
		{"", 1, 1, "\n^"},
	} {
		_, err := promql.Parse(tt.expr)
		var wrong *promql.SyntaxError
		if !errors.As(err, &wrong) || wrong.Line != tt.line || wrong.Column != tt.column || wrong.Pointed() != tt.pointed {
			t.Errorf("%q: %v %+v\n%s", tt.expr, err, wrong, wrong.Pointed())
		}
	}
}

func TestLimits(t *testing.T) {
	wide := minutes{}
	for i := range 3000 {
		wide[fmt.Sprint("w", i)] = []int{1, 1}
	}
	engine := promql.New(wide, 1)
	end := begin.Add(2 * time.Minute)
	over := func(what string, err error, want string) {
		t.Helper()
		var limit *promql.LimitError
		if !errors.As(err, &limit) || !strings.Contains(limit.Reason, want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	_, err := engine.Instant(t.Context(), `{namespace="shop"}`, end)
	over("series", err, "the limit: name a metric")
	_, err = engine.Range(t.Context(), "up", begin, end, time.Millisecond)
	over("points", err, "the limit: choose a longer step")
	_, err = engine.Range(t.Context(), "http_server_request_duration_seconds", begin, end, 20*time.Millisecond)
	over("samples", err, "the limit: choose fewer series")
	_, err = engine.Range(t.Context(), "sum by (workload) (rate(http_server_request_duration_seconds[2m]))", begin, end, 20*time.Millisecond)
	over("samples of sums", err, "the limit: choose fewer series")
}

// gate is a source that lets a question through when it is told to.
type gate struct {
	promql.Source
	open    chan struct{}
	at, top atomic.Int64 // questions at it, and how many at most at once
}

func (g *gate) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	n := g.at.Add(1)
	defer g.at.Add(-1)
	for top := g.top.Load(); n > top && !g.top.CompareAndSwap(top, n); top = g.top.Load() {
	}
	select {
	case <-g.open:
		return g.Source.Select(ctx, ask)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Of many queries two are worked on at once. The others wait, but not for longer
// than they have, and not more than so many.
func TestTurns(t *testing.T) {
	source := &gate{Source: minutes{"cart": {1, 1}}, open: make(chan struct{})}
	engine := promql.New(source, 2)
	ask := func(ctx context.Context) error {
		_, err := engine.Instant(ctx, "http_server_request_duration_seconds_count", begin.Add(2*time.Minute))
		return err
	}
	limited := func(err error, want string) {
		t.Helper()
		var limit *promql.LimitError
		if !errors.As(err, &limit) || !strings.Contains(limit.Reason, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	const many = 203 // two at work, all that may wait, and one more
	answers := make(chan error, many)
	for range many {
		go func() { answers <- ask(t.Context()) }()
	}
	limited(<-answers, "more than 200 queries wait for their turn, the limit")
	close(source.open)
	for range many - 1 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if top := source.top.Load(); top != 2 {
		t.Errorf("%d at once", top)
	}
	source.open = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for range 3 {
		go func() { answers <- ask(ctx) }()
	}
	reasons := ""
	for range 3 {
		reasons += fmt.Sprintln(<-answers)
	}
	if !strings.Contains(reasons, "takes longer than") || !strings.Contains(reasons, "before its turn came") {
		t.Error(reasons)
	}
}

// Sums that the querier works out are the engine's where the engine works them out.
func TestSums(t *testing.T) {
	source := minutes{"cart": {1, 2, 0, 4, 0, 0, 100}, "payment": {0, 0, 0, 0, 3, 1, 0}}
	end := begin.Add(7 * time.Minute)
	for _, expr := range []string{
		"histogram_count(sum by (workload) (rate(http_server_request_duration_seconds[3m])))",
		"histogram_quantile(0.9, sum by (namespace) (increase(http_server_request_duration_seconds[2m])))",
	} {
		got := instant(t, source, expr, end).Value.String()
		// a subquery's sums stay with the engine
		if want := instant(t, source, "last_over_time(("+expr+")[1m:1m])", end).Value.String(); got != want || got == "" {
			t.Errorf("%s is %s, want %s", expr, got, want)
		}
	}
	for _, back := range []time.Duration{30 * time.Second, time.Minute, time.Hour} { // a client's lookback_delta
		engine, sum := promql.New(source, 1).Looking(back), "sum by (workload) (%s rate(http_server_request_duration_seconds[3m] offset 1m))"
		got, err := engine.Range(t.Context(), "histogram_count("+fmt.Sprintf(sum, "")+")", begin, end, 90*time.Second)
		want, wrong := engine.Range(t.Context(), "histogram_count("+fmt.Sprintf(sum, "1 *")+")", begin, end, 90*time.Second)
		if err != nil || wrong != nil || got.Value.String() != want.Value.String() || got.Value.String() == "" {
			t.Errorf("looking back %s: %v, want %v; %v, %v", back, got, want, err, wrong)
		}
	}
	for expr, warnings := range map[string]int{ // a range with one sample, and one with none
		"sum(rate(http_server_request_duration_seconds[1m]))":            1,
		"sum(rate(http_server_request_duration_seconds[5m] offset -1h))": 0,
	} {
		if r := instant(t, source, expr, end); len(r.Value.(prom.Vector)) != 0 || len(r.Warnings) != warnings {
			t.Errorf("%s is %v, %q", expr, r.Value, r.Warnings)
		}
	}
	_, err := promql.New(source, 1).Instant(t.Context(), `{__weir_sum__="up"}`, end)
	if err == nil || !strings.Contains(err.Error(), "only a sum of rates") {
		t.Error(err)
	}
	_, err = promql.New(source, 1).Instant(t.Context(), `count_over_time({__weir_sum__="sum(rate(http_server_request_duration_seconds[5m]))"}[24h:1ms])`, end)
	if err == nil || !strings.Contains(err.Error(), "11000 points, the limit") {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	names := promql.New(minutes{"cart": {1}, "web": {1}}, 1).Names(query.Between(begin, begin.Add(time.Minute)))
	selectors, err := promql.ParseSelectors([]string{`{workload="cart"}`})
	if err != nil {
		t.Fatal(err)
	}
	values, _, err := names.LabelValues(t.Context(), "__name__", selectors[0])
	if err != nil || strings.Join(values, " ") != "http_server_request_duration_seconds http_server_request_duration_seconds_bucket "+
		"http_server_request_duration_seconds_count http_server_request_duration_seconds_sum http_server_request_wait_duration_seconds "+
		"http_server_request_wait_duration_seconds_bucket http_server_request_wait_duration_seconds_count http_server_request_wait_duration_seconds_sum" {
		t.Errorf("%v %v", values, err)
	}
	series, _, err := names.Series(t.Context(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "le", "0.1")})
	if err != nil || len(series) != 4 {
		t.Errorf("%v %v", series, err)
	}
}
