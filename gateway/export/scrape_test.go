package export_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/counted"
)

const (
	protobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	openMetrics = "application/openmetrics-text;version=1.0.0"
)

func scrape(t testing.TB, e http.Handler, accept string) (body io.Reader, format expfmt.Format) {
	t.Helper()
	q := httptest.NewRequest(http.MethodGet, "/metrics/latency", nil)
	q.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, q)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body, expfmt.ResponseFormat(w.Header())
}

// families are what a scraper of a format sees, by name.
func families(t testing.TB, e http.Handler, accept string) map[string]*dto.MetricFamily {
	t.Helper()
	body, format := scrape(t, e, accept)
	decoder := expfmt.NewDecoder(body, format)
	out := map[string]*dto.MetricFamily{}
	for {
		f := new(dto.MetricFamily)
		err := decoder.Decode(f)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[f.GetName()] = f
	}
}

const (
	serverName = "http_server_request_duration_seconds"
	clientName = "http_client_request_duration_seconds"
	waitName   = "http_server_request_wait_duration_seconds"
)

// count is how many requests a family has.
func count(f *dto.MetricFamily) (n uint64) {
	for _, m := range f.GetMetric() {
		n += m.Histogram.GetSampleCount()
	}
	return n
}

// settled waits until a scrape shows so many requests of servers.
func settled(t testing.TB, e http.Handler, want uint64) {
	t.Helper()
	bustest.Eventually(t, func() bool { return count(families(t, e, protobuf)[serverName]) == want }, "a scrape doesn't show %d requests", want)
}

// What was counted before the exporter began is not in its sums, everything since is.
func TestScrape(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	r.Publish(500)
	before := r.Load.Want().Count()
	began := time.Now()
	e, _, _ := start(r, export.Config{})
	if got := families(t, e, protobuf); len(got) != 0 {
		t.Errorf("it begins with %v", got)
	}
	r.Publish(4000)
	// What none of Weir's writers published doesn't count.
	for _, m := range bustest.ReadAll(t, r.Bus, proto.StreamLatency, proto.SubjectsLatency)[:3] {
		bustest.Publish(t, r.Server.URL, m.Subject, m.Data)
	}
	after := (r.Load.Want().Count() - before) / 2 // of each side
	bustest.Eventually(t, func() bool { return families(t, e, protobuf)[serverName] != nil }, "no series are shown")
	settled(t, e, after)
	got := families(t, e, protobuf)
	if len(got) != 3 || count(got[clientName]) != after || count(got[waitName]) != after {
		t.Errorf("%d families, %d requests of clients, %d waits, want 3 and %d", len(got), count(got[clientName]), count(got[waitName]), after)
	}
	exemplars := 0
	for name, f := range got {
		for _, m := range f.Metric {
			exemplars += len(m.Histogram.Exemplars)
			check(t, name, m, began)
		}
	}
	if exemplars == 0 {
		t.Error("there are no exemplars")
	}
}

// check compares both kinds of buckets of one series.
func check(t testing.TB, name string, m *dto.Metric, began time.Time) {
	t.Helper()
	h := m.Histogram
	native := histogram.Native{Schema: h.GetSchema(), Count: h.GetSampleCount(), ZeroCount: h.GetZeroCount(), Sum: h.GetSampleSum(), Deltas: h.PositiveDelta}
	for _, s := range h.PositiveSpan {
		native.Spans = append(native.Spans, histogram.Span{Offset: s.GetOffset(), Length: s.GetLength()})
	}
	whole, err := histogram.FromNative(native)
	if err != nil {
		t.Fatalf("%s %v: %v", name, m.Label, err)
	}
	last := uint64(0)
	for _, b := range h.Bucket {
		if b.GetCumulativeCount() < last || !math.IsInf(b.GetUpperBound(), 1) && math.Abs(float64(b.GetCumulativeCount())-whole.Below(b.GetUpperBound())) > 0.51 {
			t.Errorf("%s %v: %d at or below %v s, native buckets have %v", name, m.Label, b.GetCumulativeCount(), b.GetUpperBound(), whole.Below(b.GetUpperBound()))
		}
		last = b.GetCumulativeCount()
		if x := b.GetExemplar(); x != nil && (x.GetValue() > b.GetUpperBound() || len(x.Label) != 2 || len(x.Label[0].GetValue()) != 32) {
			t.Errorf("%s: exemplar %v at or below %v", name, x, b.GetUpperBound())
		}
	}
	if len(h.Bucket) != len(histogram.ClassicBounds())+1 || last != h.GetSampleCount() {
		t.Errorf("%s: %d classic buckets, the last at %d of %d", name, len(h.Bucket), last, h.GetSampleCount())
	}
	if created := h.CreatedTimestamp.AsTime(); created.Before(began) || created.After(time.Now()) {
		t.Errorf("%s was created at %v, the exporter at %v", name, created, began)
	}
}

// Scrapers get the format they ask for, with the same counts.
func TestFormats(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	e, _, _ := start(r, export.Config{})
	r.Publish(2000)
	settled(t, e, 1000)
	for accept, want := range map[string][]string{
		"":          {"# TYPE " + serverName + " histogram\n", `,le="0.0005"} `, `,le="+Inf"} `},
		openMetrics: {"# EOF\n", "_created{", `# {trace_id="`, "# UNIT " + serverName + " seconds\n"},
	} {
		body, _ := scrape(t, e, accept)
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(string(text), part) {
				t.Errorf("Accept %q: no %s in %.2000s", accept, part, text)
			}
		}
	}
	if n := count(families(t, e, "")[serverName]); n != 1000 {
		t.Errorf("text has %d requests", n)
	}
	labels := map[string]string{}
	for _, l := range families(t, e, protobuf)[serverName].Metric[0].Label {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["namespace"] != proto.NamespaceHost || labels["workload"] == "" || labels["workload_kind"] != "unit" || labels["http_request_method"] != "GET" ||
		!strings.HasPrefix(labels["http_route"], "/"+labels["workload"]) || labels["http_response_status_code"] == "" || labels["peer_workload"] == "" {
		t.Errorf("labels are %v", labels)
	}
}

// Counting costs nothing when nobody scrapes, and begins again when somebody does.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	e, _, _ := start(r, export.Config{Unwanted: 500 * time.Millisecond})
	r.Publish(200)
	bustest.Eventually(t, func() bool { return !e.Counting() }, "it goes on counting")
	r.Publish(200)
	if got := families(t, e, protobuf); len(got) != 0 {
		t.Errorf("after a pause it begins with %v", got)
	}
	bustest.Eventually(t, e.Counting, "it doesn't begin again")
	r.Run(func(ctx context.Context) error { // however long it takes to publish
		for ctx.Err() == nil {
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics/latency", nil))
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	})
	r.Publish(600)
	settled(t, e, 300)
}

// A server that goes away and comes back changes nothing.
func TestServerAway(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	e, _, _ := start(r, export.Config{})
	r.Publish(200)
	settled(t, e, 100)
	r.Server.Restart()
	r.Publish(200)
	settled(t, e, 200)
}
