package export

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	// unwanted is how long counting goes on when nobody asks for the counts. It
	// starts with the gateway, so that a scraper that is there misses nothing.
	unwanted = 15 * time.Minute

	lookEach = 10 * time.Second // whether it is still wanted
	tryAgain = time.Second
)

// Config is what an exporter needs.
type Config struct {
	Bus      *bus.Conn
	Registry prometheus.Registerer // for what it says of itself

	OTLP        OTLP
	RemoteWrite RemoteWrite

	// Unwanted is how long counting goes on when nobody scrapes; 0 is 15 minutes.
	Unwanted time.Duration
}

// Exporter counts WEIR_LATENCY for those who want sums that only rise. It is an
// [http.Handler] that answers scrapes.
type Exporter struct {
	cfg     Config
	log     *slog.Logger
	table   *table
	metrics *metrics

	toMetrics, toTraces sink // nil if nothing is sent
	toRemote            *poster
	following           atomic.Int64

	counting  atomic.Bool
	asked     chan struct{} // wakes who waits to be asked
	lastAsked atomic.Int64  // unix nanoseconds
}

// New makes an exporter, which [Exporter.Run] runs. Addresses and files that
// can't be right are errors; a receiver that doesn't answer isn't.
func New(cfg Config, log *slog.Logger) (*Exporter, error) {
	cfg.Unwanted = cmp.Or(cfg.Unwanted, unwanted)
	e := &Exporter{cfg: cfg, log: log, table: newTable(maxSeries, time.Now), asked: make(chan struct{}, 1)}
	if err := e.open(); err != nil {
		return nil, err
	}
	e.metrics = newMetrics(cfg.Registry, e.table, e.Counting)
	return e, nil
}

// open opens what is sent to.
func (e *Exporter) open() (err error) {
	o := &e.cfg.OTLP
	if o.Metrics != "" {
		if e.toMetrics, err = o.open(metricsSignal, o.Metrics); err != nil {
			return err
		}
	}
	if o.Traces != "" {
		if e.toTraces, err = o.open(tracesSignal, o.Traces); err != nil {
			return err
		}
	}
	if e.cfg.RemoteWrite.URL != "" {
		e.toRemote, err = e.cfg.RemoteWrite.open()
	}
	return err
}

// ServeHTTP answers a scrape.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.ask()
	e.table.ServeHTTP(w, r)
}

// ask says that somebody wants to know.
func (e *Exporter) ask() {
	e.lastAsked.Store(time.Now().UnixNano())
	select {
	case e.asked <- struct{}{}:
	default:
	}
}

// wanted reports whether anybody has asked lately, or sums are sent.
func (e *Exporter) wanted() bool {
	sent := e.toMetrics != nil && !e.cfg.OTLP.Delta || e.toRemote != nil
	return sent || time.Since(time.Unix(0, e.lastAsked.Load())) < e.cfg.Unwanted
}

// Counting reports whether what is stored from now on will be counted.
func (e *Exporter) Counting() bool {
	followers := int64(0)
	if e.toMetrics != nil && e.cfg.OTLP.Delta {
		followers++
	}
	if e.toTraces != nil {
		followers++
	}
	return e.counting.Load() && e.following.Load() >= followers
}

// Run counts and sends until ctx ends.
func (e *Exporter) Run(ctx context.Context) error {
	sending, end := linger(ctx, flushTime)
	defer end()
	var g errgroup.Group
	g.Go(func() error { e.counts(ctx); return nil })
	for _, out := range []struct {
		signal
		sink sink
		push func(ctx, sending context.Context, x *exit, to sink)
	}{{metricsSignal, e.toMetrics, e.pushMetrics}, {tracesSignal, e.toTraces, e.pushSpans}} {
		if out.sink != nil {
			defer out.sink.Close()
			g.Go(func() error {
				out.push(ctx, sending, &exit{name: out.name, metrics: e.metrics.otlp.of(out.signal), log: e.log}, out.sink)
				return nil
			})
		}
	}
	if e.toRemote != nil {
		defer e.toRemote.Close()
		writing, end := linger(ctx, writeTime)
		defer end()
		g.Go(func() error {
			e.pushWrites(ctx, writing, &exit{name: "remote_write", metrics: e.metrics.remoteWrite, log: e.log})
			return nil
		})
	}
	return g.Wait()
}

func (e *Exporter) pushMetrics(ctx, sending context.Context, x *exit, to sink) {
	if e.cfg.OTLP.Delta {
		e.pushDeltas(ctx, sending, x, to)
	} else {
		e.pushSums(ctx, sending, x, to)
	}
}

// counts counts whenever somebody wants to know.
func (e *Exporter) counts(ctx context.Context) {
	e.lastAsked.Store(time.Now().UnixNano())
	for ctx.Err() == nil {
		err := e.count(ctx)
		if ctx.Err() != nil {
			return // the last sums are still to be sent
		}
		e.table.begin()
		if err != nil {
			e.log.Warn("export_begins_again", "stream", proto.StreamLatency, "error", err)
			pause(ctx, tryAgain)
		}
		for !e.wanted() && ctx.Err() == nil {
			select {
			case <-e.asked:
			case <-ctx.Done():
			}
		}
	}
}

// count counts what is stored from now on, until nobody wants to know.
func (e *Exporter) count(ctx context.Context) error {
	info, err := e.cfg.Bus.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return err
	}
	r, err := e.read(ctx, proto.StreamLatency, proto.SubjectsLatency, info.LastSeq+1)
	if err != nil {
		return err
	}
	defer r.Close()
	e.counting.Store(true)
	defer e.counting.Store(false)
	for e.wanted() {
		m, err := next(ctx, r, max(tryAgain, min(lookEach, e.cfg.Unwanted)))
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		if m.Foreign {
			continue
		}
		l, err := proto.DecodeLatency(m.Data)
		if err != nil {
			e.metrics.undecodable.Inc()
			e.log.Debug("message_skipped", "stream", proto.StreamLatency, "sequence", m.Sequence, "error", err)
			continue
		}
		e.table.add(l)
	}
	return nil
}

// read reads foreign messages too, to pass them over: the page and the
// aggregator read the same streams and have counted them.
func (e *Exporter) read(ctx context.Context, stream, subjects string, from uint64) (*bus.Reader, error) {
	return e.cfg.Bus.Read(ctx, bus.ReadConfig{Stream: stream, Subjects: []string{subjects}, StartSeq: from, Foreign: true})
}

// next waits for a message no longer than a time.
func next(ctx context.Context, r *bus.Reader, wait time.Duration) (bus.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return r.Next(ctx)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}
