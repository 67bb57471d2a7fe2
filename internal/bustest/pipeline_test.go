package bustest_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

// agent publishes a load as an agent would.
type agent struct {
	lane *bus.Lane
	load *bustest.Load
	seq  uint64
}

func newAgent(t testing.TB, c *bus.Conn, node string, seed uint64) *agent {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, node), Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	return &agent{lane: lane, load: bustest.NewLoad(node, lane.Epoch(), seed)}
}

func (a *agent) publish(ctx context.Context, n int, endNS int64) error {
	f := a.load.Next(n, endNS)
	data, err := f.Append(nil)
	if err != nil {
		return err
	}
	a.seq++
	_, err = a.lane.Publish(ctx, data, a.seq, 0, len(f.Events))
	return err
}

// finish publishes a frame without events that promises that none will follow
// for long, so that the windows before are committed.
func (a *agent) finish(ctx context.Context) error {
	return a.publish(ctx, 0, time.Now().Add(time.Hour).UnixNano())
}

// waitCommitted waits until a commit includes everything that is in WEIR_RAW.
func waitCommitted(t testing.TB, c *bus.Conn) {
	t.Helper()
	raw, err := c.StreamInfo(t.Context(), proto.StreamRaw)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamEnriched, proto.SubjectsEnriched)
		return err == nil && len(last) == 1 && last[0].Src == raw.LastSeq
	}, "not everything is enriched")
	bustest.Eventually(t, func() bool {
		enriched, err := c.LastSequence(t.Context(), proto.StreamEnriched, proto.SubjectsEnriched)
		if err != nil {
			return false
		}
		last, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.SubjectsCommit)
		return err == nil && len(last) == 1 && last[0].Src == enriched
	}, "not everything is committed")
}

func TestPipeline(t *testing.T) {
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	a := newAgent(t, c, "node1", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		return enricher.Run(ctx, enricher.Config{Bus: bustest.Connect(t, s.URL), Holder: "a"}, discard)
	})
	g.Go(func() error {
		return aggregator.Run(ctx, aggregator.Config{Bus: bustest.Connect(t, s.URL), Holder: "a"}, discard)
	})
	now := time.Now().UnixNano()
	for i := range int64(50) {
		if err := a.publish(ctx, 100, now-(50-i)*1e9); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.finish(ctx); err != nil {
		t.Fatal(err)
	}
	waitCommitted(t, c)
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got := bustest.ReadWindows(t, c)
	a.load.Want().Check(t, got.WithoutPeers())
	for k := range got {
		if k.PeerNamespace != proto.NamespaceHost {
			t.Errorf("peer not named: %+v", k)
			break
		}
	}
	for _, r := range bustest.ReadCommits(t, c) {
		if len(r.Loss) > 0 || r.Duplicates > 0 {
			t.Errorf("commit %d: loss %v, %d duplicates", r.Seq, r.Loss, r.Duplicates)
		}
	}
}

