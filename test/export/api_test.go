package export_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/chart"
	"github.com/weirstream/weir/test/counted"
)

// Programs that know Prometheus ask Weir: promtool, the client for Go, and who
// speaks HTTP, who is answered as a Prometheus answers.
func TestClients(t *testing.T) {
	address := bustest.FreeAddr(t)
	p := startPrometheus(t, scrapes{address: address, every: "1s"})
	r := counted.Start(t)
	gatewayAt(r, address, gateway.Config{})
	r.Publish(2000)
	weir := &server{t, "http://" + address}
	c := client(t, weir.url)
	bustest.Eventually(t, func() bool {
		r.Publish(2)
		v, _, _, err := c.Query(t.Context(), metric+"_count", time.Now())
		vector, ok := v.(model.Vector)
		return err == nil && ok && len(vector) > 0
	}, "Weir has no window")
	p.becomes(1, `histogram_count(sum(`+metric+`)) > bool 0`) // the first scrape has zeros, and no exemplars
	t.Run("promtool", func(t *testing.T) { promtool(t, weir.url) })
	t.Run("go", func(t *testing.T) { goClient(t, c) })
	t.Run("http", func(t *testing.T) { sameAnswers(t, p.url, weir.url) })
}

func promtool(t *testing.T, url string) {
	config := filepath.Join(t.TempDir(), "http.yml")
	if err := os.WriteFile(config, []byte("authorization: {credentials: "+token+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ kind, args, want string }{
		{"instant", "sum(" + metric + "_count)", "{} => "},
		{"instant", "histogram_count(sum(" + metric + "))", "{} => "},
		{"range", "sum(" + metric + "_count)", "{} =>\n"},
		{"series", "--match=" + metric, `{__name__="` + metric + `", `},
		{"labels", "workload", "cart\n"},
	} {
		args := []string{"query", "--http.config.file=" + config, x.kind, url, x.args}
		out, err := exec.Command(chart.Program(t, "promtool"), args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), x.want) {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// goClient calls all that the client for Go has, but what changes a Prometheus.
func goClient(t *testing.T, c v1.API) {
	ctx, now := t.Context(), time.Now()
	check := func(name string, ok bool, got any, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: %v %v", name, err, got)
		}
	}
	build, err := c.Buildinfo(ctx)
	check("Buildinfo", strings.HasPrefix(build.Version, "3."), build, err)
	config, err := c.Config(ctx)
	check("Config", strings.Contains(config.YAML, "scrape_interval: 10s"), config, err)
	flags, err := c.Flags(ctx)
	check("Flags", flags["query.lookback-delta"] == "5m", flags, err)
	runtime, err := c.Runtimeinfo(ctx)
	check("Runtimeinfo", runtime.ReloadConfigSuccess && runtime.GoroutineCount > 0 && now.Sub(runtime.StartTime) < time.Hour, runtime, err)
	tsdb, err := c.TSDB(ctx, v1.WithLimit(3))
	check("TSDB", tsdb.HeadStats.NumSeries > 100 && tsdb.HeadStats.MaxTime > tsdb.HeadStats.MinTime && len(tsdb.SeriesCountByMetricName) == 3, tsdb, err)
	replay, err := c.WalReplay(ctx)
	check("WalReplay", replay.Current == replay.Max, replay, err)
	targets, err := c.Targets(ctx)
	check("Targets", targets.Active != nil && len(targets.Active) == 0, targets, err)
	of, err := c.TargetsMetadata(ctx, "", "", "")
	check("TargetsMetadata", len(of) == 0, of, err)
	managers, err := c.AlertManagers(ctx)
	check("AlertManagers", len(managers.Active) == 0, managers, err)
	_, err = c.Rules(ctx, nil)
	check("Rules", true, nil, err)
	_, err = c.Alerts(ctx)
	check("Alerts", true, nil, err)
	metadata, err := c.Metadata(ctx, metric, "1")
	check("Metadata", metadata[metric][0].Type == "histogram", metadata, err)
	format, err := c.FormatQuery(ctx, "sum(x)by(y)")
	check("FormatQuery", format == `"sum by (y) (x)"`, format, err)
	names, _, _, err := c.LabelNames(ctx, []string{metric}, now.Add(-time.Hour), now, v1.WithLimit(2))
	check("LabelNames", len(names) == 2, names, err)
	values, _, _, err := c.LabelValues(ctx, "workload", []string{metric}, time.Time{}, time.Time{})
	check("LabelValues", len(values) == 5, values, err)
	series, _, _, err := c.Series(ctx, []string{metric, metric + "_sum"}, time.Time{}, now)
	check("Series", len(series) > 20, len(series), err)
	exemplars, err := c.QueryExemplars(ctx, metric, now.Add(-time.Hour), now)
	check("QueryExemplars", len(exemplars) > 0, exemplars, err)
	value, _, _, err := c.Query(ctx, metric, now, v1.WithTimeout(5*time.Second), v1.WithStats(v1.AllStatsValue), v1.WithLookbackDelta(time.Minute))
	check("Query", value != nil && value.(model.Vector)[0].Histogram.Count > 0, value, err)
	value, _, _, err = c.Query(ctx, metric, now, v1.WithLookbackDelta(time.Millisecond))
	check("Query that looks back no further than now", err == nil && len(value.(model.Vector)) == 0, value, err)
	value, _, _, err = c.QueryRange(ctx, metric+"_count", v1.Range{Start: now.Add(-time.Hour), End: now, Step: 10 * time.Second}, v1.WithLimit(1))
	check("QueryRange", value != nil && len(value.(model.Matrix)) == 1, value, err)
}

// sameAnswers compares what requests are answered with: codes, types of errors,
// and the form of what succeeds, not the numbers.
func sameAnswers(t *testing.T, prometheus, weir string) {
	end := time.Now().Add(time.Second).Unix() // after what was scraped in this second
	now, hour := fmt.Sprint(end), fmt.Sprint(end-3600)
	for _, q := range []string{
		"GET query query=1", "POST query query=1", "OPTIONS query ", "GET query query=" + metric + "_count", "GET query query=" + metric,
		"GET query query=" + metric + "_count[1m]", `GET query query="text"`, "GET query query=1&time=" + now, "GET query query=1&time=2026-01-02T03:04:05.678Z",
		"GET query query=1&time=soon", "GET query query=1&stats=all", "GET query query=1&stats=true", "GET query query=1&limit=2", "GET query query=1&limit=-1",
		"GET query query=1&limit=x", "GET query query=1&timeout=0", "GET query query=1&timeout=-1", "GET query query=1&timeout=5s", "GET query query=1&timeout=x",
		"GET query query=1&lookback_delta=30s", "GET query query=1&lookback_delta=x", "GET query query=", "GET query ", "GET query query=sum(", "GET query query=rate(x)",
		"GET query query=" + metric + " + on() " + metric, "GET query query=label_replace(" + metric + `_count,"a b","$1","c","(")`,
		"GET query query=histogram_quantile(0.9, x) or absent(nothing)", "PUT query query=1", "DELETE series match[]=x",
		"GET query_range query=1&start=" + hour + "&end=" + now + "&step=60", "POST query_range query=" + metric + "&start=" + hour + "&end=" + now + "&step=1m",
		"POST query_range query=" + metric + "_count&start=" + hour + "&end=" + now + "&step=15", "GET query_range query=1&start=2&end=1&step=1",
		"GET query_range query=1&start=1&end=2&step=0", "GET query_range query=1&start=1&end=2&step=-1", "GET query_range query=1&start=1&end=2",
		"GET query_range query=1&end=2&step=1", "GET query_range query=1&start=0&end=" + now + "&step=1", "GET query_range query=" + metric + "[1m]&start=1&end=2&step=1",
		"GET query_range query=nothing&start=1&end=2&step=1", "GET labels ", "POST labels match[]=" + metric, "GET labels match[]={", "GET labels match[]={}", "GET label/workload/values match[]={a=\"\"}", "GET labels match[]=nothing",
		"GET labels limit=1", "GET label/workload/values ", "GET label/nothing/values ", "GET label/U__workload/values ", "GET label/U__/values ", "GET label/%ff/values ",
		"GET label/workload/values match[]=" + metric + "&limit=1",
		"GET series match[]=" + metric, "POST series match[]=" + metric + "&limit=1", "GET series ", "GET series match[]={}", "GET series match[]=nothing", "GET series match[]=" + metric + "&start=x",
		"GET metadata ", "GET metadata metric=" + metric, "GET metadata metric=nothing", "GET metadata limit=1", "GET metadata limit=0", "GET metadata limit=x", "GET metadata limit_per_metric=x",
		"GET query_exemplars query=" + metric + "&start=" + hour + "&end=" + now, "POST query_exemplars query=" + metric + "&start=" + hour + "&end=" + now,
		"GET query_exemplars query=sum(&start=1&end=2", "GET query_exemplars query=nothing&start=2&end=1", "GET format_query query=sum(x)", "GET format_query query=sum(",
		"GET rules ", "GET rules match[]={}", "GET rules match[]={a=\"b\"}", "GET rules type=x", "GET alerts ", "GET targets ", "GET alertmanagers ", "GET status/config ", "GET status/flags ", "GET status/buildinfo ",
		"GET status/runtimeinfo ", "GET status/tsdb ", "GET status/tsdb limit=1", "GET status/walreplay ",
	} {
		theirs, ours := answerOf(t, prometheus, q), answerOf(t, weir, q)
		if theirs != ours {
			t.Errorf("%s\nPrometheus %s\nWeir       %s", q, theirs, ours)
		}
	}
}

// answerOf asks, in one form or the other, and says what form the answer has.
func answerOf(t *testing.T, base, request string) string {
	t.Helper()
	words := strings.SplitN(request, " ", 3)
	method, address, form := words[0], base+"/api/v1/"+words[1], url.Values{}
	for _, pair := range strings.Split(words[2], "&") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			form.Add(name, value)
		}
	}
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else {
		address += "?" + form.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := withToken{}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Status, ErrorType string
		Data              any
		Warnings          []string
	}
	_ = json.Unmarshal(content, &answer) // not all are JSON
	return fmt.Sprint(resp.StatusCode, " ", answer.Status, " ", answer.ErrorType, " ", form1(words[1], answer.Data), " warnings ", len(answer.Warnings))
}

