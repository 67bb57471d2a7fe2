package page

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/page/shop"
)

// wholeTime is for a busy machine: alone it takes a minute or two.
const wholeTime = 12 * time.Minute

// need finds the browser and what drives it, or skips; where everything is
// required it installs the latter, and fails without the former.
func need(t *testing.T) {
	required := os.Getenv("WEIR_REQUIRE") == "all"
	missing := func(what string) {
		if required {
			t.Fatalf("WEIR_REQUIRE=all, but %s", what)
		}
		t.Skip(what)
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("no " + program)
		}
	}
	chromium := os.Getenv("WEIR_CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		missing("no chromium: " + err.Error())
	}
	if _, err := os.Stat("node_modules/playwright-core"); err == nil {
		return
	}
	if !required {
		t.Skip("no playwright-core: run npm ci in test/page")
	}
	if out, err := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

func TestPage(t *testing.T) {
	need(t)
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
	control := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stop" {
			server.Stop()
		} else {
			server.Restart()
		}
	}))
	defer control.Close()
	<-filled
	bustest.Eventually(t, func() bool { return counted("http://" + address) }, "the shop is not counted")

	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", "page.test.mjs")
	cmd.Env = append(os.Environ(), "WEIR_PAGE=http://"+address, "WEIR_CONTROL="+control.URL)
	// Told to stop, playwright stops its browser.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
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
