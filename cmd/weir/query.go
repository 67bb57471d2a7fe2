package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"
	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/proto"
)

// maxQueryBytes is what the selectors and sums of a query may hold: a copy of all
// deltas they need, of about 1 KiB, which a gateway has for all queries.
const maxQueryBytes = 768 << 20

type queryFlags struct {
	timeFlags
	step   string
	format string
}

func (a *app) queryCommand() *cobra.Command {
	f := &queryFlags{}
	cmd := &cobra.Command{
		Use:     "query 'PROMQL'",
		GroupID: groupRead,
		Short:   "Prometheus's query language over the streams",
		Long: `The value of a PromQL expression now, or at --to; with --since or --from its
course until then. The metrics are

  http_server_request_duration_seconds        latency, a native histogram
  http_client_request_duration_seconds        the same as seen by callers
  http_server_request_wait_duration_seconds   the wait before the server read it
  weir_lost_exchanges_total                   what is known to be missing

and, for rules and dashboards that know no native histograms, _bucket, _count and
_sum of each. Labels are namespace, workload, workload_kind, peer_workload,
http_request_method, http_route, http_response_status_code, error_type and
others; docs/promql.md has them all. What rules record is there under its names.

Counters have a sample at the end of each window: every 10 s in the last quarter
of an hour, every minute before, if the range needs them that fine. A window is
there once everything in it is counted.`,
		Example: `  weir query 'histogram_quantile(0.99, sum by (workload) (rate(http_server_request_duration_seconds[5m])))'
  weir query 'topk(3, sum by (http_route) (rate(http_server_request_duration_seconds_count[5m])))'
  weir query 'sum(rate(http_server_request_duration_seconds_count[1m]))' --since 1h -o graph
  weir query 'http_server_request_duration_seconds{workload="cart"}' -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.query(cmd.Context(), f, args[0]) },
	}
	f.add(cmd, 0)
	cmd.Flags().StringVar(&f.step, "step", "", "time between two values of a course (default a sixtieth of it, at least 10s)")
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "table, json, ndjson (an object a line), or graph")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{"table", "json", "ndjson", "graph"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// question is what the flags of a query say.
type question struct {
	course   bool // else at interval's end
	interval query.Interval
	step     time.Duration
}

func (f *queryFlags) question(now time.Time) (question, error) {
	q := question{course: f.since != "" || f.from != ""}
	if !slices.Contains([]string{"table", "json", "ndjson", "graph"}, f.format) {
		return q, usagef("-o %q is not table, json, ndjson or graph", f.format)
	}
	if !q.course && (f.format == "graph" || f.step != "") {
		return q, usagef("-o graph and --step are for a course: give --since or --from")
	}
	f.fallback = time.Hour // only its end is asked for
	var err error
	if q.interval, err = f.interval(now); err != nil || !q.course {
		return q, err
	}
	length := time.Duration(q.interval.ToNS - q.interval.FromNS)
	if f.step == "" {
		q.step = max(time.Duration(proto.WindowNS), (length / 60).Round(10*time.Second))
		return q, nil
	}
	if q.step, err = query.ParseDuration(f.step); err != nil || q.step < time.Second {
		return q, usagef("--step %q is not a duration of at least 1s, such as 30s or 5m", f.step)
	}
	return q, nil
}

func (a *app) query(ctx context.Context, f *queryFlags, expr string) error {
	q, err := f.question(now())
	if err != nil {
		return err
	}
	parsed, err := promql.Parse(expr)
	if err != nil {
		return mistake(err)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	engine := promql.NewBeside(promql.Streams{Conn: c, Now: now}, recorded.Streams{Conn: c}, 1).Holding(maxQueryBytes)
	var r *promql.Result
	if q.course {
		r, err = engine.Range(ctx, expr, q.interval.From(), q.interval.To(), q.step)
	} else {
		r, err = engine.Instant(ctx, expr, q.interval.To())
	}
	if err != nil {
		return mistake(err)
	}
	for _, w := range slices.Concat(r.Warnings, r.Infos) {
		fmt.Fprintf(a.stderr, "weir: %s\n", printable(w))
	}
	if v, ok := r.Value.(prom.Vector); ok && !ordered(parsed) {
		slices.SortFunc(v, func(a, b prom.Sample) int { return labels.Compare(a.Metric, b.Metric) })
	}
	return a.printValue(f.format, q, r)
}

// ordered reports whether an expression says in which order its series come.
func ordered(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return ordered(e.Expr)
	case *parser.Call:
		return strings.HasPrefix(e.Func.Name, "sort")
	case *parser.AggregateExpr:
		return e.Op == parser.TOPK || e.Op == parser.BOTTOMK
	}
	return false
}

// mistake points at what is wrong in an expression.
func mistake(err error) error {
	var wrong *promql.SyntaxError
	if errors.As(err, &wrong) {
		return usagef("line %d, column %d: %s\n%s", wrong.Line, wrong.Column, wrong.Reason, wrong.Pointed())
	}
	return err
}

func (a *app) printValue(format string, q question, r *promql.Result) error {
	if format == "json" || format == "ndjson" {
		elements, err := promql.Elements(r.Value, math.MaxInt)
		if err != nil {
			return err
		}
		return writeLines(a.stdout, format, elements)
	}
	var rows []valueRow
	switch v := r.Value.(type) {
	case prom.Scalar:
		_, err := fmt.Fprintln(a.stdout, short(v.V))
		return err
	case prom.String:
		_, err := fmt.Fprintln(a.stdout, printable(v.V))
		return err
	case prom.Vector:
		for _, s := range v {
			rows = append(rows, valueRow{labels: s.Metric, number: s.F, histogram: s.H})
		}
	case prom.Matrix:
		for _, s := range v {
			rows = append(rows, courseRow(s))
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stderr, "weir: no series match, or none has a value then: `weir query 'count by (__name__, workload) ({namespace=~\".+\"})'` lists what there is")
		return nil
	}
	if format == "graph" {
		return a.graph(q, r.Value.(prom.Matrix))
	}
	t := table{coloured: a.coloured()}
	names := labelNames(rows)
	columns := columnsOf(rows)
	t.head(append(slices.Clone(names), columns.head()...)...)
	for _, row := range rows {
		var cells []cell
		for _, n := range names {
			cells = append(cells, text(row.labels.Get(n)))
		}
		t.add(append(cells, columns.cells(row)...)...)
	}
	return t.write(a.stdout)
}

// valueRow is a line of a table: a series with its value or its course.
type valueRow struct {
	labels    labels.Labels
	number    float64
	histogram *histogram.FloatHistogram // of the last value, if it is one
	course    []float64                 // numbers, if there are several
}

// courseRow takes a histogram's course as that of its count.
func courseRow(s prom.Series) valueRow {
	row := valueRow{labels: s.Metric}
	for _, p := range s.Floats {
		row.course = append(row.course, p.F)
	}
	for _, p := range s.Histograms {
		row.course = append(row.course, p.H.Count)
		row.histogram = p.H
	}
	return row
}

// labelNames are those that any row has, in order.
func labelNames(rows []valueRow) []string {
	seen := map[string]bool{}
	for _, r := range rows {
		r.labels.Range(func(l labels.Label) { seen[l.Name] = true })
	}
	return slices.Sorted(maps.Keys(seen))
}

// valueColumns are those that a table's rows need besides the labels.
type valueColumns struct{ course, number, histogram bool }

func columnsOf(rows []valueRow) (c valueColumns) {
	for _, r := range rows {
		c.course = c.course || r.course != nil
		c.histogram = c.histogram || r.histogram != nil
		c.number = c.number || r.course == nil && r.histogram == nil
	}
	return c
}

func (c valueColumns) head() (head []string) {
	if c.course {
		head = append(head, ">FIRST", ">LEAST", ">MOST", ">LAST")
	}
	if c.number {
		head = append(head, ">VALUE")
	}
	if c.histogram {
		head = append(head, ">COUNT", ">P50", ">P99")
	}
	return head
}

func (c valueColumns) cells(r valueRow) (cells []cell) {
	if c.course {
		for _, f := range []float64{r.course[0], slices.Min(r.course), slices.Max(r.course), r.course[len(r.course)-1]} {
			cells = append(cells, number(short(f)))
		}
	}
	h := r.histogram
	if c.number && h == nil {
		cells = append(cells, number(short(r.number)))
	} else if c.number {
		cells = append(cells, number(""))
	}
	if c.histogram && h != nil {
		cells = append(cells, number(short(h.Count)), number(quantile(0.5, h)), number(quantile(0.99, h)))
	} else if c.histogram {
		cells = append(cells, number(""), number(""), number(""))
	}
	return cells
}

// quantile is that of a histogram of seconds.
func quantile(q float64, h *histogram.FloatHistogram) string {
	seconds, _ := prom.HistogramQuantile(q, h, "", posrange.PositionRange{})
	if math.IsNaN(seconds) {
		return "-"
	}
	return latency(seconds * 1e9)
}

// short is a number with five digits that count.
func short(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', 5, 64)
}
