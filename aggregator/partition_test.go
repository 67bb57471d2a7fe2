package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// enricher publishes enriched frames of a load, as the enricher would.
type enricher struct {
	lane *bus.Lane
	load *bustest.Load
	seq  uint64
	src  uint64
}

func newEnricher(t *testing.T, c *bus.Conn, load *bustest.Load) *enricher {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &enricher{lane: lane, load: load}
	if lane.Last() != nil {
		e.src = lane.Last().Src
	}
	return e
}

func (e *enricher) publish(ctx context.Context, n int, watermark int64) error {
	f := e.load.Next(n, time.Now().UnixNano())
	f.WatermarkNS = watermark
	bustest.Enrich(f)
	return e.send(ctx, f)
}

func (e *enricher) send(ctx context.Context, f *proto.Frame) error {
	data, err := f.Append(nil)
	if err != nil {
		return err
	}
	e.seq++
	e.src++
	_, err = e.lane.Publish(ctx, data, e.seq, e.src, len(f.Events))
	return err
}

func testConfig(c *bus.Conn, every time.Duration) Config {
	return Config{Bus: c, CommitEvery: every}
}

// run aggregates partition 0 until stop is called, which returns its error.
func run(t *testing.T, cfg Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- aggregate(ctx, cfg, newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), 0)
	}()
	return func() error {
		cancel()
		return <-done
	}
}

// waitFor waits until the last commit record is at or after seq.
func waitFor(t *testing.T, c *bus.Conn, seq uint64) {
	t.Helper()
	bustest.Eventually(t, func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.CommitSubject(0))
		return err == nil && len(last) == 1 && last[0].Src >= seq
	}, "message %d is not committed", seq)
}

func setUp(t *testing.T) (*bustest.Server, *bus.Conn) {
	t.Helper()
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	return s, c
}

func epoch(n uint64) proto.Epoch { return proto.Epoch{Number: n, ID: fmt.Sprintf("%016x", n)} }

// Four aggregators on one partition at once, without a lease, each of them
// stopped and started at random: what one has in memory when another commits
// is thrown away, so every event counts once.
func TestRivalsAreExact(t *testing.T) {
	s, c := setUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	var rivals sync.WaitGroup
	refused := 0
	var mu sync.Mutex
	for range 4 {
		conn := bustest.Connect(t, s.URL)
		rivals.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, rand.N(2*time.Second))
				err := aggregate(life, testConfig(conn, rand.N(100*time.Millisecond)), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), 0)
				end()
				if errors.Is(err, bus.ErrRival) {
					mu.Lock()
					refused++
					mu.Unlock()
				} else if err != nil && life.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	e := newEnricher(t, c, bustest.NewLoad("node1", epoch(1), 1))
	for range 400 {
		if err := e.publish(ctx, 20, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // a load, not a synchronisation
	}
	waitFor(t, c, 400)
	cancel()
	rivals.Wait()
	e.load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
	checkRecords(t, c, 8000)
	if refused == 0 {
		t.Error("no aggregator was refused: the test shows nothing")
	}
}

// checkRecords checks that commits follow each other without a gap.
func checkRecords(t *testing.T, c *bus.Conn, events uint64) {
	t.Helper()
	var last proto.Commit
	for _, r := range bustest.ReadCommits(t, c) {
		if r.Seq != last.Seq+1 || r.Position.Seq < last.Position.Seq || r.WatermarkNS < last.WatermarkNS || r.LogNS < last.LogNS {
			t.Errorf("commit %+v after %+v", r, last)
		}
		if len(r.Loss) > 0 || r.Duplicates > 0 {
			t.Errorf("commit %d: loss %v, %d duplicates", r.Seq, r.Loss, r.Duplicates)
		}
		events -= r.Events
		last = *r
	}
	if events != 0 {
		t.Errorf("the records' events differ by %d", int64(events))
	}
}

func TestACommitPerWindow(t *testing.T) {
	_, c := setUp(t)
	e := newEnricher(t, c, bustest.NewLoad("node1", epoch(1), 1))
	stop := run(t, testConfig(c, time.Hour))
	now := time.Now().UnixNano()
	if err := e.publish(t.Context(), 10, now); err != nil {
		t.Fatal(err)
	}
	if err := e.publish(t.Context(), 0, windowStart(now)+proto.WindowNS+lateness); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c, 2)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	e.load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
	checkRecords(t, c, 10)
}

// Input that is made anew, with the same frames and others in it: what was
// counted is not counted again.
func TestInputMadeAnew(t *testing.T) {
	s, c := setUp(t)
	load := bustest.NewLoad("node1", epoch(1), 1)
	var frames []*proto.Frame
	for range 20 {
		f := load.Next(10, time.Now().UnixNano())
		bustest.Enrich(f)
		frames = append(frames, f)
	}
	send := func(from, to int) {
		t.Helper()
		e := newEnricher(t, c, load)
		for _, f := range frames[from:to] {
			if err := e.send(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := run(t, testConfig(c, 10*time.Millisecond))
	send(0, 12)
	waitFor(t, c, 12)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	bustest.DeleteStream(t, s.URL, proto.StreamEnriched)
	bustest.Provision(t, c, 1, 1)
	send(5, 20)
	stop = run(t, testConfig(c, 10*time.Millisecond))
	bustest.Eventually(t, func() bool {
		return bustest.ReadWindows(t, c).Count() >= 200
	}, "not everything is counted")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
}

// Without a commit record it stops rather than count twice, if events may
// have been counted by a record that is gone.
func TestNoRecord(t *testing.T) {
	s, c := setUp(t)
	e := newEnricher(t, c, bustest.NewLoad("node1", epoch(1), 1))
	if err := e.publish(t.Context(), 10, time.Now().UnixNano()); err != nil {
		t.Fatal(err)
	}
	other, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(1), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(2) {
		if _, err := other.Commit(t.Context(), nil, []byte("x"), seq+1, 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	bustest.RemoveOldest(t, s.URL, proto.StreamLatency, 1)
	err = aggregate(t.Context(), testConfig(c, time.Hour), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), 0)
	if !errors.Is(err, bus.ErrStop) || !strings.Contains(err.Error(), "counted already") {
		t.Fatalf("error %v", err)
	}
}

func TestIdle(t *testing.T) {
	if testing.Short() && os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("waits for 10 s of silence")
	}
	_, c := setUp(t)
	stop := run(t, testConfig(c, time.Hour))
	bustest.Eventually(t, func() bool {
		r := bustest.ReadCommits(t, c)
		return len(r) == 1 && r[0].Idle && r[0].Position.Seq == 1
	}, "an empty partition does not become idle")
	e := newEnricher(t, c, bustest.NewLoad("node1", epoch(1), 1))
	if err := e.publish(t.Context(), 10, 0); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c, 1)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r := bustest.ReadCommits(t, c)
	if len(r) != 2 || !r[1].Idle || r[1].Events != 10 {
		t.Errorf("records %+v", r)
	}
}
