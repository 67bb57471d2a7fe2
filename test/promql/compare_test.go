package promql

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	window  = 10 * time.Second
	windows = 360 // an hour
)

var begin = time.Unix(1_800_000_000, 0)

// random is deltas by window of some series: as a source, and as the samples
// that Prometheus would have of an exporter of them.
type random struct {
	keys []query.Key
	rows [][]*query.Row // by series and window, nil where nothing happened
}

// newRandom makes series that begin and fall silent when they like. The latencies
// of each have a range of their own, one over more powers of two than a histogram
// is fine for; a few are zero, a few of one come in coarser histograms.
func newRandom(seed uint64) *random {
	r := rand.New(rand.NewPCG(seed, 1))
	out := &random{}
	for n := range 12 {
		side := proto.SideServer
		if n%3 == 0 {
			side = proto.SideClient
		}
		out.keys = append(out.keys, query.Key{
			Namespace: "shop", Workload: fmt.Sprint("w", n%4), Kind: "Deployment", Side: side, Protocol: "http",
			Operation: fmt.Sprint("GET /", n), Status: []string{"200", "500"}[n%2],
		})
		rows := make([]*query.Row, windows)
		from, to := r.IntN(windows/2), windows/2+r.IntN(windows/2)
		median, busy := math.Exp(r.Float64()*8-8), 1+r.IntN(80)
		for w := from; w < to; w++ {
			count := r.IntN(busy + 1)
			if count == 0 {
				continue
			}
			row := new(query.Row)
			for range count {
				d := int64(median * math.Exp(r.NormFloat64()) * 1e9)
				if r.IntN(50) == 0 {
					d = 0
				}
				row.Hist.Record(d)
				row.Wait.Record(d / 3)
			}
			if n == 2 && r.IntN(100) == 0 {
				row.Hist.Downscale(4)
			}
			if n == 7 { // over 20 powers of two, one window after the other
				row.Hist.Record([]int64{1e3, 50e9}[w%2])
			}
			rows[w] = row
		}
		out.rows = append(out.rows, rows)
	}
	return out
}

func edge(i int) time.Time { return begin.Add(time.Duration(i) * window) }

// Select gives all windows of ten seconds, whatever they are wanted for.
func (r *random) Select(_ context.Context, ask promql.Ask) (*promql.Answer, error) {
	a := &promql.Answer{}
	for i := range windows + 1 {
		a.Edges = append(a.Edges, edge(i).UnixNano())
	}
	for i, key := range r.keys {
		if !ask.Wanted(&key) {
			continue
		}
		s := &promql.Series{Key: key}
		for w, row := range r.rows[i] {
			if row != nil {
				s.Windows = append(s.Windows, w)
			}
		}
		s.Read = func(n int, wait, _ bool) *histogram.Histogram {
			if row := r.rows[i][s.Windows[n]]; !wait {
				return &row.Hist
			} else {
				return &row.Wait
			}
		}
		a.Series = append(a.Series, s)
	}
	return a, nil
}

