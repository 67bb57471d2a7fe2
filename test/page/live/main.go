// Command live serves the page over the made-up shop until it is interrupted:
// to work on the page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
	"github.com/weirstream/weir/test/page/shop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	http := flag.String("http", "127.0.0.1:7979", "where to serve the page")
	nats := flag.String("nats", "127.0.0.1:7978", "where the nats-server listens")
	past := flag.Duration("past", 24*time.Hour, "how far back there are requests")
	rate := flag.Int("rate", 100, "requests a second")
	lost := flag.Uint64("lost", 0, "exchanges lost a minute")
	flag.Parse()
	dir, err := os.MkdirTemp("", "weir-live-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rules, err := os.MkdirTemp("", "weir-live-rules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(rules)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := natsserver.Start(ctx, natsserver.Config{Dir: dir, Addr: *nats}, log)
	if err != nil {
		return err
	}
	defer server.Stop()
	connect := func(name string) (*bus.Conn, error) {
		return bus.Connect(ctx, bus.Options{URL: server.URL(), Name: name}, log)
	}
	c, err := connect("gateway")
	if err != nil {
		return err
	}
	defer c.Close()
	alerter, err := connect("alerter")
	if err != nil {
		return err
	}
	defer alerter.Close()
	g, ctx := errgroup.WithContext(ctx)
	filled := make(chan struct{})
	g.Go(func() error {
		return shop.Run(ctx, shop.Config{Bus: connect, Past: *past, Rate: *rate, Lost: *lost,
			Filled: func() { fmt.Printf("http://%s/ has its past\n", *http); close(filled) }}, log)
	})
	g.Go(func() error {
		select {
		case <-filled:
			return shop.Alerter(ctx, alerter, rules, time.Hour, log)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		return gateway.Run(ctx, gateway.Config{Bus: c, HTTP: *http, Registry: prometheus.NewRegistry()}, log)
	})
	return g.Wait()
}
