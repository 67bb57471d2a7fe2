package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// prometheus asks through the client that Grafana's and others' programs use.
func (r *rig) prometheus() {
	client, err := api.NewClient(api.Config{Address: r.url})
	if err != nil {
		r.Fatal(err)
	}
	c := v1.NewAPI(client)
	r.Run("counts", func(t *testing.T) { r.as(t).promCounts(c) })
	r.Run("histograms", func(t *testing.T) { r.as(t).promHistograms(c) })
	r.Run("range", func(t *testing.T) { r.as(t).promRange(c) })
	r.Run("names", func(t *testing.T) { r.as(t).promNames(c) })
	r.Run("recorded", func(t *testing.T) { r.as(t).promRecorded(c) })
	r.Run("exemplars", func(t *testing.T) { r.as(t).promExemplars(c) })
	r.Run("mistakes", func(t *testing.T) { r.as(t).promMistakes(c) })
}

func (r *rig) vector(c v1.API, expr string, at time.Time) model.Vector {
	r.Helper()
	v, warnings, _, err := c.Query(r.Context(), expr, at)
	if err != nil || len(warnings) > 0 {
		r.Fatalf("%s: %v %v", expr, err, warnings)
	}
	return v.(model.Vector)
}

// A counter's rise is the requests that `weir latency` counts, in all its forms.
func (r *rig) promCounts(c v1.API) {
	_, i := past()
	result, err := query.Latency(r.Context(), r.bus, query.Options{Interval: i, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	for form, of := range map[string]string{
		"http_%s_request_duration_seconds":                   "histogram_count(%s)",
		"http_%s_request_duration_seconds_count":             "%s",
		`http_%s_request_duration_seconds_bucket{le="+Inf"}`: "%s",
	} {
		for _, side := range []string{"server", "client"} {
			rise := func(ns int64) string {
				return "sum by (workload) (" + fmt.Sprintf(of, fmt.Sprintf(form+" @ %d", side, ns/1e9)) + ")"
			}
			got := map[string]float64{}
			for _, s := range r.vector(c, rise(i.ToNS)+" - "+rise(i.FromNS), time.Now()) {
				got[string(s.Metric["workload"])] = float64(s.Value)
			}
			for _, row := range result.Rows {
				if n := got[row.Workload]; row.Side.String() == side && n != float64(row.Hist.Count) {
					r.Errorf("%s %s: %s rises by %v, want %d", form, side, row.Workload, n, row.Hist.Count)
				}
			}
		}
	}
}

// Quantiles are those of `weir latency`, but for a bucket, 2.2 %, and the ranks
// beside it: Prometheus interpolates, Weir takes the middle of the bucket.
func (r *rig) promHistograms(c v1.API) {
	_, i := past()
	result, err := query.Latency(r.Context(), r.bus, query.Options{Interval: i, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	for metric, of := range map[string]func(*query.Row) *histogram.Histogram{
		"http_server_request_duration_seconds":      func(row *query.Row) *histogram.Histogram { return &row.Hist },
		"http_server_request_wait_duration_seconds": func(row *query.Row) *histogram.Histogram { return &row.Wait },
	} {
		expr := fmt.Sprintf("histogram_quantile(0.9, sum by (workload) (%[1]s @ %[2]d) - sum by (workload) (%[1]s @ %[3]d))", metric, i.ToNS/1e9, i.FromNS/1e9)
		got := map[string]float64{}
		for _, s := range r.vector(c, expr, time.Now()) {
			got[string(s.Metric["workload"])] = float64(s.Value)
		}
		for _, row := range result.Rows {
			least, most := of(row).Quantile(0.89)/1e9/1.022, of(row).Quantile(0.91)/1e9*1.022
			if p90 := got[row.Workload]; row.Side == proto.SideServer && (p90 < least || p90 > most) {
				r.Errorf("%s of %s is %v, want %v to %v", expr, row.Workload, p90, least, most)
			}
		}
	}
	histograms := r.vector(c, "http_server_request_duration_seconds", time.Now())
	if len(histograms) == 0 || histograms[0].Histogram == nil || histograms[0].Histogram.Count == 0 || len(histograms[0].Histogram.Buckets) == 0 {
		r.Errorf("native histograms are %v", histograms)
	}
	if lost := r.vector(c, "sum(weir_lost_exchanges_total)", time.Now()); len(lost) != 1 || lost[0].Value < 1 {
		r.Errorf("lost are %v", lost)
	}
}

// Counters only rise, and the newest value is of the newest window that is complete.
func (r *rig) promRange(c v1.API) {
	now := time.Now()
	v, warnings, _, err := c.QueryRange(r.Context(), "http_server_request_duration_seconds_count", v1.Range{Start: now.Add(-9 * time.Minute), End: now, Step: 10 * time.Second})
	if err != nil || len(warnings) > 0 {
		r.Fatal(err, warnings)
	}
	matrix := v.(model.Matrix)
	if !slices.ContainsFunc(matrix, func(s *model.SampleStream) bool { return len(s.Values) >= 30 }) {
		r.Fatalf("no series of %d is long", len(matrix))
	}
	for _, s := range matrix {
		for n := range s.Values[1:] {
			if s.Values[n+1].Value < s.Values[n].Value {
				r.Errorf("%s falls: %v", s.Metric, s.Values)
			}
		}
	}
	newest := r.vector(c, "time() - max(timestamp(http_server_request_duration_seconds_count))", now)
	if len(newest) != 1 || newest[0].Value < 0 || newest[0].Value > 40 {
		r.Errorf("the newest sample is %v s old", newest)
	}
}

func (r *rig) promNames(c v1.API) {
	from, to := time.Now().Add(-time.Hour), time.Now()
	series, _, _, err := c.Series(r.Context(), []string{`http_server_request_duration_seconds{namespace="host"}`, `{__name__="http_client_request_duration_seconds_count"}`}, from, to)
	if err != nil || len(series) < 12 {
		r.Errorf("series: %v %v", series, err)
	}
	names, _, _, err := c.LabelNames(r.Context(), nil, from, to)
	if err != nil || !slices.Contains(names, "workload") || !slices.Contains(names, "le") || !slices.Contains(names, "http_route") {
		r.Errorf("labels: %v %v", names, err)
	}
	values, _, _, err := c.LabelValues(r.Context(), "__name__", nil, from, to)
	if err != nil || !slices.Contains(values, "http_server_request_wait_duration_seconds") || !slices.Contains(values, "weir_lost_exchanges_total") {
		r.Errorf("names: %v %v", values, err)
	}
	values, _, _, err = c.LabelValues(r.Context(), "workload", []string{`http_server_request_duration_seconds{workload!="none"}`}, from, to)
	if err != nil || len(values) < 4 {
		r.Errorf("workloads: %v %v", values, err)
	}
	metadata, err := c.Metadata(r.Context(), "http_server_request_duration_seconds", "")
	if err != nil || len(metadata) != 1 || metadata["http_server_request_duration_seconds"][0].Type != "histogram" {
		r.Errorf("metadata: %v %v", metadata, err)
	}
	info, err := c.Buildinfo(r.Context())
	if err != nil || info.Version == "" {
		r.Errorf("build: %v %v", info, err)
	}
	if rules, err := c.Rules(r.Context(), nil); err != nil || len(rules.Groups) > 0 {
		r.Errorf("rules: %v %v", rules, err)
	}
	if alerts, err := c.Alerts(r.Context()); err != nil || len(alerts.Alerts) > 0 {
		r.Errorf("alerts: %v %v", alerts, err)
	}
}

func (r *rig) promExemplars(c v1.API) {
	found, err := c.QueryExemplars(r.Context(), `rate(http_server_request_duration_seconds{workload="payment"}[5m])`, time.Now().Add(-5*time.Minute), time.Now())
	if err != nil || len(found) == 0 || found[0].SeriesLabels["workload"] != "payment" || found[0].Exemplars[0].Value <= 0 {
		r.Errorf("exemplars: %v %v", found, err)
	}
}

// Mistakes have Prometheus's types and positions; limits say what to do.
func (r *rig) promMistakes(c v1.API) {
	now := time.Now()
	for expr, want := range map[string]string{
		"sum(rate(x[5m])": `bad_data: invalid parameter "query": 1:16: parse error: unclosed left parenthesis`,
		"sum(\nrate(x))":  `bad_data: invalid parameter "query": 2:6: parse error: expected type range vector in call to function "rate", got instant vector`,
		"":                `bad_data: invalid parameter "query": unknown position: parse error: no expression found in input`,
	} {
		_, _, _, err := c.Query(r.Context(), expr, now)
		if err == nil || err.Error() != want {
			r.Errorf("%q: %v, want %s", expr, err, want)
		}
	}
	_, _, _, err := c.QueryRange(r.Context(), "up", v1.Range{Start: now.Add(-24 * time.Hour), End: now, Step: time.Second})
	if err == nil || !strings.Contains(err.Error(), "11000 points, the limit: choose a longer step") {
		r.Errorf("too many points: %v", err)
	}
	for path, code := range map[string]int{
		"/api/v1/query?query=1&time=yesterday":             http.StatusBadRequest,
		"/api/v1/query_range?query=1&start=2&end=1&step=1": http.StatusBadRequest,
		"/api/v1/query_range?query=1&start=1&end=2&step=0": http.StatusBadRequest,
		"/api/v1/query?query=1&timeout=soon":               http.StatusBadRequest,
		"/api/v1/series":                                   http.StatusBadRequest,
		"/api/v1/series?match[]=%7B":                       http.StatusBadRequest,
		"/api/v1/features":                                 http.StatusNotFound,
		"/api/v1/query?query=1&limit=many":                 http.StatusBadRequest,
	} {
		var got struct{ Status, ErrorType, Error string }
		r.get(path, code, &got)
		if got.Status != "error" || got.ErrorType == "" || got.Error == "" {
			r.Errorf("%s: %+v", path, got)
		}
	}
	var formatted struct{ Data string }
	r.get("/api/v1/format_query?query="+url.QueryEscape("sum(rate(x[5m]))by(a)"), http.StatusOK, &formatted)
	if formatted.Data != "sum by (a) (rate(x[5m]))" {
		r.Errorf("formatted: %q", formatted.Data)
	}
	var limited struct {
		Data     struct{ Result []any }
		Warnings []string
	}
	r.get("/api/v1/query?limit=1&stats=all&query=http_server_request_duration_seconds_count", http.StatusOK, &limited)
	if len(limited.Data.Result) != 1 || len(limited.Warnings) != 1 {
		r.Errorf("limited: %+v", limited)
	}
}
