package gateway_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/page/shop"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

type figures struct {
	Namespace, Workload, Kind, Side, Protocol, Operation string

	Count, Errors    uint64
	Rate             float64
	P50              float64 `json:"p50_ms"`
	P99              float64 `json:"p99_ms"`
	Max              float64 `json:"max_ms"`
	WaitP99          float64 `json:"wait_p99_ms"`
	Wait, Processing float64
}

type about struct {
	From, To int64
	Step     int64 `json:"step_ms"`
	Lost     uint64
	Missing  string
	Covered  float64 `json:"covered_s"`
}

func TestGateway(t *testing.T) {
	r := start(t)
	t.Run("services", func(t *testing.T) { r.as(t).services() })
	t.Run("service", func(t *testing.T) { r.as(t).service() })
	t.Run("map", func(t *testing.T) { r.as(t).edges() })
	t.Run("exemplars", func(t *testing.T) { r.as(t).exemplars() })
	t.Run("events", func(t *testing.T) { r.as(t).events() })
	t.Run("following", func(t *testing.T) { r.as(t).following() })
	t.Run("prometheus", func(t *testing.T) { r.as(t).prometheus() })
	t.Run("alerts", func(t *testing.T) { r.as(t).alerts() })
	t.Run("health", func(t *testing.T) { r.as(t).health() })
	t.Run("mistakes", func(t *testing.T) { r.as(t).mistakes() })
	t.Run("slow viewers", func(t *testing.T) { r.as(t).slowViewers() })
	t.Run("late joiner", func(t *testing.T) { r.as(t).joiner() })
	t.Run("away", func(t *testing.T) { r.as(t).away() })
}

func (r *rig) as(t *testing.T) *rig {
	out := *r
	out.T = t
	return &out
}

// past is an interval of whole windows that nothing is added to any more.
func past() (params string, i query.Interval) {
	to := time.Now().Add(-3 * time.Minute).Truncate(time.Minute)
	i = query.Between(to.Add(-4*time.Minute), to)
	return fmt.Sprintf("from=%d&to=%d", i.FromNS/1e6, i.ToNS/1e6), i
}

