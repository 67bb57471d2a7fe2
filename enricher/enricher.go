package enricher

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
)

// Config is what an enricher needs.
type Config struct {
	Bus      *bus.Conn
	Holder   string               // name of this replica, unique among those that live at once
	HTTP     string               // host:port for /healthz, /readyz, /metrics; "" serves nothing
	Registry *prometheus.Registry // where its metrics go; nil means one of its own
	NewNamer func() Namer         // nil means names of plain hosts
}

// Namer says who is at the ends of exchanges. Each partition has its own.
type Namer interface {
	// Learn takes what the frame says about sockets, for Name to use.
	Learn(f *proto.Frame)
	// Name fills From and To of the frame's events. It returns how many ends
	// it could not name that a later frame of the node may name: then it may
	// be called again. Other ends it names by their address.
	Name(f *proto.Frame) (open int)
}

// Run enriches until ctx ends. Several may run at once: they take turns on
// the partitions.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	m := newMetrics(cfg.Registry)
	status.RegisterBus(cfg.Registry, "enricher", cfg.Bus)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return status.Serve(ctx, cfg.HTTP, cfg.Registry, func() error { return ready(cfg.Bus) })
	})
	g.Go(func() error {
		log.Info("enricher_started", "holder", cfg.Holder)
		defer log.Info("enricher_stopped")
		return cfg.Bus.Turns(ctx, "enricher", cfg.Holder, func(ctx context.Context, p uint32) error {
			return enrich(ctx, cfg, m, log, p)
		})
	})
	return g.Wait()
}

func ready(c *bus.Conn) error {
	if !c.Connected() {
		return errors.New("not connected to NATS at " + c.URL())
	}
	return nil
}
