package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/proto"
)

// record stores what rules gave from a time on, every ten seconds until now:
// numbers that rise, histograms, and a series that ends.
func record(t *testing.T, c *bus.Conn, from time.Time) (samples int) {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRecorded, Subject: proto.SubjectRecordedCommit, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	for at := from; at.Before(time.Now()); at = at.Add(10 * time.Second) {
		samples++
		all := []recorded.Sample{
			{Rule: "workload:rises", Labels: labels.FromStrings("__name__", "workload:rises", "workload", "cart", "team.name", "checkout"), F: float64(samples)},
			{Rule: "workload:shape", Labels: labels.FromStrings("__name__", "workload:shape", "workload", "cart"), H: &histogram.FloatHistogram{
				Schema: 0, Count: 2, Sum: 3, PositiveSpans: []histogram.Span{{Offset: 1, Length: 1}}, PositiveBuckets: []float64{2}, CounterResetHint: histogram.GaugeType,
			}},
		}
		gone := labels.FromStrings("__name__", "workload:gone", "workload", "cart")
		switch samples {
		case 1:
			all = append(all, recorded.Sample{Rule: "workload:gone", Labels: gone, F: 1})
		case 2:
			all = append(all, recorded.Ending("workload:gone", gone))
		}
		messages, err := recorded.Encode("shop.yaml;shop", at, 0, all)
		if err != nil {
			t.Fatal(err)
		}
		parts := []bus.Part{{Subject: proto.RecordedSubject("shop.yaml;shop"), Data: messages[0]}}
		if _, err := lane.Commit(t.Context(), parts, nil, uint64(samples), 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	return samples
}

// What rules recorded is beside Weir's own metrics, also in one expression.
func (r *rig) promRecorded(c v1.API) {
	from := time.Now().Add(-5 * time.Minute).Truncate(10 * time.Second)
	samples := record(r.T, r.bus, from)
	bustest.Eventually(r.T, func() bool {
		v := r.vector(c, "workload:rises", time.Now())
		return len(v) == 1 && v[0].Value == model.SampleValue(samples)
	}, "what was recorded last isn't there")

	mixed := r.vector(c, `sum by (workload) (rate(http_server_request_duration_seconds_count{workload="cart"}[2m])) * 0 + on (workload) workload:rises @ `+fmt.Sprint(from.Unix()), time.Now())
	if len(mixed) != 1 || mixed[0].Value != 1 || mixed[0].Metric["workload"] != "cart" {
		r.Errorf("both in one expression: %v", mixed)
	}
	if v := r.vector(c, `count by (__name__) ({workload="cart", __name__=~"workload:.*|http_server_request_duration_seconds_count"})`, time.Now()); len(v) != 3 {
		r.Errorf("both by a pattern: %v", v)
	}
	if v := r.vector(c, "histogram_quantile(1, workload:shape)", time.Now()); len(v) != 1 || v[0].Value != 2 {
		r.Errorf("a histogram: %v", v)
	}
	if v := r.vector(c, "workload:gone", time.Now()); len(v) != 0 {
		r.Errorf("one that has ended: %v", v)
	}
	v, warnings, _, err := c.QueryRange(r.Context(), "workload:rises", v1.Range{Start: from, End: time.Now(), Step: 10 * time.Second})
	if err != nil || len(warnings) > 0 || len(v.(model.Matrix)) != 1 || len(v.(model.Matrix)[0].Values) < samples {
		r.Errorf("a range: %v %v %v", v, warnings, err)
	}

	found, _, _, err := c.Series(r.Context(), []string{`{workload="cart", __name__=~"workload:rises|weir_.*"}`}, from, time.Now())
	if err != nil || len(found) != 1 || found[0][model.MetricNameLabel] != "workload:rises" {
		r.Errorf("series: %v %v", found, err)
	}
	names, _, _, err := c.LabelValues(r.Context(), model.MetricNameLabel, nil, from, time.Now())
	if err != nil || !slices.Contains(names, "workload:shape") || !slices.Contains(names, "http_server_request_duration_seconds") {
		r.Errorf("names: %v %v", names, err)
	}
	for name, want := range map[string]int{"team.name": 1, "U__team_2e_name": 1, "U__workload": len(r.labelValues(c, "workload")), "U__team_2e": 0} {
		if got := r.labelValues(c, name); len(got) != want || want == 1 && got[0] != "checkout" {
			r.Errorf("values of %s: %v", name, got)
		}
	}
	metadata, err := c.Metadata(r.Context(), "workload:rises", "")
	if err != nil || len(metadata["workload:rises"]) != 1 {
		r.Errorf("metadata: %v %v", metadata, err)
	}
}

// labelValues are those in the last five minutes.
func (r *rig) labelValues(c v1.API, label string) model.LabelValues {
	r.Helper()
	values, _, _, err := c.LabelValues(r.Context(), label, nil, time.Now().Add(-5*time.Minute), time.Now())
	if err != nil {
		r.Error(err)
	}
	return values
}

// An install may have no such stream yet. When it is made, or made anew, what it
// has is there.
func TestRecordedLater(t *testing.T) {
	server := bustest.Start(t)
	r := &rig{T: t, server: server, bus: bustest.Connect(t, server.URL)}
	bustest.Provision(t, r.bus, 1, 1)
	bustest.DeleteStream(t, server.URL, proto.StreamRecorded)
	r.url = serve(t, server.URL)
	answer := func() (values int) {
		var a struct {
			Status string
			Data   struct {
				Result []struct{ Value []any }
			}
		}
		r.get("/api/v1/query?query=workload:rises", 200, &a)
		return len(a.Data.Result)
	}
	bustest.Eventually(t, func() bool {
		resp, err := http.Get(r.url + "/healthz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, "the gateway isn't there")
	if n := answer(); n != 0 {
		t.Errorf("%d series of a stream that isn't there", n)
	}
	bustest.Provision(t, r.bus, 1, 1)
	type live struct {
		Change uint64
		Loaded float64
	}
	change := func() (l live) {
		r.stream("live", "", func(_ string, data []byte) bool {
			if err := json.Unmarshal(data, &l); err != nil {
				t.Fatal(err)
			}
			return false
		})
		return l
	}
	bustest.Eventually(t, func() bool { return change().Loaded == 1 }, "the history isn't read")
	before := change()
	for range 2 {
		record(t, r.bus, time.Now().Add(-time.Minute))
		bustest.Eventually(t, func() bool { return answer() == 1 }, "what was recorded isn't there")
		if after := change(); after != before {
			t.Errorf("viewers are to ask again: %v, was %v", after, before)
		}
		bustest.DeleteStream(t, server.URL, proto.StreamRecorded)
		bustest.Provision(t, r.bus, 1, 1)
		bustest.Eventually(t, func() bool { return answer() == 0 }, "it is still there")
	}
}
