package gateway_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// Requests of three hours ago that were counted just now, as after a node was
// cut off: the windows of ten seconds, which are read from the stream again, have
// them as the minutes do; also those that come after somebody has looked.
func TestLateRequests(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	commit := func(seq uint64, start time.Time, n int) {
		t.Helper()
		p := proto.Point{
			StartNS: start.UnixNano(), WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
			Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/"},
		}
		for range n {
			p.Hist.Record(5e6)
			p.Parts.ProcessingNS += 5e6
		}
		parts, err := proto.SplitLatency(&proto.Latency{V: 1, Namespace: "host", Workload: "cart", WorkloadKind: "unit", Points: []proto.Point{p}})
		if err != nil {
			t.Fatal(err)
		}
		record, err := proto.EncodeCommit(&proto.Commit{
			V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: seq, WatermarkNS: time.Now().UnixNano(), Messages: 1, Events: uint64(n),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Commit(t.Context(), []bus.Part{{Subject: proto.LatencySubject("host", "cart"), Data: parts[0]}}, record, seq, seq, n); err != nil {
			t.Fatal(err)
		}
	}
	commit(1, at.Add(3*time.Minute), 10)

	r := &rig{T: t, server: server, bus: c, url: serve(t, server.URL)}
	shows := func(want uint64) {
		t.Helper()
		var got struct {
			about
			Rows []figures
		}
		bustest.Eventually(t, func() bool {
			resp, err := http.Get(r.url + "/readyz")
			if err != nil || resp.Body.Close() != nil {
				return false
			}
			r.get(fmt.Sprintf("/api/services?from=%d&to=%d", at.UnixMilli(), at.Add(10*time.Minute).UnixMilli()), http.StatusOK, &got)
			return len(got.Rows) == 1 && got.Rows[0].Count == want
		}, "the page doesn't show %d requests: %+v", want, &got)
		if got.Step != 10_000 {
			t.Errorf("windows of %d ms", got.Step)
		}
	}
	shows(10)
	commit(2, at.Add(7*time.Minute), 5)
	shows(15)
}
