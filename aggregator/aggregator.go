package aggregator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
)

// Config is what an aggregator needs.
type Config struct {
	Bus      *bus.Conn
	Holder   string               // name of this replica, unique among those that live at once
	HTTP     string               // host:port for /healthz, /readyz, /metrics; "" serves nothing
	Registry *prometheus.Registry // where its metrics go; nil means one of its own

	// CommitEvery is how long what was read may stay uncommitted when no
	// window is complete; 0 means a minute.
	CommitEvery time.Duration
}

// Run aggregates until ctx ends. Several may run at once: they take turns on
// the partitions. What was read and not committed when it ends is read again
// by the next.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.CommitEvery == 0 {
		cfg.CommitEvery = defaultCommitEvery
	}
	m := newMetrics(cfg.Registry)
	status.RegisterBus(cfg.Registry, "aggregator", cfg.Bus)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return status.Serve(ctx, cfg.HTTP, cfg.Registry, func() error { return ready(cfg.Bus) })
	})
	g.Go(func() error {
		log.Info("aggregator_started", "holder", cfg.Holder)
		defer log.Info("aggregator_stopped")
		return cfg.Bus.Turns(ctx, "aggregator", cfg.Holder, func(ctx context.Context, p uint32) error {
			return aggregate(ctx, cfg, m, log, p)
		})
	})
	for lease, what := range map[string]proto.Rollup{"aggregator.rollup": proto.Minutes, "aggregator.history": proto.HalfHours} {
		g.Go(func() error {
			return cfg.Bus.Turn(ctx, lease, cfg.Holder, func(ctx context.Context) error { return rollUp(ctx, cfg, m, log, what) })
		})
	}
	return g.Wait()
}

func ready(c *bus.Conn) error {
	if !c.Connected() {
		return errors.New("not connected to NATS at " + c.URL())
	}
	return nil
}
