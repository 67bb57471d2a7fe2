package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// minutes is what a stream sums up to, by the minute.
type minutes struct {
	points map[string]*proto.Point // by minute and series
	losses map[string]uint64
}

func newMinutes() *minutes {
	return &minutes{points: map[string]*proto.Point{}, losses: map[string]uint64{}}
}

func (s *minutes) add(l *proto.Latency) {
	for i := range l.Points {
		p := &l.Points[i]
		minute := p.StartNS - p.StartNS%proto.RollupNS
		key := fmt.Sprint(minute, l.Namespace, l.Workload, l.WorkloadKind, p.Metric, p.Side, p.Attrs, p.Peer)
		sum := s.points[key]
		if sum == nil {
			sum = &proto.Point{Parts: proto.Parts{Wait: new(histogram.Histogram)}}
			s.points[key] = sum
		}
		sum.Hist.Merge(&p.Hist)
		if p.Parts.Wait != nil {
			sum.Parts.Wait.Merge(p.Parts.Wait)
		}
		sum.Errors += p.Errors
		sum.Lossy = sum.Lossy || p.Lossy
		sum.Parts.WaitNS += p.Parts.WaitNS
		sum.Parts.ProcessingNS += p.Parts.ProcessingNS
		sum.Parts.TransferNS += p.Parts.TransferNS
		for _, x := range p.Exemplars { // the slowest is what every reader shows first
			if len(sum.Exemplars) == 0 || before(&x, &sum.Exemplars[0]) {
				sum.Exemplars = []proto.Exemplar{x}
			}
		}
	}
}

// readMinutes reads all that WEIR_LATENCY or WEIR_ROLLUP holds, by the rules for
// readers: a roll-up begins anew with commit 1.
func readMinutes(t *testing.T, c *bus.Conn, stream string) (all *minutes, commits []*proto.Commit) {
	t.Helper()
	all = newMinutes()
	var batch []*proto.Latency
	for _, m := range bustest.ReadAll(t, c, stream, ">") {
		if !strings.Contains(m.Subject, "commit") {
			l, err := proto.DecodeLatency(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, l)
			continue
		}
		record, err := proto.DecodeCommit(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if stream == proto.StreamRollup && record.Seq == 1 {
			all, commits = newMinutes(), nil
		}
		for _, l := range batch {
			all.add(l)
		}
		for _, l := range record.Loss {
			all.losses[fmt.Sprint(l.Node, l.StartNS, l.Reason, l.Unit)] += l.Count
		}
		batch, commits = nil, append(commits, record)
	}
	return all, commits
}

// checkRollup waits until all of WEIR_LATENCY is rolled up, and compares.
func checkRollup(t *testing.T, c *bus.Conn) []*proto.Commit {
	t.Helper()
	bustest.WaitRolledUp(t, c)
	want, _ := readMinutes(t, c, proto.StreamLatency)
	got, commits := readMinutes(t, c, proto.StreamRollup)
	if len(want.points) == 0 || len(got.points) != len(want.points) {
		t.Errorf("%d minutes of series are rolled up, want %d", len(got.points), len(want.points))
	}
	for key, w := range want.points {
		g := got.points[key]
		if g == nil || !g.Hist.Equal(&w.Hist) || !g.Parts.Wait.Equal(w.Parts.Wait) || g.Errors != w.Errors || g.Lossy != w.Lossy ||
			g.Parts.WaitNS != w.Parts.WaitNS || g.Parts.ProcessingNS != w.Parts.ProcessingNS || g.Parts.TransferNS != w.Parts.TransferNS ||
			!reflect.DeepEqual(g.Exemplars, w.Exemplars) {
			t.Fatalf("%s is rolled up to\n%+v, want\n%+v", key, g, w)
		}
	}
	if !reflect.DeepEqual(got.losses, want.losses) {
		t.Errorf("losses are %v, want %v", got.losses, want.losses)
	}
	for i, r := range commits {
		if r.Seq != uint64(i)+1 {
			t.Fatalf("commit %d has number %d", i+1, r.Seq)
		}
	}
	return commits
}

// Four that roll up at once, without a lease, each of them stopped and started
// at random: every delta is in one commit.
func TestRollupRivalsAreExact(t *testing.T) {
	s, c := setUp(t)
	stop := run(t, testConfig(c, 20*time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	var rivals sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for range 4 {
		conn := bustest.Connect(t, s.URL)
		rivals.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, rand.N(2*time.Second))
				err := rollUp(life, testConfig(conn, rand.N(50*time.Millisecond)), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
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
	checkRollup(t, c)
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
		done <- rollUp(ctx, testConfig(c, time.Hour), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	}()
	slow.commit(10, begin+5*minute, true)
	commits := checkRollup(t, c)
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
	live := func(check func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		stop := run(t, testConfig(c, 10*time.Millisecond))
		go func() {
			done <- rollUp(ctx, testConfig(c, 10*time.Millisecond), newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
		}()
		check()
		cancel()
		if err := errors.Join(<-done, stop()); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		if err := e.publish(t.Context(), 10, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	live(func() { waitFor(t, c, 30); checkRollup(t, c) })
	bustest.DeleteStream(t, s.URL, proto.StreamLatency)
	bustest.Provision(t, c, 1, 1)
	for range 10 {
		if err := e.publish(t.Context(), 10, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	live(func() { waitFor(t, c, 40); checkRollup(t, c) })
	e.load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
	if got, _ := readMinutes(t, c, proto.StreamRollup); len(got.points) == 0 {
		t.Error("nothing is rolled up")
	}
}
