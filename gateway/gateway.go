package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/internal/status"
)

// Config is what a gateway needs.
type Config struct {
	Bus      *bus.Conn
	HTTP     string // host:port
	Registry *prometheus.Registry

	// Token is what viewers must know; "" lets in whoever reaches HTTP under the
	// name of this host, which is meant for loopback.
	Token string
	// CacheBytes bounds the history in memory; 0 is DefaultCacheBytes.
	CacheBytes int
	// History is one that somebody else runs; nil means one of its own.
	History *history.History
	// RecordedBytes bounds what rules recorded in memory; 0 is recorded.DefaultBytes.
	RecordedBytes int
	// OTLP says what is sent to whom; the zero value sends nothing.
	OTLP export.OTLP
	// RemoteWrite says where the sums go; the zero value sends nothing.
	RemoteWrite export.RemoteWrite
	// Ready says whether the rest of this process works, nil if there is none.
	Ready func() error
}

// DefaultCacheBytes is about a day of 1,000 series.
const DefaultCacheBytes = 256 << 20

// gateway is a running one.
type gateway struct {
	bus      *bus.Conn
	history  *history.History
	recorded *recorded.Follower
	alerts   *alerts
	budgets  *promql.Engine // apart from those of others, which may take long
	tap      *tap
	exporter *export.Exporter
	answers  *answers
	metrics  *metrics
	log      *slog.Logger
	started  time.Time
	viewers  atomic.Int64
	searches chan struct{}
	scrapes  chan struct{}
}

// Run serves the page until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	own := cfg.History == nil
	if own {
		cfg.History = history.New(history.Config{Bus: cfg.Bus, Bytes: cmp.Or(cfg.CacheBytes, DefaultCacheBytes)}, log)
	}
	g := &gateway{
		bus: cfg.Bus, history: cfg.History, alerts: newAlerts(cfg.Bus, log), tap: newTap(cfg.Bus, log), answers: newAnswers(maxAtOnce),
		recorded: recorded.NewFollower(cfg.Bus, cmp.Or(cfg.RecordedBytes, recorded.DefaultBytes), log),
		log:      log, started: time.Now(), searches: make(chan struct{}, maxSearches), scrapes: make(chan struct{}, maxScrapes),
	}
	g.budgets = promql.NewBeside(g.history, g.recorded, 1)
	var err error
	if g.exporter, err = export.New(export.Config{Bus: cfg.Bus, Registry: cfg.Registry, OTLP: cfg.OTLP, RemoteWrite: cfg.RemoteWrite}, log); err != nil {
		return err
	}
	g.metrics = newMetrics(cfg.Registry, g)
	status.RegisterBus(cfg.Registry, "gateway", cfg.Bus)
	handler, err := g.handler(cfg)
	if err != nil {
		return err
	}
	log.Info("gateway_started", "http", cfg.HTTP, "token", cfg.Token != "")
	defer log.Info("gateway_stopped")
	work, ctx := errgroup.WithContext(ctx)
	if own {
		work.Go(func() error { return g.history.Run(ctx) })
	}
	work.Go(func() error { return g.recorded.Run(ctx) })
	work.Go(func() error { return g.tap.run(ctx) })
	work.Go(func() error { return g.alerts.run(ctx) })
	work.Go(func() error { return g.alerts.follow(ctx) })
	work.Go(func() error { return g.exporter.Run(ctx) })
	work.Go(func() error { return status.ServeHandler(ctx, cfg.HTTP, handler) })
	return work.Wait()
}

// change is another number when there is something new for the page, which shows
// nothing that rules record but budgets.
func (g *gateway) change() uint64 {
	_, counted := g.history.Changed()
	_, alerted := g.alerts.Changed()
	return counted + alerted
}

// ready is nil once the newest windows are there.
func (g *gateway) ready(rest func() error) func() error {
	return func() error {
		if rest != nil {
			if err := rest(); err != nil {
				return err
			}
		}
		if !g.bus.Connected() {
			return errAway
		}
		return nil
	}
}

// metrics count what bounds turned away.
type metrics struct {
	answered *prometheus.CounterVec
	refused  *prometheus.CounterVec
	slowest  prometheus.Counter
}

func newMetrics(r *prometheus.Registry, g *gateway) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "weir", Subsystem: "gateway", Name: name, Help: help}
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "weir", Subsystem: "gateway", Name: name, Help: help}, value)
	}
	m := &metrics{
		answered: prometheus.NewCounterVec(counter("answers_total", "Answers by kind."), []string{"kind"}),
		refused:  prometheus.NewCounterVec(counter("refused_total", "Requests refused, by reason."), []string{"reason"}),
		slowest:  prometheus.NewCounter(counter("viewers_dropped_total", "Viewers dropped because they took nothing for too long.")),
	}
	r.MustRegister(m.answered, m.refused, m.slowest,
		prometheus.NewCounterFunc(counter("foreign_total", "Messages skipped because none of Weir's writers put them where they are."),
			func() float64 { return float64(g.bus.Stats().Foreign + g.history.Foreign(g.bus)) }),
		prometheus.NewCounterFunc(counter("undecodable_messages_total", "Messages of WEIR_LATENCY that could not be read."),
			func() float64 { return float64(g.history.Undecodable()) }),
		prometheus.NewCounterFunc(counter("recorded_skipped_total", "Messages of WEIR_RECORDED that could not be read, and samples of it that there was no room for."),
			func() float64 { return float64(g.recorded.Undecodable() + g.recorded.Refused()) }),
		gauge("recorded_bytes", "What rules recorded, in memory.", func() float64 { return float64(g.recorded.State().Bytes) }),
		gauge("recorded_series", "Series that rules recorded, in memory.", func() float64 { return float64(g.recorded.State().Series) }),
		gauge("viewers", "Viewers connected now.", func() float64 { return float64(g.viewers.Load()) }),
		gauge("followers", "Viewers that follow single requests now.", func() float64 { return float64(g.tap.count()) }),
		gauge("cache_bytes", "History in memory.", func() float64 { return float64(g.self().CacheBytes) }),
		gauge("cache_series", "Series in memory.", func() float64 { return float64(g.self().Series) }))
	return m
}
