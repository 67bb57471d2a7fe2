package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// serve runs the service over counted events of the last minutes.
func serve(t *testing.T) (c *bus.Conn, interval query.Interval) {
	t.Helper()
	server := bustest.Start(t)
	c = bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().Add(-5 * time.Minute).Truncate(10 * time.Second)
	load := bustest.NewLoad("n1", proto.Epoch{Number: 1, ID: "0123456789abcdef"}, 3)
	const frames = 10
	for i := range uint64(frames) {
		f := load.Next(100, from.Add(time.Duration(i+2)*time.Second).UnixNano())
		if i == frames-1 {
			f.WatermarkNS = time.Now().UnixNano()
		}
		bustest.Enrich(f)
		data, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Publish(t.Context(), data, i+1, i+1, len(f.Events)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		ended <- aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: "test", CommitEvery: 50 * time.Millisecond}, slog.New(slog.DiscardHandler))
	}()
	go func() { ended <- Run(ctx, bustest.Connect(t, server.URL), "") }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	bustest.Eventually(t, func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.CommitSubject(0))
		return err == nil && len(last) == 1 && last[0].Src >= frames
	}, "not all is counted")
	return c, query.Between(from, from.Add(time.Minute))
}

// ask sends a request as any program would, until somebody answers.
func ask(t *testing.T, c *bus.Conn, endpoint, request string) bus.Answer {
	t.Helper()
	var a bus.Answer
	var err error
	bustest.Eventually(t, func() bool {
		a, err = c.Ask(t.Context(), Subject(endpoint), []byte(request))
		return err == nil
	}, "nobody answers %s: %v", endpoint, &err)
	return a
}

func times(i query.Interval) string {
	return fmt.Sprintf(`"from":%q,"to":%q`, i.From().Format(time.RFC3339), i.To().Format(time.RFC3339))
}

// TestAnswersAreThoseOfTheCommands: the same rows as the queries of the commands.
func TestAnswersAreThoseOfTheCommands(t *testing.T) {
	c, interval := serve(t)
	o := query.Options{Interval: interval, Now: time.Now(), By: query.By{Operation: true, Peer: true}}
	result, err := query.Latency(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	var want []query.LatencyRow
	total := uint64(0)
	for _, r := range result.Rows {
		want = append(want, query.NewLatencyRow(r, result))
		total += r.Hist.Count
	}
	if total != 1000 {
		t.Fatalf("%d requests are counted of 1000", total)
	}
	same(t, ask(t, c, "latency", `{"by":["operation","peer"],`+times(interval)+`}`), want)

	edges, result, err := query.Edges(t.Context(), c, o)
	if err != nil || len(edges) == 0 {
		t.Fatal(len(edges), err)
	}
	var wantMap []query.MapRow
	for i := range edges {
		wantMap = append(wantMap, query.NewMapRow(&edges[i], result))
	}
	same(t, ask(t, c, "map", "{"+times(interval)+"}"), wantMap)

	filter, err := query.NewFilter("status >= 500")
	if err != nil {
		t.Fatal(err)
	}
	last := query.NewLast(5)
	eo := query.EventOptions{Interval: interval, Filter: filter, Selection: query.Selection{Workload: "cart"}}
	if err := query.Events(t.Context(), c, eo, last.Add); err != nil || len(last.Events()) != 5 {
		t.Fatal(len(last.Events()), err)
	}
	same(t, ask(t, c, "events", `{"workload":"cart","filter":"status >= 500","last":5,`+times(interval)+`}`), last.Events())
	same(t, ask(t, c, "events", `{"workload":"nobody"}`), []string{})
	same(t, ask(t, c, "latency", `{"from":"3m","to":"2m"}`), []string{})

	a := ask(t, c, "latency", "")
	var rows []query.LatencyRow
	if err := json.Unmarshal(a.Data, &rows); err != nil || len(rows) == 0 {
		t.Errorf("no request asks for everything: %v %s", err, a.Data)
	}
}

func same(t *testing.T, a bus.Answer, want any) {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if a.Code != "" || string(a.Data) != string(text) {
		t.Errorf("answered %s %s\n%s\nwant %s", a.Code, a.Description, a.Data, text)
	}
}

func TestMistakesAreAnswered(t *testing.T) {
	c, _ := serve(t)
	for _, tt := range []struct{ endpoint, request, code, description string }{
		{"latency", `{"since":"yesterday"}`, "400", `since "yesterday" is neither a duration such as 15m or 2h`},
		{"latency", `{"since":"1h","from":"2h"}`, "400", `since and from say the same`},
		{"latency", `{"from":"1m","to":"2m"}`, "400", `nothing lies between `},
		{"latency", `{"by":["method"]}`, "400", `by "method" is not workload, operation, peer or status`},
		{"latency", `{"side":"both"}`, "400", `side "both" is not server or client`},
		{"latency", `{"workload":"deploy/"}`, "400", `workload "deploy/" names no workload`},
		{"latency", `{"workload":"svc/cart"}`, "400", `workload "svc/cart": latencies are kept by workload, not by Service`},
		{"map", `{"sinse":"1h"}`, "400", `the request is not what docs/wire.md says: json: unknown field "sinse"`},
		{"map", `{"since":1}`, "400", `the request is not what docs/wire.md says: json: cannot unmarshal number`},
		{"map", `{} {}`, "400", `the request goes on after its object`},
		{"map", `{`, "400", `the request is not what docs/wire.md says: unexpected EOF`},
		{"events", `{"filter":"staus == 200"}`, "400", `filter bad filter: undeclared reference to 'staus'`},
		{"events", `{"filter":"1 / (status - status) > 0"}`, "500", `apply filter: division by zero`},
		{"events", `{"last":1001}`, "400", `last 1001 is not between 1 and 1000`},
		{"events", `{"workload":"` + strings.Repeat("x", maxRequest) + `"}`, "400", `the request has 65`},
	} {
		a := ask(t, c, tt.endpoint, tt.request)
		if a.Code != tt.code || !strings.HasPrefix(a.Description, tt.description) {
			t.Errorf("%s %.60s: answered %s %q, want %s %q", tt.endpoint, tt.request, a.Code, a.Description, tt.code, tt.description)
		}
	}
}
