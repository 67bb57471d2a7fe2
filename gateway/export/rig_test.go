package export_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

// rig is a nats-server, an aggregator, and in place of agents and enricher a load
// that counts what it publishes.
type rig struct {
	*testing.T
	server *bustest.Server
	bus    *bus.Conn
	lane   *bus.Lane
	load   *bustest.Load
	seq    uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server := bustest.Start(t)
	r := &rig{T: t, server: server, bus: bustest.Connect(t, server.URL)}
	bustest.Provision(t, r.bus, 1, 1)
	lane, err := r.bus.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	r.lane, r.load = lane, bustest.NewLoad("node1", proto.Epoch{Number: 1, ID: "0123456789abcdef"}, 1)
	r.run(func(ctx context.Context) error {
		return aggregator.Run(ctx, aggregator.Config{Bus: bustest.Connect(t, server.URL), Holder: "a", CommitEvery: 100 * time.Millisecond}, discard)
	})
	return r
}

// run runs a part until the test ends, or stop is called.
func (r *rig) run(part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	var g errgroup.Group
	g.Go(func() error { return part(ctx) })
	stop = func() {
		cancel()
		if err := g.Wait(); err != nil {
			r.Error(err)
		}
	}
	r.Cleanup(stop)
	return stop
}

// publish publishes n events that end now and waits until they are counted.
func (r *rig) publish(n int) {
	r.Helper()
	for n > 0 {
		f := r.load.Next(min(n, proto.MaxFrameEvents), time.Now().UnixNano())
		n -= len(f.Events)
		r.frame(f)
	}
	r.counted()
}

func (r *rig) frame(f *proto.Frame) {
	r.Helper()
	bustest.Enrich(f)
	data, err := f.Append(nil)
	if err != nil {
		r.Fatal(err)
	}
	r.seq++
	if _, err := r.lane.Publish(r.Context(), data, r.seq, r.seq, len(f.Events)); err != nil {
		r.Fatal(err)
	}
}

// counted waits until a commit has everything that was published.
func (r *rig) counted() {
	r.Helper()
	want, err := r.bus.LastSequence(r.Context(), proto.StreamEnriched, proto.SubjectsEnriched)
	if err != nil {
		r.Fatal(err)
	}
	bustest.Eventually(r, func() bool {
		last, err := r.bus.LastMessages(r.Context(), proto.StreamLatency, proto.SubjectsCommit)
		return err == nil && len(last) == 1 && last[0].Src == want
	}, "not everything is counted")
}

// exporter runs one, and returns when it counts.
func (r *rig) exporter(cfg export.Config) (e *export.Exporter, metrics *prometheus.Registry, stop func()) {
	r.Helper()
	metrics = prometheus.NewRegistry()
	cfg.Bus, cfg.Registry = bustest.Connect(r, r.server.URL), metrics
	e, err := export.New(cfg, discard)
	if err != nil {
		r.Fatal(err)
	}
	stop = r.run(e.Run)
	bustest.Eventually(r, e.Counting, "the exporter doesn't begin")
	return e, metrics, stop
}
