package page

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/test/page/shop"
)

// wholeTime is for a busy machine: alone it takes a minute or two.
const wholeTime = 12 * time.Minute

func TestPage(t *testing.T) {
	Need(t, ".")
	discard := slog.New(slog.DiscardHandler)
	server := bustest.Start(t)
	connect := func(name string) (*bus.Conn, error) {
		return bus.Connect(t.Context(), bus.Options{URL: server.URL, Name: name}, discard)
	}
	c, err := connect("gateway")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wholeTime)
	var g errgroup.Group
	filled := make(chan struct{})
	address := bustest.FreeAddr(t)
	g.Go(func() error {
		return shop.Run(ctx, shop.Config{Bus: connect, Past: 16 * time.Minute, Rate: 30, Lost: 2, Filled: func() { close(filled) }}, discard)
	})
	g.Go(func() error {
		return gateway.Run(ctx, gateway.Config{Bus: c, HTTP: address, Registry: prometheus.NewRegistry()}, discard)
	})
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	rules := t.TempDir()
	control := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stop":
			server.Stop()
		case "/start":
			server.Restart()
		case "/rule":
			if err := shop.AddRule(rules); err != nil {
				t.Error(err)
			}
		case "/silence":
			if err := storeSilence(t, c, "Seen", "workload=web probe"); err != nil {
				t.Error(err)
			}
		}
	}))
	defer control.Close()
	<-filled
	alerter, err := connect("alerter")
	if err != nil {
		t.Fatal(err)
	}
	g.Go(func() error {
		defer alerter.Close()
		return shop.Alerter(ctx, alerter, rules, 15*time.Minute, discard)
	})
	bustest.Eventually(t, func() bool { return counted("http://" + address) }, "the shop is not counted")
	if err := storeSilence(t, c, "Never", `namespace=~"host|shop.*"`, `workload!="`+strings.Repeat("long-", 20)+`"`); err != nil {
		t.Fatal(err)
	}

	cmd := Node(ctx, ".", "http://"+address, "--test", "--test-reporter=spec", "page.test.mjs")
	cmd.Env = append(cmd.Env, "WEIR_CONTROL="+control.URL)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// storeSilence silences some alerts for an hour.
func storeSilence(t *testing.T, c *bus.Conn, matchers ...string) error {
	s, err := silence.New(matchers, time.Hour, "ann", "it is known, <script>window.hacked=1</script>", time.Now())
	if err != nil {
		return err
	}
	return s.Store(t.Context(), c)
}

// counted reports whether the page has the shop's past.
func counted(page string) bool {
	resp, err := http.Get(page + "/api/services?last=15m&side=client")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var body strings.Builder
	if _, err := io.Copy(&body, resp.Body); err != nil {
		return false
	}
	return strings.Contains(body.String(), `"workload":"web probe"`) && strings.Contains(body.String(), `"missing":""`)
}
