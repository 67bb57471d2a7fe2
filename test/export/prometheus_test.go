package export_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/chart"
	"github.com/weirstream/weir/test/counted"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

const token = "0123456789abcdef"

// server is a Prometheus.
type server struct {
	testing.TB
	url string
}

// scrapes is how a Prometheus scrapes; it has an address, or nothing is scraped.
type scrapes struct {
	address, every string
	more           string // settings; else it scrapes /metrics/latency, and Weir tells several apart by their intervals
}

// startPrometheus starts one. The series have the labels that were scraped, and no
// job and instance.
func startPrometheus(t testing.TB, s scrapes) *server {
	t.Helper()
	program, dir := chart.Program(t, "prometheus"), t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	err := os.WriteFile(config, fmt.Appendf(nil, `
scrape_configs:
  - job_name: weir
    scrape_interval: %[1]s
    scrape_timeout: %[1]s
    honor_labels: true
    scrape_native_histograms: true
    always_scrape_classic_histograms: true
    metric_relabel_configs: [{action: labeldrop, regex: job|instance}]
    authorization: {credentials: %[2]s}
    static_configs: [{targets: [%[3]q]}]
    %[4]s
`, cmp.Or(s.every, "1h"), token, cmp.Or(s.address, "127.0.0.1:1"), cmp.Or(s.more, fmt.Sprintf("metrics_path: /metrics/latency\n    params: {scraper: [%q]}", s.every))), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	address := bustest.FreeAddr(t)
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address,
		"--web.enable-otlp-receiver", "--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage", "--log.level=warn",
		"--scrape.timestamp-tolerance=1s") // a scrape that is late by up to 1 % of the interval, as on a busy machine, counts as in time
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("Prometheus: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	p := &server{t, "http://" + address}
	bustest.Eventually(t, func() bool {
		resp, err := http.Get(p.url + "/-/ready")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}, "Prometheus doesn't start")
	return p
}

// ask asks for data of the API.
func (p *server) ask(path string, q url.Values, data any) {
	p.Helper()
	resp, err := http.Get(p.url + path + "?" + q.Encode())
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		p.Fatalf("%s: %v %s", path, err, answer.Error)
	}
}

// value is that of a query of one value, -1 if it has none.
func (p *server) value(query string) float64 {
	p.Helper()
	var data struct{ Result []struct{ Value []any } }
	p.ask("/api/v1/query", url.Values{"query": {query}}, &data)
	if len(data.Result) != 1 {
		return -1
	}
	v, err := strconv.ParseFloat(data.Result[0].Value[1].(string), 64)
	if err != nil {
		p.Fatal(err)
	}
	return v
}

