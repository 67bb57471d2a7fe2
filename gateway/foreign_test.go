package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// Whoever may publish can put anything on the subjects that the page reads.
// What no aggregator stored there changes no number, and stops nobody: neither
// the gateway that reads on, nor one that begins, nor the aggregator.
func TestForeignMessages(t *testing.T) {
	r := start(t)
	params, i := past()
	// What is asked says all of its numbers; it is "" while history is read.
	answers := func(url string) string {
		var out strings.Builder
		for _, path := range []string{"services?", "map?", "service?namespace=host&workload=payment&kind=unit&"} {
			resp, err := http.Get(url + "/api/" + path + params)
			if err != nil {
				return "" // it doesn't listen yet
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"missing":""`) {
				return ""
			}
			out.Write(body)
		}
		return out.String()
	}
	before := answers(r.url)
	if before == "" {
		t.Fatal("no answer before")
	}

	latencies := bustest.ReadAll(t, r.bus, proto.StreamLatency, proto.SubjectsLatency)
	commits := bustest.ReadAll(t, r.bus, proto.StreamLatency, proto.SubjectsCommit)
	// A record that would be the newest, of a day ahead and a loss in the past.
	forged, err := proto.DecodeCommit(commits[len(commits)-1].Data)
	if err != nil {
		t.Fatal(err)
	}
	forged.Seq += 1000
	forged.WatermarkNS += int64(24 * time.Hour)
	forged.Loss = []proto.Loss{{Node: "nobody", StartNS: i.FromNS, Reason: proto.LossRing, Unit: proto.UnitExchanges, Count: 1_000_000}}
	record, err := proto.EncodeCommit(forged)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"weir.latency.x.y", latencies[0].Subject, proto.CommitSubject(0)} {
		for _, data := range [][]byte{
			[]byte("junk"), {}, {0x93, 1, 2, 3}, // three numbers in msgpack
			latencies[len(latencies)/2].Data, record, // right, but for who sent it
		} {
			bustest.Publish(t, r.server.URL, subject, data)
		}
	}

	published := time.Now()
	bustest.Eventually(t, func() bool {
		var l struct {
			Complete int64
			Problem  string
			Lost     uint64 `json:"lost_count"`
		}
		r.stream("live", "", func(_ string, data []byte) bool {
			if err := json.Unmarshal(data, &l); err != nil {
				t.Fatal(err)
			}
			return false
		})
		complete := time.UnixMilli(l.Complete)
		if l.Problem != "" || l.Lost >= 1_000_000 || complete.After(time.Now()) {
			t.Fatalf("the page says %+v", l)
		}
		return complete.After(published)
	}, "nothing is counted any more")
	resp, err := http.Get(r.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "\nweir_gateway_foreign_total 15\n") {
		t.Errorf("15 foreign messages are not counted: %v\n%s", err, text)
	}
	if got := answers(r.url); got != before {
		t.Errorf("the gateway that was there answers\n%s\nbefore it was\n%s", got, before)
	}
	begun := serve(t, r.server.URL) // looks for what came minutes late, as the shop's past did, when it has read the minutes
	bustest.Eventually(t, func() bool { return answers(begun) == before }, "a gateway that begins never answers what the one that was there does")
}
