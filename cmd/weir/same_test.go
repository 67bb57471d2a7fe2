package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/test/page/shop"
)

// everywhere is a stream that nothing is added to any more, and all who answer
// questions about it.
type everywhere struct {
	*testing.T
	nats, page string
	bus        *bus.Conn
	from, to   time.Time // what is asked for
}

// For the same interval the command, the service on NATS, the page and top
// give the same numbers: of a past that is counted, and of one that ends with
// what is counted so far.
func TestNumbersAreTheSameEverywhere(t *testing.T) {
	server := bustest.Start(t)
	e := &everywhere{T: t, nats: server.URL, bus: bustest.Connect(t, server.URL)}
	now := time.Now()
	e.shop(now)
	e.page = "http://" + freePort(t)
	gateway := weirProcess("gateway", "--server", e.nats, "--http", strings.TrimPrefix(e.page, "http://"))
	gateway.Stderr = t.Output()
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = gateway.Process.Kill()
		_ = gateway.Wait()
	})
	eventually(t, "the page has its history", func() bool {
		resp, err := http.Get(e.page + "/api/services?last=5m")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(body), `"missing":""`)
	})
	for name, back := range map[string][2]time.Duration{"past": {6 * time.Minute, time.Minute}, "until now": {15 * time.Minute, 0}} {
		t.Run(name, func(t *testing.T) {
			e := *e
			e.T = t
			e.from, e.to = now.Truncate(time.Minute).Add(-back[0]), now.Truncate(time.Minute).Add(-back[1])
			if back[1] == 0 {
				e.to = time.Now()
			}
			e.compareRows()
			e.compareDetails()
			e.compareMaps()
		})
	}
	t.Run("top", func(t *testing.T) {
		e := *e
		e.T = t
		e.compareTop()
	})
}

// shop runs a shop's requests through enricher and aggregator until its past
// is counted. Nobody is left then who could count more.
func (e *everywhere) shop(now time.Time) {
	ctx, stop := context.WithCancel(e.Context())
	ended := make(chan error, 1)
	connect := func(name string) (*bus.Conn, error) {
		return bus.Connect(e.Context(), bus.Options{URL: e.nats, Name: name}, quiet())
	}
	go func() {
		ended <- shop.Run(ctx, shop.Config{Bus: connect, Past: 10 * time.Minute, Rate: 40, Lost: 3}, quiet())
	}()
	eventually(e.T, "the shop's past is counted", func() bool {
		r, err := query.Latency(ctx, e.bus, query.Options{Interval: query.Between(now.Add(-time.Minute), now.Add(-10*time.Second)), Now: now})
		return err == nil && r.Missing == "" && len(r.Rows) > 0
	})
	stop()
	if err := <-ended; err != nil {
		e.Fatal(err)
	}
}

// command runs weir with the interval, as JSON.
func (e *everywhere) command(out any, args ...string) []byte {
	e.Helper()
	args = append(args, "--from", e.from.Format(time.RFC3339Nano), "--to", e.to.Format(time.RFC3339Nano), "--no-wait", "-o", "json", "--server", e.nats)
	cmd := weirProcess(args...)
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		e.Fatalf("weir %v: %v\n%s", args, err, text)
	}
	return text
}

// ask asks the service on NATS. Its answer is what the command prints, but for
// the ends of lines.
func (e *everywhere) ask(endpoint string, by []string, want []byte) {
	e.Helper()
	q := map[string]any{"from": e.from, "to": e.to}
	if by != nil {
		q["by"] = by
	}
	request, _ := json.Marshal(q)
	answer, err := e.bus.Ask(e.Context(), api.Subject(endpoint), request)
	if err != nil || answer.Code != "" {
		e.Fatalf("%s %s: %v %+v", endpoint, request, err, answer)
	}
	if printed := strings.NewReplacer(",\n ", ",", "\n", "").Replace(string(want)); string(answer.Data) != printed {
		e.Errorf("%s %s answers\n%s\nthe command prints\n%s", endpoint, request, answer.Data, printed)
	}
}

// get asks the page's API.
func (e *everywhere) get(kind string, q url.Values, out any) {
	e.Helper()
	q.Set("from", e.from.Format(time.RFC3339Nano))
	q.Set("to", e.to.Format(time.RFC3339Nano))
	resp, err := http.Get(e.page + "/api/" + kind + "?" + q.Encode())
	if err != nil {
		e.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
		e.Fatalf("%s %v: %s %v", kind, q, resp.Status, err)
	}
}

// pageRow is a row of the page: that of the command, but that it isn't rounded,
// and the peer stands apart.
type pageRow struct {
	query.LatencyRow
	Peer struct{ Namespace, Workload, Kind string }
}

func (r pageRow) rounded(lost uint64) query.LatencyRow {
	round := func(v float64, by float64) float64 { return math.Round(v*by) / by }
	out := r.LatencyRow
	out.Lost, out.PeerNamespace, out.PeerWorkload, out.PeerKind = lost, r.Peer.Namespace, r.Peer.Workload, r.Peer.Kind
	out.Rate = round(r.Rate, 10)
	for _, v := range []*float64{&out.P50, &out.P90, &out.P99, &out.Max, &out.WaitP99} {
		*v = round(*v, 1e4)
	}
	return out
}