// becomes waits until a query has a value.
func (p *server) becomes(want float64, query string) {
	p.Helper()
	got := 0.0
	deadline := time.Now().Add(bustest.Timeout)
	for got = p.value(query); got != want; got = p.value(query) {
		if time.Now().After(deadline) {
			p.Fatalf("%s is %v, want %v", query, got, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// gatewayAt runs a gateway that sends what cfg says, and waits until it counts.
func gatewayAt(r *counted.Rig, address string, cfg gateway.Config) (stop func()) {
	r.Helper()
	metrics := prometheus.NewRegistry()
	cfg.Bus, cfg.HTTP, cfg.Registry, cfg.Token = bustest.Connect(r, r.Server.URL), address, metrics, token
	stop = r.Run(func(ctx context.Context) error { return gateway.Run(ctx, cfg, discard) })
	bustest.Eventually(r, func() bool {
		all, err := metrics.Gather()
		return err == nil && slices.ContainsFunc(all, func(f *dto.MetricFamily) bool {
			return f.GetName() == "weir_gateway_export_counting" && f.Metric[0].Gauge.GetValue() == 1
		})
	}, "the gateway doesn't count")
	return stop
}

// total is what all series of a metric have increased by, as the samples show
// it: increase() guesses what lies outside the first and the last one.
func (p *server) total(selector string) (sum float64) {
	p.Helper()
	var data struct {
		Result []struct {
			Metric     map[string]string
			Values     [][]any
			Histograms [][]any
		}
	}
	p.ask("/api/v1/query", url.Values{"query": {selector + "[1h]"}}, &data)
	for _, s := range data.Result {
		var counts []float64
		for _, v := range s.Values {
			counts = append(counts, number(p, v[1]))
		}
		for _, h := range s.Histograms {
			counts = append(counts, number(p, h[1].(map[string]any)["count"]))
		}
		if counts[0] != 0 {
			p.Errorf("%v begins at %v", s.Metric, counts[0])
		}
		for i := 1; i < len(counts); i++ {
			if counts[i] < counts[i-1] { // it began again
				sum += counts[i]
			} else {
				sum += counts[i] - counts[i-1]
			}
		}
	}
	return sum
}

func number(t testing.TB, v any) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(v.(string), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const metric = "http_server_request_duration_seconds"

// A Prometheus that scrapes has every request, as native and as classic
// histograms, also over a restart of the gateway.
func TestScraped(t *testing.T) {
	address := bustest.FreeAddr(t)
	p := startPrometheus(t, scrapes{address: address, every: "1s"})
	r := counted.Start(t)
	stop := gatewayAt(r, address, gateway.Config{})
	p.becomes(1, `up{job="weir"}`)
	r.Publish(2000)
	p.becomes(1000, `histogram_count(sum(`+metric+`))`)
	r.Publish(3000)
	p.becomes(2500, `histogram_count(sum(`+metric+`))`)
	p.becomes(2500, `sum(`+metric+`_count)`)
	p.becomes(2500, `histogram_count(sum(http_server_request_wait_duration_seconds))`)

	stop()
	p.becomes(0, `up{job="weir"}`)
	gatewayAt(r, address, gateway.Config{})
	p.becomes(1, `up{job="weir"}`)
	p.becomes(-1, `histogram_count(sum(`+metric+`))`) // it begins with nothing
	r.Publish(4000)                                   // more than before: a reset that a smaller count doesn't show
	p.becomes(2000, `histogram_count(sum(`+metric+`))`)
	for _, selector := range []string{metric, metric + "_count", `http_client_request_duration_seconds`, metric + `_bucket{le="+Inf"}`} {
		if got := p.total(selector); got != 4500 {
			t.Errorf("%s has increased by %v, want 4500", selector, got)
		}
	}
	if got := p.value(`sum(increase(` + metric + `_count[1h]))`); got < 4500 || got > 4950 { // it extrapolates by a scrape or two
		t.Errorf("increase() is %v, want about 4500", got)
	}
	p.sameQuantiles()
	p.hasExemplars()
}

// sameQuantiles: both kinds of buckets say about the same.
func (p *server) sameQuantiles() {
	p.Helper()
	for _, q := range []string{"0.5", "0.9", "0.99"} {
		native := p.value(`histogram_quantile(` + q + `, sum(` + metric + `))`)
		classic := p.value(`histogram_quantile(` + q + `, sum by (le) (` + metric + `_bucket))`)
		if native <= 0 || classic < native/2 || classic > native*2 {
			p.Errorf("quantile %s is %v of native and %v of classic buckets", q, native, classic)
		}
		// The zero that a series begins with is in the range: it mustn't make it coarser.
		if rate := p.value(`histogram_quantile(` + q + `, sum(rate(` + metric + `[1h])))`); rate < native/1.2 || rate > native*1.2 {
			p.Errorf("quantile %s is %v, over a range %v", q, native, rate)
		}
	}
}

func (p *server) hasExemplars() {
	p.Helper()
	var data []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	p.ask("/api/v1/query_exemplars", url.Values{
		"query": {metric}, "start": {fmt.Sprint(time.Now().Add(-time.Hour).Unix())}, "end": {fmt.Sprint(time.Now().Unix() + 1)},
	}, &data)
	n := 0
	for _, s := range data {
		for _, e := range s.Exemplars {
			if n++; len(e.Labels["trace_id"]) != 32 || len(e.Labels["span_id"]) != 16 {
				p.Errorf("exemplar %v", e)
			}
		}
	}
	if n == 0 {
		p.Error("there are no exemplars")
	}
}

// A Prometheus that is sent OTLP has every request.
func TestSent(t *testing.T) {
	p := startPrometheus(t, scrapes{})
	r := counted.Start(t)
	gatewayAt(r, bustest.FreeAddr(t), gateway.Config{OTLP: export.OTLP{
		Metrics: p.url + "/api/v1/otlp/v1/metrics", Protocol: export.HTTP, Timeout: bustest.Timeout, Interval: time.Second,
	}})
	r.Publish(2000)
	p.becomes(1000, `histogram_count(sum(`+metric+`))`)
	r.Publish(3000)
	p.becomes(2500, `histogram_count(sum(`+metric+`))`)
	p.becomes(2500, `histogram_count(sum(http_server_request_wait_duration_seconds))`)
	var jobs []string
	p.ask("/api/v1/label/job/values", nil, &jobs)
	if len(jobs) < 5 || !strings.HasPrefix(jobs[0], "host/") {
		t.Errorf("jobs are %v", jobs)
	}
}
