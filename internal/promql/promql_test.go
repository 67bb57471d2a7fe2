package promql_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// Where windows are too wide for a range the answer says what was done about it.
func TestWarnings(t *testing.T) {
	const until = "until 2027-01-15T08:03:00Z windows are up to 1m wide, too wide for "
	for expr, want := range map[string][2]string{ // warning and info
		"rate(http_server_request_duration_seconds_count[1m])":            {"", until + "[1m]: requests are taken to be spread evenly over each; a range of at least [2m] needs no such guess"},
		"sum(increase(http_server_request_duration_seconds[4s]))":         {"", until + "[4s]: requests"},
		"rate(http_server_request_duration_seconds_count[3s])":            {until + "[3s]: use a range of at least [2m] there", ""},
		"deriv(http_server_request_duration_seconds_count[1m])":           {until + "[1m]: use a range", ""},
		"max_over_time(http_server_request_duration_seconds_count[119s])": {until + "[1m59s]: use a range", ""},
		"rate(http_server_request_duration_seconds_count[2m])":            {},
		"http_server_request_duration_seconds_count":                      {},
	} {
		r := instant(t, minutes{"cart": {1, 1, 1}}, expr, begin.Add(3*time.Minute))
		for i, got := range [][]string{r.Warnings, r.Infos} {
			if (len(got) > 0) != (want[i] != "") || len(got) > 0 && !strings.Contains(got[0], want[i]) {
				t.Errorf("%s: %q, want %q", expr, got, want[i])
			}
		}
	}
}

// lossy is minutes of which as much is lost as there is of cart.
type lossy struct{ minutes }

func (l lossy) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	a, err := l.minutes.Select(ctx, ask)
	if ask.Losses {
		lost := &promql.Losses{Node: "n1", Reason: "ring_full", Unit: "exchanges"}
		for _, n := range l.minutes["cart"] {
			lost.Counts = append(lost.Counts, uint64(n))
		}
		a.Losses = append(a.Losses, lost)
	}
	return a, err
}