// named are objects whose keys are names of what there is, which may differ, by
// the request or the key that they are the answer to.
var named = []string{"series", "metadata", "status/flags", "metric", "seriesLabels", "droppedTargetCounts"}

// form1 is an answer's data without what may differ: of an object its keys, of a
// list that isn't empty its first element, of a text or number that it is one.
func form1(of string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		if slices.Contains(named, of) {
			return "object"
		}
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			form := form1(key, v[key])
			if _, list := v[key].([]any); list && key != "result" {
				form = "list" // may be empty in one of them
			}
			if key == "resultType" {
				form = fmt.Sprint(v[key])
			}
			all = append(all, key+" "+form)
		}
		return "{" + strings.Join(all, ", ") + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return fmt.Sprint("[", form1(of, v[0]), "…]")
	}
	return fmt.Sprint(reflect.TypeOf(v))
}

// A Prometheus that federates has every request, also over a restart.
func TestFederated(t *testing.T) {
	address := bustest.FreeAddr(t)
	p := startPrometheus(t, scrapes{address: address, every: "1s", more: `metrics_path: /federate
    params: {'match[]': ['{__name__=~"http_server_request_duration_seconds(_count|_bucket)?",le=~"|0.1|1.0|.Inf"}']}`})
	r := counted.Start(t)
	stop := gatewayAt(r, address, gateway.Config{})
	p.becomes(1, `up{job="weir"}`)
	r.Publish(2000)
	p.becomes(1000, `histogram_count(sum(`+metric+`))`)
	stop()
	p.becomes(0, `up{job="weir"}`)
	gatewayAt(r, address, gateway.Config{})
	p.becomes(1, `up{job="weir"}`)
	r.Publish(4000)
	p.becomes(2000, `sum(`+metric+`_count)`)
	for _, selector := range []string{metric, metric + "_count", metric + `_bucket{le="+Inf"}`} {
		if got := p.total(selector); got != 3000 {
			t.Errorf("%s has increased by %v, want 3000", selector, got)
		}
	}
	if got := p.value(`count(count by (__name__, le) ({__name__=~"http_.*"}))`); got != 5 {
		t.Errorf("%v kinds of series, want 5", got)
	}
}