// same compares the page's rows, whatever their order, with the command's.
func (e *everywhere) same(what string, page []pageRow, lost uint64, want []query.LatencyRow) {
	e.Helper()
	var got []query.LatencyRow
	for _, r := range page {
		got = append(got, r.rounded(lost))
	}
	lines := func(rows []query.LatencyRow) string {
		var out []string
		for _, r := range rows {
			out = append(out, fmt.Sprintf("%+v", r))
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	if got, want := lines(got), lines(want); got != want {
		e.Errorf("%s: the page says\n%s\nthe command says\n%s", what, got, want)
	}
}

func (e *everywhere) compareRows() {
	for _, by := range [][]string{{"workload"}, {"operation"}, {"operation", "peer", "status"}} {
		var rows []query.LatencyRow
		text := e.command(&rows, "latency", "-A", "--by", strings.Join(by, ","))
		e.ask("latency", by, text)
	}
	var rows []query.LatencyRow
	e.command(&rows, "latency", "-A", "--by", "workload")
	var errors, waits int
	for _, r := range rows {
		errors += int(r.Errors)
		if r.WaitP99 > 0 {
			waits++
		}
	}
	if len(rows) < 12 || errors == 0 || waits == 0 || rows[0].Lost == 0 {
		e.Fatalf("%d rows, %d errors, %d of them wait: that compares little", len(rows), errors, waits)
	}
	var page struct {
		Rows []pageRow
		Lost uint64
	}
	e.get("services", url.Values{}, &page)
	e.same("services", page.Rows, page.Lost, rows)
}

// compareDetails looks at one workload after the other.
func (e *everywhere) compareDetails() {
	var rows []query.LatencyRow
	e.command(&rows, "latency", "-A", "--by", "workload")
	by := map[string][]query.LatencyRow{}
	for _, what := range []string{"operation", "status", "peer"} {
		var rows []query.LatencyRow
		e.command(&rows, "latency", "-A", "--by", what)
		by[what] = rows
	}
	for _, w := range rows {
		of := func(what, side string) (out []query.LatencyRow) {
			for _, r := range by[what] {
				if r.Namespace == w.Namespace && r.Workload == w.Workload && r.Kind == w.Kind && r.Side == side {
					out = append(out, r)
				}
			}
			return out
		}
		var page struct {
			Total                                  pageRow
			Operations, Statuses, Callers, Callees []pageRow
			Lost                                   uint64
		}
		e.get("service", url.Values{"namespace": {w.Namespace}, "workload": {w.Workload}, "kind": {w.Kind}, "side": {w.Side}}, &page)
		name := w.Workload + " " + w.Side
		e.same(name, []pageRow{page.Total}, page.Lost, []query.LatencyRow{w})
		e.same(name+" by operation", page.Operations, page.Lost, of("operation", w.Side))
		e.same(name+" by status", page.Statuses, page.Lost, of("status", w.Side))
		e.same(name+"'s callers", page.Callers, page.Lost, of("peer", "server"))
		e.same(name+"'s callees", page.Callees, page.Lost, of("peer", "client"))
	}
}

func (e *everywhere) compareMaps() {
	var want []query.MapRow
	e.ask("map", nil, e.command(&want, "map", "-A"))
	var page struct {
		Lost  uint64
		Edges []struct {
			pageRow
			From, To query.MapEnd
			Network  *float64 `json:"network_ms"`
		}
	}
	e.get("map", url.Values{}, &page)
	if len(page.Edges) != len(want) || len(want) < 10 {
		e.Fatalf("%d edges on the page, weir map has %d", len(page.Edges), len(want))
	}
	network := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%.4f", *v)
	}
	for i, w := range want {
		g := page.Edges[i]
		r := g.rounded(page.Lost)
		got := fmt.Sprint(g.From, g.To, r.Protocol, r.Side, r.Count, r.Errors, r.Lost, r.Rate, r.P50, r.P99, r.Max, r.WaitP99, network(g.Network))
		if w := fmt.Sprint(w.Source, w.Destination, w.Protocol, w.Side, w.Count, w.Errors, w.Lost, w.Rate, w.P50, w.P99, w.Max, w.WaitP99, network(w.Network)); got != w {
			e.Errorf("the page's map says\n%s\nweir map\n%s", got, w)
		}
	}
}

// compareTop compares the screen with the table of weir latency: both end with
// what is counted.
func (e *everywhere) compareTop() {
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("WEIR_REQUIRE") == "all" {
			e.Fatal("WEIR_REQUIRE=all, but there is no tmux")
		}
		e.Skip("no tmux")
	}
	dir := e.TempDir()
	tmux := func(args ...string) string {
		out, err := tmuxCommand(dir, os.Environ(), args...).CombinedOutput()
		if err != nil {
			e.Fatalf("tmux %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "weir")); err != nil {
		e.Fatal(err)
	}
	tmux("new-session", "-d", "-x", "160", "-y", "60", filepath.Join(dir, "weir")+" top --since 15m --server "+e.nats+"; exec sleep 600")
	defer tmux("kill-server")
	latency := weirProcess("latency", "-A", "--by", "workload", "--since", "15m", "--no-wait", "--server", e.nats)
	table, err := latency.Output()
	if err != nil {
		e.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(table)) {
		c := columns.Split(strings.TrimSpace(line), -1)
		if c[0] != "WORKLOAD" { // without the protocol, and what is lost, which top says above
			want = append(want, strings.Join(append(c[:2:2], c[3:11]...), "  "))
		}
	}
	var shown string
	missing := slices.Clone(want)
	for deadline := time.Now().Add(30 * time.Second); len(missing) > 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		shown = tmux("capture-pane", "-p")
		got := map[string]bool{}
		for line := range strings.Lines(shown) {
			got[columns.ReplaceAllString(strings.TrimSpace(line), "  ")] = true
		}
		missing = slices.DeleteFunc(slices.Clone(want), func(row string) bool { return got[row] })
	}
	if len(missing) > 0 || len(want) < 12 {
		e.Errorf("weir latency has %d rows; not on the screen of top:\n%s\nbut\n%s", len(want), strings.Join(missing, "\n"), shown)
	}
}