// Two enrichers and two aggregators at once, each stopped and started at
// random moments, against a server that is killed: not one event too few or
// too many in any window.
func TestPipelineIsExactWhateverIsKilled(t *testing.T) {
	frames, kills := 600, 5
	if testing.Short() {
		frames, kills = 150, 2
	}
	p := bustest.StartProcess(t)
	c := bustest.Connect(t, p.URL)
	bustest.Provision(t, c, 1, 1)
	agents := []*agent{newAgent(t, c, "node1", 1), newAgent(t, c, "node2", 2)}

	ctx, cancel := context.WithCancel(t.Context())
	var services errgroup.Group
	for _, holder := range []string{"a", "b"} {
		services.Go(func() error {
			return restarting(ctx, t, p.URL, func(ctx context.Context, c *bus.Conn) error {
				return enricher.Run(ctx, enricher.Config{Bus: c, Holder: holder}, discard)
			})
		})
		services.Go(func() error {
			return restarting(ctx, t, p.URL, func(ctx context.Context, c *bus.Conn) error {
				return aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: holder, CommitEvery: 100 * time.Millisecond}, discard)
			})
		})
	}
	var published sync.WaitGroup
	now := time.Now().UnixNano()
	for _, a := range agents {
		published.Go(func() {
			for i := range frames {
				// A tenth of a second of event time in each; back from now, as
				// times in the future are clamped.
				if err := a.publish(ctx, 40, now-int64(frames-i)*1e8); err != nil {
					t.Error(err)
					return
				}
			}
			if err := a.finish(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for range kills {
		time.Sleep(rand.N(2 * time.Second))
		p.Kill()
		p.Start()
	}
	published.Wait()
	waitCommitted(t, c)
	bustest.WaitRolledUp(t, c, proto.Minutes, proto.HalfHours)
	cancel()
	if err := services.Wait(); err != nil {
		t.Fatal(err)
	}
	want := agents[0].load.Want()
	for k, h := range agents[1].load.Want() {
		if want[k] == nil {
			want[k] = h
		} else {
			want[k].Merge(h)
		}
	}
	want.Check(t, bustest.ReadWindows(t, c).WithoutPeers())
	bustest.CheckRollups(t, c)
	records := bustest.ReadCommits(t, c)
	for i, r := range records {
		if len(r.Loss) > 0 || r.Duplicates > 0 || r.Seq != uint64(i+1) {
			t.Errorf("commit %d: number %d, loss %v, %d duplicates", i+1, r.Seq, r.Loss, r.Duplicates)
		}
	}
	for i, m := range bustest.ReadAll(t, c, proto.StreamEnriched, proto.SubjectsEnriched) {
		if m.Src != uint64(i+1) {
			t.Fatalf("enriched message %d was made from raw message %d", i+1, m.Src)
		}
	}
	t.Logf("%d frames, %d commits, %d kills of the server", 2*(frames+1), len(records), kills)
}

// restarting runs a service again and again, each time for a moment, on a
// connection of its own.
func restarting(ctx context.Context, t *testing.T, url string, run func(context.Context, *bus.Conn) error) error {
	for ctx.Err() == nil {
		c, err := bus.Connect(ctx, bus.Options{URL: url}, discard)
		if err != nil {
			time.Sleep(50 * time.Millisecond) // the server is being restarted
			continue
		}
		life, cancel := context.WithTimeout(ctx, 500*time.Millisecond+rand.N(3*time.Second))
		err = run(life, c)
		cancel()
		c.Close()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			t.Log(err)
		}
	}
	return nil
}

// BenchmarkPipeline measures raw → enriched → latency: one partition, an
// enricher, an aggregator and the server with file storage in this process.
// An operation is an event.
func BenchmarkPipeline(b *testing.B) {
	s := bustest.Start(b)
	c := bustest.Connect(b, s.URL)
	bustest.Provision(b, c, 1, 1)
	a := newAgent(b, c, "node1", 1)
	base := time.Now().UnixNano()
	frames := max(b.N/proto.MaxFrameEvents, 1)
	var encoded [][]byte // prepared, as the generator is no part of the pipeline
	for i := range frames {
		data, err := a.load.Next(proto.MaxFrameEvents, base+int64(i)*1e6).Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		encoded = append(encoded, data)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var g errgroup.Group
	g.Go(func() error {
		return enricher.Run(ctx, enricher.Config{Bus: bustest.Connect(b, s.URL), Holder: "a"}, discard)
	})
	g.Go(func() error {
		return aggregator.Run(ctx, aggregator.Config{Bus: bustest.Connect(b, s.URL), Holder: "a"}, discard)
	})
	cpu := cpuTime(b)
	b.ResetTimer()
	for _, data := range encoded {
		a.seq++
		if _, err := a.lane.Publish(ctx, data, a.seq, 0, proto.MaxFrameEvents); err != nil {
			b.Fatal(err)
		}
	}
	if err := a.finish(ctx); err != nil {
		b.Fatal(err)
	}
	waitCommitted(b, c)
	b.StopTimer()
	events := float64(frames) * proto.MaxFrameEvents
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpuTime(b)-cpu)/events, "cpu-ns/event")
	cancel()
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is the processor time of this process so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
