package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bustest"
)

// TestPageShowsTheSame asks a gateway for what the addresses say that the
// commands print.
func TestPageShowsTheSame(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	f := newFixture(time.Now())
	for _, line := range []string{
		"5m  server  shop/web   shop/cart     GET /carts/{user}  200  30  4ms   1ms",
		"5m  server  host       shop/cart     GET /carts/{user}  500  4   4ms   1ms",
		"5m  client  shop/web   shop/cart     GET /carts/{user}  200  20  5ms",
		"5m  client  shop/cart  shop/payment  POST /charges      200  7   9ms",
		"5m  server  old/web    old/cart      GET /              200  2   9ms   1ms",
		"5m  server  shop/cart  shop/payment!StatefulSet  POST /charges  200  6  9ms  1ms",
	} {
		if err := f.line(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.publish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	address := bustest.FreeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		return gateway.Run(ctx, gateway.Config{Bus: c, HTTP: address, Registry: prometheus.NewRegistry()}, quiet())
	})
	g.Go(func() error { return api.Run(ctx, c, hostPage(address, c.Address())) })
	defer func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	bustest.Eventually(t, func() bool {
		_, err := c.Metadata(t.Context(), api.Name)
		return err == nil && shown(t, "http://"+address+"/api/services?last=15m") == 69
	}, "the gateway has not read its history")

	for _, command := range []string{
		"latency",
		"latency -n shop --side client",
		"latency cart -n shop",
		"latency cart -n shop --side client --since 10m",
		"latency cart",
		"latency payment --from 10m --to 1m",
		"map",
		"map cart",
		"map sts/payment",
		"map cart -n shop --side client --from 10m --to 1m",
		"observe --from 10m --to 1m",
		"observe cart --side server --from 10m --to 1m",
		"observe -n shop --from 10m --to 1m --filter status==500||operation.startsWith(\"POST\")",
		"ledger",
	} {
		args := append([]string{"weir", "--server", server.URL}, strings.Fields(command)...)
		if strings.HasPrefix(command, "latency") || strings.HasPrefix(command, "map") {
			args = append(args, "--no-wait")
		}
		var table, stderr, objects bytes.Buffer
		if code := run(t.Context(), args, nil, &table, &stderr); code != exitOK {
			t.Errorf("%s: exit %d: %s", command, code, &stderr)
			continue
		}
		if code := run(t.Context(), append(args, "-o", "ndjson"), nil, &objects, io.Discard); code != exitOK || strings.Contains(objects.String(), "http://") {
			t.Errorf("%s -o ndjson: exit %d: %s", command, code, &objects)
		}
		_, link, ok := strings.Cut(stderr.String(), "page  ")
		link, _, _ = strings.Cut(link, "\n")
		if !ok || strings.Contains(table.String(), "http://") {
			t.Errorf("%s: no address of the page, or among what is printed: %s%s", command, &table, &stderr)
			continue
		}
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		want, got := printed(t, objects.String(), u.Query()), shown(t, dataOf(u))
		if got != want || want == 0 {
			t.Errorf("%s: prints %d requests, %s shows %d", command, want, link, got)
		}
	}
}

// printed adds up what a command printed, of the side that the page's view of
// one workload shows.
func printed(t *testing.T, objects string, state url.Values) (sum uint64) {
	t.Helper()
	for line := range strings.Lines(objects) {
		var row struct {
			Side             string
			Count, Delivered uint64
			Time             string // of a single request
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if state.Get("view") == "service" && row.Side != cmp.Or(state.Get("side"), "server") {
			continue
		}
		sum += row.Count + row.Delivered
		if row.Time != "" {
			sum++
		}
	}
	return sum
}

// dataOf is where the page asks in a state: web/state.js has the names of both.
func dataOf(page *url.URL) string {
	state, ask := page.Query(), url.Values{}
	for key, name := range map[string]string{
		"ns": "namespace", "w": "workload", "kind": "kind", "side": "side", "filter": "filter", "last": "last", "from": "from", "to": "to",
	} {
		if value := state.Get(key); value != "" && value != "both" {
			ask.Set(name, value)
		}
	}
	if state.Get("view") == "services" && !state.Has("side") {
		ask.Set("side", "server")
	}
	u := *page
	u.Path, u.RawQuery = "/api/"+state.Get("view"), ask.Encode()
	return u.String()
}

// shown adds up what the gateway answers.
func shown(t *testing.T, link string) (sum uint64) {
	t.Helper()
	r, err := http.Get(link)
	if err != nil {
		t.Log(err) // it may not listen yet
		return 0
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, end, ok := bytes.Cut(body, []byte("event: end\ndata: ")); ok {
		body = end
	}
	type row struct{ Count uint64 }
	var answer struct {
		Rows, Edges      []row
		Total            row
		Delivered, Shown uint64
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v in %s", link, err, body)
	}
	for _, r := range append(answer.Rows, answer.Edges...) {
		sum += r.Count
	}
	return sum + answer.Total.Count + answer.Delivered + answer.Shown
}

// TestPageAddress: what somebody calls a page can't move the cursor, and what
// is no page has no link.
func TestPageAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://weir.example.com/":      "https://weir.example.com/?view=map",
		"http://localhost:7070":          "http://localhost:7070?view=map",
		"https://example.com/weir/":      "https://example.com/weir/?view=map",
		"https://example.com/\u009b2J":   "https://example.com/%C2%9B2J?view=map",
		"https://\u009b2J.example.com/":  "https://%C2%9B2J.example.com/?view=map",
		"https://example.com/\u202egnp.": "https://example.com/%E2%80%AEgnp.?view=map",
		"https://example.com/\x1b[2J":    "",
		"https://example.com/\nweir: ok": "",
		"https://weir@example.com/":      "",
		"https://example.com/?view=x":    "",
		"javascript:alert(1)":            "",
		"example.com":                    "",
		"":                               "",
	} {
		p := &page{asked: make(chan struct{})}
		close(p.asked)
		if u, err := parsePage(address); err == nil {
			p.base = u
		}
		if got := p.link(url.Values{"view": {"map"}}); got != want {
			t.Errorf("%q: link %q, want %q", address, got, want)
		}
	}
	for _, tt := range []struct{ http, nats, want string }{
		{"127.0.0.1:7070", "127.0.0.1:4222", "http://127.0.0.1:7070/"},
		{"localhost:7070", "[::1]:4222", "http://localhost:7070/"},
		{"127.0.0.1:7070", "10.0.0.5:4222", ""}, // it would lead those who come from elsewhere to their own host
		{"10.0.0.5:7070", "10.0.0.5:4222", "http://10.0.0.5:7070/"},
		{"", "127.0.0.1:4222", ""},
	} {
		if got := hostPage(tt.http, tt.nats); got != tt.want {
			t.Errorf("page at %s, NATS at %s: %q, want %q", tt.http, tt.nats, got, tt.want)
		}
	}
}