// The numbers are those of `weir latency` for the same interval.
func (r *rig) services() {
	params, i := past()
	var got struct {
		about
		Rows []figures
	}
	r.get("/api/services?"+params, http.StatusOK, &got)
	want, err := query.Latency(r.Context(), r.bus, query.Options{Interval: i, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	if got.From != i.FromNS/1e6 || got.To != i.ToNS/1e6 || got.Step != 10_000 || got.Missing != "" ||
		got.Covered != want.Covered().Seconds() || got.Lost != want.Lost() || got.Lost == 0 {
		r.Errorf("%+v; weir latency covers %v, lost %d", got.about, want.Covered(), want.Lost())
	}
	if len(got.Rows) != len(want.Rows) || len(got.Rows) < 12 {
		r.Fatalf("%d rows, want %d", len(got.Rows), len(want.Rows))
	}
	rows := map[string]figures{}
	for _, row := range got.Rows {
		rows[row.Workload+row.Side] = row
	}
	for _, w := range want.Rows {
		g := rows[w.Workload+w.Side.String()]
		if g.Count != w.Hist.Count || g.Errors != w.Errors || g.Rate != w.Rate(want.Covered()) || g.P50 != w.Hist.Quantile(0.5)/1e6 ||
			g.P99 != w.Hist.Quantile(0.99)/1e6 || g.Max != float64(w.Hist.MaxNS)/1e6 || g.WaitP99 != w.Wait.Quantile(0.99)/1e6 {
			r.Errorf("%s %s: %+v, want %d requests, %d errors", w.Workload, w.Side, g, w.Hist.Count, w.Errors)
		}
	}
	if _, ok := rows[shop.Hostile+"client"]; !ok {
		r.Errorf("no row of %s", shop.Hostile)
	}
	var servers struct{ Rows []figures }
	r.get("/api/services?side=server&"+params, http.StatusOK, &servers)
	for _, row := range servers.Rows {
		if row.Side != "server" {
			r.Errorf("of servers: %+v", row)
		}
	}
	// Live ends with what is counted.
	var live about
	r.get("/api/services?last=1m", http.StatusOK, &live)
	if live.To-live.From != 60_000 || live.Covered != 60 || time.Since(time.UnixMilli(live.To)) > time.Minute {
		r.Errorf("the last minute is %+v at %d", live, time.Now().UnixMilli())
	}
}

// The heatmap holds every request once.
func (r *rig) service() {
	params, i := past()
	var got struct {
		about
		Total   figures
		Columns struct{ Rate, Errors []float64 }
		Heat    struct {
			Scale, First, Rows int32
			Columns            []struct {
				O int32
				C []uint64
				Z uint64
			}
		}
		Operations, Callers, Callees []figures
	}
	r.get("/api/service?namespace=host&workload=payment&kind=unit&"+params, http.StatusOK, &got)
	want, err := query.Latency(r.Context(), r.bus, query.Options{Interval: i, Selection: query.Selection{Workload: "payment", Side: "server"}, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	var sum, ops uint64
	for _, c := range got.Heat.Columns {
		sum += c.Z
		if len(c.C) > 0 && (c.O < got.Heat.First || c.O+int32(len(c.C)) > got.Heat.First+got.Heat.Rows) {
			r.Errorf("column %+v is outside %d + %d", c, got.Heat.First, got.Heat.Rows)
		}
		for _, n := range c.C {
			sum += n
		}
	}
	for _, o := range got.Operations {
		ops += o.Count
	}
	if n := want.Rows[0].Hist.Count; got.Total.Count != n || sum != n || ops != n || n == 0 {
		r.Errorf("total %d, heatmap %d, operations %d, want %d", got.Total.Count, sum, ops, n)
	}
	if len(got.Columns.Rate) != 24 || len(got.Heat.Columns) != 24 || len(got.Callers) != 1 || len(got.Callees) != 1 {
		r.Errorf("%d columns, callers %+v, callees %+v", len(got.Columns.Rate), got.Callers, got.Callees)
	}
	var nobody struct{ Total *figures }
	r.get("/api/service?namespace=host&workload=nobody&last=1m", http.StatusOK, &nobody)
	if nobody.Total != nil {
		r.Errorf("nobody has %+v", nobody.Total)
	}
}

func (r *rig) edges() {
	params, i := past()
	var got struct {
		Nodes []figures
		Edges []struct {
			figures
			From, To struct{ Workload string }
		}
	}
	r.get("/api/map?"+params, http.StatusOK, &got)
	want, _, err := query.Edges(r.Context(), r.bus, query.Options{Interval: i, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, e := range got.Edges {
		counts[e.From.Workload+" "+e.To.Workload] = e.Count
	}
	wanted := map[string]uint64{}
	for _, e := range want {
		wanted[e.From.Name+" "+e.To.Name] = e.Seen().Hist.Count
	}
	if !maps.Equal(counts, wanted) || len(got.Nodes) < 9 {
		r.Errorf("%d nodes, edges %v, want %v", len(got.Nodes), counts, wanted)
	}
}

func (r *rig) exemplars() {
	params, _ := past()
	var got struct {
		Exemplars []struct {
			Value     float64 `json:"value_ms"`
			Operation string
			TraceID   string `json:"trace_id"`
		}
	}
	r.get("/api/exemplars?namespace=host&workload=stock&min_ms=2&max_ms=3&"+params, http.StatusOK, &got)
	if len(got.Exemplars) == 0 {
		r.Error("there are none")
	}
	for _, e := range got.Exemplars {
		if e.Value < 2 || e.Value >= 3 || e.Operation != "GET /stock/{id}" || len(e.TraceID) != 32 {
			r.Errorf("%+v", e)
		}
	}
}

// events of the past: the newest first, filtered, no more than asked for.
func (r *rig) events() {
	params, i := past()
	q := url.Values{"filter": {`status >= 500 && destination.workload == "stock"`}, "limit": {"7"}, "side": {"server"}}
	var got []query.Event
	r.stream("events", params+"&"+q.Encode(), func(event string, data []byte) bool {
		var batch []query.Event
		var end struct {
			Shown   int
			Full    bool
			Missing string
		}
		switch event {
		case "events":
			if err := json.Unmarshal(data, &batch); err != nil {
				r.Fatal(err)
			}
			got = append(got, batch...)
			return true
		case "end":
			if err := json.Unmarshal(data, &end); err != nil || end.Shown != len(got) || !end.Full || end.Missing != "" {
				r.Errorf("the end is %s: %v", data, err)
			}
		default:
			r.Errorf("%s %s", event, data)
		}
		return false
	})
	if len(got) != 7 {
		r.Errorf("%d events", len(got))
	}
	for n, e := range got {
		if e.Status < 500 || e.Destination.Workload != "stock" || e.Side != "server" || !i.Contains(e.Time.UnixNano()) || n > 0 && e.Time.After(got[n-1].Time) {
			r.Errorf("event %d is %+v", n, e)
		}
	}
}

// following shows what happens now.
func (r *rig) following() {
	began := time.Now()
	r.stream("events", "filter="+url.QueryEscape("duration_ms > 1 && side == 'server'"), func(event string, data []byte) bool {
		var batch struct {
			Events  []query.Event
			Matched uint64
		}
		if err := json.Unmarshal(data, &batch); err != nil || event != "live" {
			r.Fatalf("%s %s: %v", event, data, err)
		}
		for _, e := range batch.Events {
			if e.DurationMS <= 1 || e.Side != "server" || e.Time.Before(began.Add(-10*time.Second)) {
				r.Errorf("%+v", e)
			}
		}
		return len(batch.Events) == 0
	})
}

func (r *rig) health() {
	var got struct {
		Nodes []struct {
			Node, Version        string
			Generated, Delivered uint64
			InFlight             uint64 `json:"in_flight"`
			Lost                 []struct{ Count uint64 }
			Heard                int64
		}
		Partitions []struct{ Partition int }
		Streams    []struct{ Stream string }
		Gateway    struct {
			NATS   string
			Levels []struct{ Windows int }
		}
	}
	r.get("/api/health?last=15m", http.StatusOK, &got)
	if len(got.Nodes) != 1 || got.Nodes[0].Node != shop.Node || got.Nodes[0].Version != status.Version() || time.Since(time.UnixMilli(got.Nodes[0].Heard)) > time.Minute {
		r.Fatalf("nodes %+v", got.Nodes)
	}
	n := got.Nodes[0]
	var lost uint64
	for _, l := range n.Lost {
		lost += l.Count
	}
	if n.Generated != n.Delivered+n.InFlight+lost || lost == 0 || n.Delivered == 0 {
		r.Errorf("it doesn't add up: %+v", n)
	}
	if len(got.Partitions) != 1 || len(got.Streams) != 5 || len(got.Gateway.Levels) != 4 || got.Gateway.NATS == "" {
		r.Errorf("%+v", got)
	}
}

// mistakes are said with what is wrong and where.
func (r *rig) mistakes() {
	for path, want := range map[string]string{
		"services?last=5":                              "last=5 is not a duration",
		"services?last=-5m":                            "last=-5m is not a duration of at least 10s",
		"services?last=48h":                            "is more than the 24h0m0s that are kept",
		"services?from=yesterday&to=1":                 "to=1 is neither a time such as",
		"services?from=2026-13-01T00:00:00Z":           "from=2026-13-01T00:00:00Z is neither a time",
		"services?from=1800000000000&last=5m":          "both say where it begins",
		"services?from=1800000000001&to=1800000000000": "the start must be before the end",
		"services?side=left":                           "side=left is neither server nor client",
		"service?last=5m":                              "workload= is missing",
		"exemplars?workload=a&min_ms=-1":               "min_ms=-1 is not a number of milliseconds",
		"filter?filter=status+%3E%3E+5":                "Syntax error",
		"filter?filter=stat+%3E+5":                     "undeclared reference to 'stat'",
		"events?limit=100000":                          "limit=100000 is not a number from 1 to 1000",
		"events?filter=status+%2B+1":                   "it gives int, not true or false",
		"events?filter=" + strings.Repeat("a", 5000):   "at most 4096 are allowed",
	} {
		var got struct {
			Error  string
			Column *int
		}
		code := http.StatusBadRequest
		if strings.HasPrefix(path, "filter?") { // asked while somebody types
			code = http.StatusOK
		}
		r.get("/api/"+path, code, &got)
		if !strings.Contains(got.Error, want) {
			r.Errorf("%.60s: %q, want %q", path, got.Error, want)
		}
		if code == http.StatusOK && got.Column == nil {
			r.Errorf("%s: no column", path)
		}
	}
}

// slowViewers that take nothing don't keep others, or the reading, from going on.
func (r *rig) slowViewers() {
	for range 5 {
		for _, path := range []string{"/api/live", "/api/events"} {
			resp, err := http.Get(r.url + path)
			if err != nil {
				r.Fatal(err)
			}
			defer resp.Body.Close()
		}
	}
	var first, next about
	r.get("/api/services?last=1m", http.StatusOK, &first)
	bustest.Eventually(r.T, func() bool {
		r.get("/api/services?last=1m", http.StatusOK, &next)
		return next.To > first.To
	}, "nothing new")
	var h struct {
		Gateway struct{ Viewers, Followers int }
	}
	r.get("/api/health?last=1m", http.StatusOK, &h)
	if h.Gateway.Viewers < 5 || h.Gateway.Followers < 5 {
		r.Errorf("%+v", h.Gateway)
	}
}

// joiner: a gateway that reads the past, of minutes from the roll-ups, says what
// the one says that was there as it happened.
func (r *rig) joiner() {
	bustest.Eventually(r.T, func() bool {
		record, err := query.LastRollup(r.Context(), r.bus, proto.HalfHours)
		return err == nil && record != nil
	}, "nothing is rolled up")
	joined := *r
	joined.url = serve(r.T, r.server.URL)
	bustest.Eventually(r.T, func() bool {
		var l struct{ Loaded float64 }
		joined.stream("live", "", func(_ string, data []byte) bool {
			if err := json.Unmarshal(data, &l); err != nil {
				r.Fatal(err)
			}
			return false
		})
		return l.Loaded == 1
	}, "the past isn't read")
	to := time.Now().Add(-time.Minute).Truncate(5 * time.Minute)
	for _, length := range []time.Duration{5 * time.Minute, 3 * time.Hour, 20 * time.Hour} { // the three widths of windows
		var want, got struct {
			about
			Rows []any
		}
		path := fmt.Sprintf("/api/services?from=%d&to=%d", to.Add(-length).UnixMilli(), to.UnixMilli())
		r.get(path, http.StatusOK, &want)
		joined.get(path, http.StatusOK, &got)
		if got.about != want.about || len(got.Rows) != len(want.Rows) || len(want.Rows) == 0 {
			r.Fatalf("%s: %d rows %+v, want %d %+v", path, len(got.Rows), got.about, len(want.Rows), want.about)
		}
		for i := range want.Rows {
			if !reflect.DeepEqual(got.Rows[i], want.Rows[i]) {
				r.Errorf("%s: got %v, want %v", path, got.Rows[i], want.Rows[i])
			}
		}
	}
}

// away: what is known stays, and it goes on when NATS is back.
func (r *rig) away() {
	said := func(want bool) (complete int64) {
		r.stream("live", "", func(_ string, data []byte) bool {
			var l struct {
				Connected bool
				Complete  int64
			}
			if err := json.Unmarshal(data, &l); err != nil {
				r.Fatal(err)
			}
			complete = l.Complete
			return l.Connected != want
		})
		return complete
	}
	r.server.Stop()
	before := said(false)
	params, _ := past()
	var got struct{ Rows []figures }
	r.get("/api/services?"+params, http.StatusOK, &got)
	if len(got.Rows) == 0 {
		r.Error("while NATS is away nothing is known")
	}
	var refused struct{ Error string }
	r.get("/api/events?"+params, http.StatusServiceUnavailable, &refused)
	if !strings.Contains(refused.Error, "NATS is away") {
		r.Error(refused)
	}
	resp, err := http.Get(r.url + "/readyz")
	if err != nil {
		r.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		r.Errorf("ready without NATS: %d", resp.StatusCode)
	}
	r.server.Restart()
	said(true)
	bustest.Eventually(r.T, func() bool { return said(true) > before }, "nothing is counted after NATS came back")
	r.services() // and agrees with `weir latency`
}
