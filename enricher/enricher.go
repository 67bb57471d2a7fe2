package enricher

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
)

// Config is what an enricher needs.
type Config struct {
	Bus      *bus.Conn
	Holder   string                  // name of this replica, unique among those that live at once
	HTTP     string                  // host:port for /healthz, /readyz, /metrics; "" serves nothing
	Registry *prometheus.Registry    // where its metrics go; nil means one of its own
	NewNamer func(*neighbours) Namer // nil means names of plain hosts, or of the cluster

	Kubernetes *kube.Config // whose pods these are; nil means plain hosts
}

// Namer says who is at the ends of exchanges. Each partition has its own.
type Namer interface {
	// Learn takes what the frame says about sockets, for Name to use.
	Learn(f *proto.Frame)
	// Name fills From and To of the frame's events, and tells what may name the
	// ends that it could not: then it may be called again. These it names by
	// their address, or by as much as is certain.
	Name(f *proto.Frame) Missing
}

// Missing is what may still name an end.
type Missing uint8

const (
	Nothing   Missing = iota
	NextFrame         // of the same node
	Anything          // a frame of any node, or the Kubernetes API
)

// Run enriches until ctx ends. Several may run at once: they take turns on
// the partitions.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	m := newMetrics(cfg.Registry)
	status.RegisterBus(cfg.Registry, "enricher", cfg.Bus)
	cluster, err := namers(&cfg)
	if err != nil {
		return err
	}
	started := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return status.Serve(ctx, cfg.HTTP, cfg.Registry, func() error { return ready(cfg.Bus, started) })
	})
	if cluster != nil {
		g.Go(func() error { return cluster.Run(ctx, log) })
		g.Go(func() error { return leaveOut(ctx, cfg, cluster, log) })
	}
	g.Go(func() error {
		if cluster != nil {
			select { // what is enriched before the first lists lacks names
			case <-cluster.Ready():
			case <-ctx.Done():
				return nil
			}
		}
		close(started)
		log.Info("enricher_started", "holder", cfg.Holder)
		defer log.Info("enricher_stopped")
		return cfg.Bus.Turns(ctx, "enricher", cfg.Holder, func(ctx context.Context, p uint32) error {
			return enrich(ctx, cfg, m, log, p)
		})
	})
	return g.Wait()
}

// namers makes what names, unless that is given: the cluster that it returns,
// or nothing but the events themselves.
func namers(cfg *Config) (*kube.Cluster, error) {
	switch {
	case cfg.NewNamer != nil:
		return nil, nil
	case cfg.Kubernetes == nil:
		cfg.NewNamer = func(*neighbours) Namer { return newHost() }
		return nil, nil
	}
	cluster, err := kube.New(*cfg.Kubernetes, cfg.Registry)
	if err != nil {
		return nil, err
	}
	cfg.NewNamer = func(far *neighbours) Namer { return newKubernetes(cluster.Index, cluster.Stale, time.Now, far) }
	return cluster, nil
}

func ready(c *bus.Conn, started <-chan struct{}) error {
	select {
	case <-started:
	default:
		return errors.New("waiting for the Kubernetes API")
	}
	if !c.Connected() {
		return errors.New("not connected to NATS at " + c.URL())
	}
	return nil
}
