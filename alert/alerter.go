package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/status"
)

const (
	// behind is how much before now rules are evaluated: windows are complete then.
	behind = 20 * time.Second
	// patience is how long a round waits beyond that for windows that aren't.
	patience = 30 * time.Second

	// catchUp is how far back rounds are made up for that nobody evaluated. Silences
	// are kept for longer than that after their end.
	catchUp = time.Hour
	// mostBack is how far back recorded series are worked out at a start.
	mostBack = 6 * time.Hour

	recordEvery = 5 * time.Minute // also when nothing has changed
	liveEvery   = time.Second     // at most, of rounds that store nothing
	reloadEvery = 15 * time.Second

	// DefaultHistoryBytes bounds the history that rules are evaluated over.
	DefaultHistoryBytes = 256 << 20
	// HistoryKeep is the longest window of burn-rate alerts, and a little.
	HistoryKeep = 3*24*time.Hour + 12*time.Hour
)

// Config is what an alerter needs.
type Config struct {
	Bus      *bus.Conn
	Holder   string // name of this replica, unique among those that live at once
	HTTP     string // host:port for /healthz, /readyz, /metrics; "" serves nothing
	Registry *prometheus.Registry

	Rules          []string                 // rule files, or patterns of them
	More           func() ([]*Group, error) // further rules; may be nil
	Interval       time.Duration            // of groups that have none; 0 means DefaultInterval
	ExternalLabels map[string]string        // of all that is told to others
	Page           *url.URL                 // where the page is, nil if that isn't known
	Reload         <-chan os.Signal         // asks to read the rules now, and to take what they are; may be nil
	HistoryBytes   int                      // bound of the history in memory; 0 means DefaultHistoryBytes
	History        *history.History         // one that somebody else runs, and keeps for HistoryKeep; nil means one of its own

	Alertmanagers []*url.URL
	Resend        time.Duration // how often Alertmanagers are told again of what fires; 0 means DefaultResend
	Webhooks      []*Webhook
}

// Run evaluates rules until ctx ends. Several may run at once: one of them works.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.HistoryBytes == 0 {
		cfg.HistoryBytes = DefaultHistoryBytes
	}
	if cfg.Resend == 0 {
		cfg.Resend = DefaultResend
	}
	a := &alerter{cfg: cfg, log: log, m: newMetrics(cfg.Registry), now: time.Now, keepTime: keepTime, history: cfg.History}
	if a.history == nil {
		a.history = history.New(history.Config{Bus: cfg.Bus, Bytes: cfg.HistoryBytes, Keep: HistoryKeep}, log)
	}
	groups, err := a.load()
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	a.groups = groups
	status.RegisterBus(cfg.Registry, "alerter", cfg.Bus)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return status.Serve(ctx, cfg.HTTP, cfg.Registry, func() error { return a.ready() })
	})
	if cfg.History == nil {
		g.Go(func() error { return a.history.Run(ctx) })
	}
	g.Go(func() error { return a.reload(ctx) })
	g.Go(func() error {
		log.Info("alerter_started", "holder", cfg.Holder, "groups", len(groups))
		defer log.Info("alerter_stopped")
		return cfg.Bus.Turn(ctx, "alerter.rules", cfg.Holder, a.work)
	})
	return g.Wait()
}

// alerter is a running one.
type alerter struct {
	cfg     Config
	log     *slog.Logger
	m       *metrics
	now     func() time.Time
	history *history.History

	keepTime time.Duration // how long alerts wait for WEIR_RECORDED

	mu     sync.Mutex
	groups []*Group // as the files are now
}

func (a *alerter) ready() error {
	if !a.cfg.Bus.Connected() {
		return errors.New("not connected to NATS at " + a.cfg.Bus.URL())
	}
	return nil
}

func (a *alerter) load() ([]*Group, error) {
	groups, err := LoadFiles(a.cfg.Rules, a.cfg.Interval)
	if a.cfg.More != nil {
		more, wrong := a.cfg.More()
		groups, err = append(groups, more...), errors.Join(err, wrong)
	}
	return groups, err
}

// reload looks at the files now and then, and when it is asked to. With a mistake
// in them the rules stay as they were. What is new counts when it was asked for, or
// is there twice: a file that is being written may be empty for a moment.
func (a *alerter) reload(ctx context.Context) error {
	said := ""
	var seen []Group // by the last look, if it isn't what counts
	for {
		asked := false
		select {
		case <-a.cfg.Reload:
			asked = true
		case <-time.After(reloadEvery):
		case <-ctx.Done():
			return nil
		}
		groups, err := a.load()
		if err != nil {
			a.m.reloadFailed.Set(1)
			if err.Error() != said || asked {
				a.log.Error("rules_not_reloaded", "error", err)
			}
			said = err.Error()
			continue
		}
		a.m.reloadFailed.Set(0)
		said = ""
		a.mu.Lock()
		switch now := rulesOf(groups); {
		case reflect.DeepEqual(now, rulesOf(a.groups)):
			seen = nil
		case asked, reflect.DeepEqual(now, seen):
			a.groups, seen = groups, nil
			a.log.Info("rules_reloaded", "groups", len(groups))
		default:
			seen = now
		}
		a.mu.Unlock()
	}
}

// rulesOf is groups without what is worked out of them.
func rulesOf(groups []*Group) []Group {
	out := []Group{} // not nil, also without groups
	for _, g := range groups {
		c := *g
		c.Rules = nil
		for _, r := range g.Rules {
			of := *r
			of.parsed = nil
			c.Rules = append(c.Rules, &of)
		}
		out = append(out, c)
	}
	return out
}