// Counters rise evenly in windows that are too wide for a range: within one a rate
// is that of the window, and over whole windows an increase is theirs.
func TestShortRanges(t *testing.T) {
	counts := []int{60, 120, 0, 6, 600}
	engine := promql.New(lossy{minutes{"cart": counts}}, 1)
	for _, over := range []time.Duration{4 * time.Second, 7 * time.Second, 20 * time.Second, time.Minute} {
		for expr, each := range map[string]float64{
			"rate(http_server_request_duration_seconds_count[%s])":                        1,
			"irate(http_server_request_duration_seconds_count[%s])":                       1,
			"rate(http_server_request_duration_seconds_sum[%s])":                          0.01,
			`rate(http_server_request_duration_seconds_bucket{le="0.025"}[%s])`:           1,
			"rate(weir_lost_exchanges_total[%s])":                                         1,
			"histogram_count(rate(http_server_request_duration_seconds[%s]))":             1,
			"histogram_sum(sum(rate(http_server_request_duration_seconds[%s])))":          0.01,
			"histogram_count(sum(increase(http_server_request_duration_seconds[%[1]s])))": over.Seconds(),
		} {
			expr := fmt.Sprintf(expr, over)
			r, err := engine.Range(t.Context(), expr, begin.Add(over), begin.Add(5*time.Minute), time.Second)
			if err != nil || len(r.Value.(prom.Matrix)) != 1 {
				t.Fatal(expr, r, err)
			}
			points := r.Value.(prom.Matrix)[0].Floats
			if want := int(5*time.Minute-over)/int(time.Second) + 1; len(points) != want {
				t.Errorf("%s has %d points, want %d", expr, len(points), want)
			}
			for _, p := range points {
				at := time.UnixMilli(p.T).Sub(begin)
				window := int((at - 1) / time.Minute)
				if window != int((at-over)/time.Minute) {
					continue
				}
				if want := each * float64(counts[window]) / 60; math.Abs(p.F-want) > 1e-9*want {
					t.Errorf("%s is %v after %s, want %v", expr, p.F, at, want)
				}
			}
		}
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

	const sum = "sum(rate(http_server_request_duration_seconds[2m]))"
	engine = promql.New(minutes{"cart": {1, 1}}, 1).Holding(1 << 20)
	for n, want := range map[int]string{1: "", 20: "of memory together, the limit: " + sum} { // of 300 steps
		_, err = engine.Range(t.Context(), strings.Repeat(sum+" + ", n-1)+sum, begin, begin.Add(5*time.Minute), time.Second)
		if want != "" {
			over("plans of sums", err, want)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// polls are minutes whose requests are thousands of long polls each.
type polls struct{ minutes }

func (p polls) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	a, err := p.minutes.Select(ctx, ask)
	for _, s := range a.Series {
		read := s.Read
		s.Read = func(n int, wait, buckets bool) *histogram.Histogram {
			h := read(n, wait, buckets)
			for range 13 { // 82 s each, and some nanoseconds
				h.Merge(h.Clone())
			}
			h.SumNS = h.SumNS<<13 + int64(n*n)
			return h
		}
	}
	return a, err
}

// Nothing stays of a sum of latencies once they have left its range, however large
// it was.
func TestSumsOfLongPolls(t *testing.T) {
	counts := make([]int, 240)
	for i := range 140 {
		counts[i] = 1 + i%3
	}
	engine := promql.New(polls{minutes{"cart": counts}}, 1)
	for expr, want := range map[string]float64{"histogram_sum": 0, "histogram_avg": math.NaN()} {
		r, err := engine.Range(t.Context(), expr+"(sum(rate(http_server_request_duration_seconds[1h])))", begin, begin.Add(4*time.Hour), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		points := r.Value.(prom.Matrix)[0].Floats
		for _, p := range points[len(points)-30:] {
			if p.F != want && !(math.IsNaN(p.F) && math.IsNaN(want)) {
				t.Errorf("%s is %v, want %v", expr, p.F, want)
			}
		}
	}
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
		"histogram_count(sum by (workload) (rate(http_server_request_duration_seconds[1m])))",
		"histogram_quantile(0.9, sum(rate(http_server_request_duration_seconds[20s])))",
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
	for expr, warnings := range map[string]int{ // a range too short to be cut for, and one with no sample
		"sum(rate(http_server_request_duration_seconds[1s]))":            1,
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
	values, _, err := names.LabelValues(t.Context(), "__name__", selectors)
	if err != nil || strings.Join(values, " ") != "http_server_request_duration_seconds http_server_request_duration_seconds_bucket "+
		"http_server_request_duration_seconds_count http_server_request_duration_seconds_sum http_server_request_wait_duration_seconds "+
		"http_server_request_wait_duration_seconds_bucket http_server_request_wait_duration_seconds_count http_server_request_wait_duration_seconds_sum" {
		t.Errorf("%v %v", values, err)
	}
	le, err := promql.ParseSelectors([]string{`{le="0.1"}`})
	if err != nil {
		t.Fatal(err)
	}
	series, _, err := names.Series(t.Context(), le)
	if err != nil || len(series) != 4 {
		t.Errorf("%v %v", series, err)
	}
}

// Many selectors have the memory and the time of one query; what several find is
// kept once.
func TestManySelectors(t *testing.T) {
	wide := minutes{}
	for i := range 1000 {
		wide[fmt.Sprint("w", i)] = []int{1}
	}
	names := promql.New(wide, 1).Holding(1 << 20).Names(query.Between(begin, begin.Add(time.Minute)))
	metrics := []string{"http_server_request_duration_seconds", "http_server_request_duration_seconds_count", "http_server_request_duration_seconds_sum", "http_server_request_wait_duration_seconds"}
	many, err := promql.ParseSelectors(metrics)
	if err != nil {
		t.Fatal(err)
	}
	if series, _, err := names.Series(t.Context(), slices.Repeat(many[:1], 50)); err != nil || len(series) != 1000 {
		t.Errorf("one selector many times: %d series, %v", len(series), err)
	}
	var limit *promql.LimitError
	if _, _, err := names.Series(t.Context(), many); !errors.As(err, &limit) || !strings.Contains(limit.Reason, "more than 1 MiB of memory together, the limit") {
		t.Errorf("many selectors: %v", err)
	}
	if values, _, err := names.LabelValues(t.Context(), "__name__", many); err != nil || len(values) != 4 {
		t.Errorf("values of many selectors: %v, %v", values, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, _, err := names.LabelNames(ctx, many); !errors.As(err, &limit) || !limit.Timeout {
		t.Errorf("without time: %v", err)
	}
}
