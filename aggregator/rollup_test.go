package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// rolledUp waits until all of WEIR_LATENCY is rolled up, and compares.
func rolledUp(t *testing.T, c *bus.Conn, rollups ...proto.Rollup) []*proto.Commit {
	t.Helper()
	bustest.WaitRolledUp(t, c, rollups...)
	return bustest.CheckRollups(t, c)
}

// Three that sum minutes at once and three half hours, without a lease, each of
// them stopped and started at random: every delta is in one commit.
func TestRollupRivalsAreExact(t *testing.T) {
	s, c := setUp(t)
	stop := run(t, testConfig(c, 20*time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	var rivals sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for i := range 6 {
		conn, what := bustest.Connect(t, s.URL), proto.Minutes
		if i >= 3 {
			what = proto.HalfHours
		}
		rivals.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, rand.N(2*time.Second))
				err := rollUp(life, testConfig(conn, rand.N(50*time.Millisecond)), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), what)
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
	now := time.Now()
	for i := range 400 {
		end := now.Add(-time.Duration(400-i) * time.Second)
		if i%10 == 0 {
			end = end.Add(-time.Hour) // late
		}
		f := e.load.Next(20, end.UnixNano())
		f.WatermarkNS = end.UnixNano()
		if i%50 == 0 {
			f.Loss = []proto.Loss{{StartNS: end.UnixNano(), Reason: proto.LossSpool, Unit: proto.UnitExchanges, Count: uint64(i + 1)}}
		}
		bustest.Enrich(f)
		if err := e.send(ctx, f); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // a load, not a synchronisation
	}
	waitFor(t, c, 400)
	rolledUp(t, c, proto.Minutes, proto.HalfHours)
	cancel()
	rivals.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if refused == 0 {
		t.Error("nobody was refused: the test shows nothing")
	}
}

// latency commits counted events, as the aggregator of a partition would.
type latency struct {
	*testing.T
	lane  *bus.Lane
	load  *bustest.Load
	part  uint32
	seq   uint64
	batch *batch
}

func newLatency(t *testing.T, c *bus.Conn, partition uint32) *latency {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(partition), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	load := bustest.NewLoad(fmt.Sprint("node", partition), epoch(1), uint64(partition))
	return &latency{T: t, lane: lane, load: load, part: partition, batch: newBatch(proto.WindowNS, proto.LatencySubject)}
}

func (l *latency) commit(n int, endNS int64, idle bool) {
	l.Helper()
	f := l.load.Next(n, endNS)
	bustest.Enrich(f)
	l.batch.symbols.startFrame()
	for i := range f.Events {
		l.batch.add(&f.Events[i], f.Events[i].EndNS, false)
	}
	parts, err := l.batch.encode(proto.Latency{Cluster: "test", Partition: l.part, WatermarkNS: endNS})
	if err != nil {
		l.Fatal(err)
	}
	l.batch.reset()
	l.seq++
	data, err := proto.EncodeCommit(&proto.Commit{
		V: 1, Cluster: "test", Partition: l.part, Epoch: l.lane.Epoch().Number, EpochID: l.lane.Epoch().ID, Seq: l.seq,
		WatermarkNS: endNS, Idle: idle, Messages: len(parts), Events: uint64(n),
	})
	if err != nil {
		l.Fatal(err)
	}
	if _, err := l.lane.Commit(l.Context(), parts, data, l.seq, l.seq, n); err != nil {
		l.Fatal(err)
	}
}

// A commit a minute, although WEIR_LATENCY has one every ten seconds, when the
// slowest partition has passed it; and one when there is nothing more to come.
func TestRollupCommitsEveryMinute(t *testing.T) {
	_, c := setUp(t)
	fast, slow := newLatency(t, c, 0), newLatency(t, c, 1)
	const minute = proto.RollupNS
	begin := floor(time.Now().UnixNano(), minute) - 10*minute
	for end := begin; end <= begin+5*minute; end += 10 * second {
		fast.commit(10, end, false)
		slow.commit(10, end-minute/2, false)
	}
	fast.commit(0, begin+5*minute, true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- rollUp(ctx, testConfig(c, time.Hour), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), proto.Minutes)
	}()
	slow.commit(10, begin+5*minute, true)
	commits := rolledUp(t, c, proto.Minutes)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, r := range commits[:len(commits)-1] {
		if past := r.WatermarkNS - lateness - begin - int64(i-1)*minute; r.Idle || past < 0 || past >= minute {
			t.Errorf("commit %d has a watermark %d s after the beginning", r.Seq, (r.WatermarkNS-begin)/second)
		}
	}
	if last := commits[len(commits)-1]; len(commits) > 8 || !last.Idle {
		t.Errorf("%d commits, the last is %+v", len(commits), last)
	}
}