// prometheus is a TSDB with the samples of all metrics, taken at each edge from
// the one where a series' first window begins, and at parts of windows.
func (r *random) prometheus(t *testing.T, parts int) storage.Queryable {
	o := tsdb.DefaultOptions()
	o.MinBlockDuration, o.MaxBlockDuration = (24 * time.Hour).Milliseconds(), (24 * time.Hour).Milliseconds()
	o.RetentionDuration = 0
	db, err := tsdb.Open(t.TempDir(), nil, nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	app := db.Appender(t.Context())
	for i, key := range r.keys {
		r.append(t, app, key, "_request_", r.rows[i], parts, func(r *query.Row) *histogram.Histogram { return &r.Hist })
		if key.Side == proto.SideServer {
			r.append(t, app, key, "_request_wait_", r.rows[i], parts, func(r *query.Row) *histogram.Histogram { return &r.Wait })
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return db
}

func (r *random) append(t *testing.T, app storage.Appender, key query.Key, which string, rows []*query.Row, parts int, of func(*query.Row) *histogram.Histogram) {
	name := "http_" + key.Side.String() + which + "duration_seconds"
	series := func(name string, more ...string) labels.Labels {
		l := append([]string{"__name__", name}, more...)
		for _, own := range key.Labels() {
			l = append(l, own.Name, own.Value)
		}
		return labels.FromStrings(l...)
	}
	number := func(at time.Time, f float64, name string, more ...string) {
		if _, err := app.Append(0, series(name, more...), at.UnixMilli(), f); err != nil {
			t.Fatal(err)
		}
	}
	bounds := append(histogram.ClassicBounds(), math.Inf(1))
	below := make([]float64, len(bounds))
	sum := histogram.Histogram{Scale: histogram.RecordScale}
	begun := false
	for i := range windows + 1 {
		if i > 0 && rows[i-1] != nil {
			delta := of(rows[i-1])
			sum.Merge(delta)
			for b, bound := range bounds {
				below[b] += delta.Below(bound)
			}
		}
		begun = begun || i < windows && rows[i] != nil
		if !begun {
			continue
		}
		next := new(histogram.Histogram)
		if i < windows && rows[i] != nil {
			next = of(rows[i])
		}
		for j := range parts {
			if i == windows && j > 0 {
				break
			}
			part, at, h := float64(j)/float64(parts), edge(i).Add(time.Duration(j)*window/time.Duration(parts)), float(t, &sum)
			if part > 0 && next.Count > 0 {
				if _, _, _, err := h.Add(float(t, next).Mul(part)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := app.AppendHistogram(0, series(name), at.UnixMilli(), nil, h); err != nil {
				t.Fatal(err)
			}
			number(at, h.Count, name+"_count")
			number(at, h.Sum, name+"_sum")
			for b, bound := range bounds {
				number(at, below[b]+part*next.Below(bound), name+"_bucket", labels.BucketLabel, labels.FormatOpenMetricsFloat(bound))
			}
		}
	}
}

// float is a histogram as Prometheus has it, with float counts.
func float(t *testing.T, h *histogram.Histogram) *promhist.FloatHistogram {
	n := h.Native()
	out := &promhist.Histogram{Schema: n.Schema, Count: n.Count, ZeroCount: n.ZeroCount, Sum: n.Sum, PositiveBuckets: n.Deltas}
	for _, s := range n.Spans {
		out.PositiveSpans = append(out.PositiveSpans, promhist.Span(s))
	}
	if err := out.Validate(); err != nil {
		t.Fatal(err)
	}
	return out.ToFloat(nil)
}

// inHalves and inQuarters have ranges for which windows are cut into so many parts.
var (
	inHalves = []string{
		`increase(http_server_request_duration_seconds_count[15s])`,
		`sum by (workload) (rate(http_server_request_duration_seconds[19s]))`,
		`histogram_quantile(0.9137, sum by (le) (rate(http_client_request_duration_seconds_bucket[10s])))`,
		`max_over_time(sum by (workload) (rate(http_server_request_duration_seconds_count[10s]))[20m:30s])`,
	}
	inQuarters = []string{
		`rate(http_server_request_duration_seconds_sum[7s]) / rate(http_server_request_duration_seconds_count[7s])`,
		`irate(http_client_request_duration_seconds_count[5s])`,
		`rate(http_client_request_duration_seconds[9s])`,
		`sum by (le) (increase(http_server_request_duration_seconds_bucket{le=~"0.1|1.0|\\+Inf"}[5s]))`,
		`histogram_count(sum by (workload) (increase({__name__=~"http_.*_request_duration_seconds"}[7s])))`,
		`sum by (workload) (rate(http_server_request_duration_seconds[5s] offset 10m))`,
		`sum without (http_route, __name__) (increase(http_client_request_duration_seconds{workload!="w1"}[7s]))`,
		`sum(rate(http_server_request_wait_duration_seconds[9s]))`,
		`histogram_quantile(0.9137, sum by (http_route) (rate(http_client_request_duration_seconds[8s])))`,
	}
)

// The quantiles are such that no rank is where a bucket ends: there rounding says
// which bucket it is, and the order in which numbers are added up says how they are
// rounded.
var expressions = []string{
	`http_server_request_duration_seconds`,
	`http_client_request_duration_seconds_count`,
	`sum by (workload) (rate(http_server_request_duration_seconds[5m]))`,
	`increase(http_server_request_duration_seconds_count[7m])`,
	`rate(http_server_request_duration_seconds_sum[3m]) / rate(http_server_request_duration_seconds_count[3m])`,
	`histogram_quantile(0.9937, sum by (workload) (rate(http_server_request_duration_seconds[5m])))`,
	`histogram_quantile(0.5137, rate(http_server_request_wait_duration_seconds[10m]))`,
	`histogram_quantile(0.9137, sum by (le, workload) (rate(http_client_request_duration_seconds_bucket[5m])))`,
	`histogram_fraction(0, 0.1, sum by (workload) (increase(http_server_request_duration_seconds[30m])))`,
	`histogram_avg(rate(http_server_request_duration_seconds[5m]))`,
	`histogram_count(increase({__name__=~"http_.*_request_duration_seconds"}[5m]))`,
	`sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[5m])) / sum(rate(http_server_request_duration_seconds_count[5m]))`,
	`topk(2, sum by (http_route) (rate(http_client_request_duration_seconds_count[5m])))`,
	`sum by (workload) (rate(http_server_request_duration_seconds_count[5m] offset 10m))`,
	`sum by (workload) (rate(http_server_request_duration_seconds[5m] offset 10m))`,
	`sum without (http_route, __name__) (increase(http_client_request_duration_seconds{workload!="w1"}[20s]))`,
	`sum(rate((http_server_request_wait_duration_seconds[25s])))`,
	`sum by (__name__) (rate(http_server_request_duration_seconds[30m]))`,
	`sum(rate(http_server_request_duration_seconds[2m])) * 2 + sum(rate(http_server_request_wait_duration_seconds[1m]))`,
	`histogram_count(sum by (workload) (increase(http_server_request_duration_seconds[11m])))`,
	`histogram_quantile(0.9137, sum(rate(http_server_request_duration_seconds[1m]))) > histogram_avg(sum(rate(http_server_request_duration_seconds[1m] offset 20s)))`,
	`topk(1, histogram_quantile(0.5137, sum by (workload) (rate(http_client_request_duration_seconds[90s]))) >= 0)`,
	`timestamp(sum(rate(http_server_request_duration_seconds[5m] offset 1m)))`,
	`timestamp(histogram_quantile(0.5137, sum(rate(http_server_request_duration_seconds[5m] offset 1m))))`,
	`clamp_max((histogram_quantile(0.9137, (sum by (workload) (rate(http_server_request_duration_seconds[5m]))))), 1)`,
	`histogram_quantile(1.5, sum(increase(http_server_request_duration_seconds[5m])))`,
	`histogram_quantile(0, sum(rate(http_server_request_duration_seconds[5m]))) or histogram_quantile(1, sum(rate(http_client_request_duration_seconds[5m])))`,
	`histogram_quantile(scalar(vector(0.5137)), sum by (workload) (rate(http_server_request_duration_seconds[5m])))`,
	`max(histogram_quantile(0.5137, sum by (http_route) (rate(http_server_request_duration_seconds[2m]))))`,
	`absent((sum(rate(http_server_request_duration_seconds{workload="none"}[5m]))))`,
	`sum(rate(http_server_request_duration_seconds[5m] @ end()))`,
	`count(sum by (http_route) (rate(http_server_request_duration_seconds[1m])))`,
	`sum(sum by (http_route) (rate(http_server_request_duration_seconds[1m])))`,
	`absent(histogram_quantile(0.5137, sum(rate(http_server_request_duration_seconds{workload="none"}[5m]))))`,
	`sum(irate(http_server_request_duration_seconds_count[1m]))`,
	`max_over_time(sum by (workload) (rate(http_server_request_duration_seconds_count[1m]))[20m:30s])`,
	`histogram_quantile(0.9137, sum(rate(http_server_request_duration_seconds[1m])))`,
	`quantile_over_time(0.9, histogram_quantile(0.9137, sum(rate(http_server_request_duration_seconds[2m])))[10m:1m])`,
	`sum by (le) (increase(http_server_request_duration_seconds_bucket{le=~"0.1|1.0|\\+Inf"}[5m]))`,
	`resets(http_server_request_duration_seconds[1h])`,
	`count by (__name__) ({workload="w1"})`,
	`absent(http_server_request_duration_seconds{workload="none"})`,
}

// What the engine answers over Weir's deltas is what it answers over
// Prometheus's own storage of the counters that they add up to. Over ranges that
// are too short for windows of ten seconds it is what the engine answers over
// counters that rise evenly within these.
func TestAgreesWithPrometheus(t *testing.T) {
	for seed := range uint64(4) {
		data := newRandom(seed)
		for parts, expressions := range map[int][]string{1: expressions, 2: inHalves, 4: inQuarters} {
			t.Run(fmt.Sprintf("seed=%d/parts=%d", seed, parts), func(t *testing.T) {
				theirs, ours := data.prometheus(t, parts), promql.New(data, 1)
				for n, expr := range expressions {
					step := []time.Duration{97 * time.Second, 17 * time.Second, 5 * time.Minute}[(n+int(seed))%3]
					agree(t, theirs, ours, expr, step)
				}
			})
		}
	}
}

func agree(t *testing.T, db storage.Queryable, ours *promql.Engine, expr string, step time.Duration) {
	t.Helper()
	theirs := prom.NewEngine(prom.EngineOpts{
		MaxSamples: 1e8, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		Parser: parser.NewParser(parser.Options{}),
	})
	from, to := edge(3).Add(-7*time.Second), edge(windows).Add(time.Minute)
	q, err := theirs.NewRangeQuery(t.Context(), db, nil, expr, from, to, step)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	want, err := q.Exec(t.Context()).Matrix()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	got, err := ours.Range(t.Context(), expr, from, to, step)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	compare(t, expr, got.Value.(prom.Matrix), want)
}

func compare(t *testing.T, expr string, got, want prom.Matrix) {
	t.Helper()
	if len(want) == 0 || len(got) != len(want) {
		t.Fatalf("%s: %d series, want %d", expr, len(got), len(want))
	}
	order := func(a, b prom.Series) int { return labels.Compare(a.Metric, b.Metric) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	for i, w := range want {
		g := got[i]
		if !labels.Equal(g.Metric, w.Metric) || len(g.Floats) != len(w.Floats) || len(g.Histograms) != len(w.Histograms) {
			t.Fatalf("%s: %s with %d and %d points, want %s with %d and %d",
				expr, g.Metric, len(g.Floats), len(g.Histograms), w.Metric, len(w.Floats), len(w.Histograms))
		}
		for n, p := range w.Floats {
			if q := g.Floats[n]; q.T != p.T || !near(q.F, p.F) {
				t.Fatalf("%s: %s is %v, want %v", expr, w.Metric, q, p)
			}
		}
		for n, p := range w.Histograms {
			if q := g.Histograms[n]; q.T != p.T || !same(q.H, p.H) {
				t.Fatalf("%s: %s is %v, want %v", expr, w.Metric, q, p)
			}
		}
	}
}

// near allows for the order that numbers are added up in.
func near(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))
}

func same(a, b *promhist.FloatHistogram) bool {
	if a.Schema != b.Schema || !near(a.Count, b.Count) || !near(a.Sum, b.Sum) || !near(a.ZeroCount, b.ZeroCount) {
		return false
	}
	x, y := a.Copy().Compact(0), b.Copy().Compact(0)
	return slices.Equal(x.PositiveSpans, y.PositiveSpans) && slices.EqualFunc(x.PositiveBuckets, y.PositiveBuckets, near)
}
