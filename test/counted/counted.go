// Package counted is a nats-server and an aggregator, and in place of agents
// and the enricher a load that counts what it publishes. Subscribers of
// WEIR_LATENCY and WEIR_ENRICHED are tested with it.
package counted

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// Rig is a running one.
type Rig struct {
	testing.TB
	Server *bustest.Server
	Bus    *bus.Conn
	Load   *bustest.Load // of Node

	lane *bus.Lane
	seq  uint64
}

// Node is where the load comes from.
const Node = "node1"

// Start starts one, which stops when the test ends.
func Start(t testing.TB) *Rig {
	t.Helper()
	server := bustest.Start(t)
	r := &Rig{TB: t, Server: server, Bus: bustest.Connect(t, server.URL)}
	bustest.Provision(t, r.Bus, 1, 1)
	lane, err := r.Bus.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	r.lane, r.Load = lane, bustest.NewLoad(Node, proto.Epoch{Number: 1, ID: "0123456789abcdef"}, 1)
	cfg := aggregator.Config{Bus: bustest.Connect(t, server.URL), Holder: "a", CommitEvery: 100 * time.Millisecond}
	r.Run(func(ctx context.Context) error { return aggregator.Run(ctx, cfg, slog.New(slog.DiscardHandler)) })
	return r
}

// Run runs a part until the test ends, or stop is called.
func (r *Rig) Run(part func(context.Context) error) (stop func()) {
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

// Publish publishes n events, half of them of servers, that end now, and waits
// until they are counted.
func (r *Rig) Publish(n int) {
	r.Helper()
	for n > 0 {
		f := r.Load.Next(min(n, proto.MaxFrameEvents), time.Now().UnixNano())
		n -= len(f.Events)
		r.Frame(f)
	}
	r.counted()
}

// Frame publishes a frame of Load, with names, and doesn't wait.
func (r *Rig) Frame(f *proto.Frame) {
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
func (r *Rig) counted() {
	r.Helper()
	want, err := r.Bus.LastSequence(r.Context(), proto.StreamEnriched, proto.SubjectsEnriched)
	if err != nil {
		r.Fatal(err)
	}
	bustest.Eventually(r, func() bool {
		last, err := r.Bus.LastMessages(r.Context(), proto.StreamLatency, proto.SubjectsCommit)
		return err == nil && len(last) == 1 && last[0].Src == want
	}, "not everything is counted")
}