// WEIR_LATENCY is deleted, made anew and counted anew from WEIR_ENRICHED: what
// was rolled up of the old one isn't counted twice.
func TestRollupOfAnotherStream(t *testing.T) {
	s, c := setUp(t)
	e := newEnricher(t, c, bustest.NewLoad("node1", epoch(1), 1))
	both := []proto.Rollup{proto.Minutes, proto.HalfHours}
	live := func(check func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, len(both))
		stop := run(t, testConfig(c, 10*time.Millisecond))
		for _, what := range both {
			go func() {
				done <- rollUp(ctx, testConfig(c, 10*time.Millisecond), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), what)
			}()
		}
		check()
		cancel()
		if err := errors.Join(<-done, <-done, stop()); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		if err := e.publish(t.Context(), 10, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	live(func() { waitFor(t, c, 30); rolledUp(t, c, both...) })
	bustest.DeleteStream(t, s.URL, proto.StreamLatency)
	bustest.Provision(t, c, 1, 1)
	for range 10 {
		if err := e.publish(t.Context(), 10, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	live(func() { waitFor(t, c, 40); rolledUp(t, c, both...) })
	e.load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
}

// Half hours that begin when part of the minutes' first batch has left the stream
// say that they lack it.
func TestHalfHoursOfRestOfBatch(t *testing.T) {
	s, c := setUp(t)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRollup, Subject: proto.Minutes.Commit, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	input, err := c.StreamInfo(t.Context(), proto.StreamLatency)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().UnixNano()
	f := bustest.NewLoad("node1", epoch(1), 1).Next(100, end)
	bustest.Enrich(f)
	b := newBatch(proto.RollupNS, proto.Minutes.Subject)
	b.symbols.startFrame()
	for i := range f.Events {
		b.add(&f.Events[i], f.Events[i].EndNS, false)
	}
	parts, err := b.encode(proto.Latency{Cluster: "test", Commit: 1, WatermarkNS: end})
	if err != nil || len(parts) < 2 {
		t.Fatal(len(parts), err)
	}
	record, err := proto.EncodeCommit(&proto.Commit{
		V: 1, Cluster: "test", Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: 1, Position: proto.Position{Seq: 1},
		InputCreatedNS: input.Created.UnixNano(), WatermarkNS: end, Messages: len(parts), Events: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Commit(t.Context(), parts, record, 1, 0, 100); err != nil {
		t.Fatal(err)
	}
	bustest.RemoveOldest(t, s.URL, proto.StreamRollup, int64(len(parts))) // one of them goes, the record stays
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- rollUp(ctx, testConfig(c, 10*time.Millisecond), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), proto.HalfHours)
	}()
	bustest.WaitRolledUp(t, c, proto.HalfHours)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	last, err := c.LastMessages(t.Context(), proto.StreamHistory, proto.HalfHours.Commit)
	if err != nil || len(last) != 1 {
		t.Fatal(len(last), err)
	}
	commit, err := proto.DecodeCommit(last[0].Data)
	if err != nil || commit.SinceNS < end {
		t.Errorf("whole since %d, the last window ends %d: %v", commit.SinceNS, end, err)
	}
}
