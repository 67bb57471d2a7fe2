package aggregator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// logged is a message of the log: what the aggregator's results depend on.
type logged struct {
	seq      uint64
	storedNS int64
	data     []byte
}

const second = int64(time.Second)

// start is an arbitrary moment, in the middle of a window.
const start = 1_700_000_005 * second

func testState() *state { return newState(0, newMetrics(prometheus.NewRegistry())) }

// makeLog makes the frames of three nodes: some come twice, some are missing,
// writers restart, events come late or from the future.
func makeLog(t *testing.T, r *rand.Rand, n int) []logged {
	t.Helper()
	var log []logged
	loads := make([]*bustest.Load, 3)
	restart := func(i int) {
		number := uint64(1)
		if loads[i] != nil {
			number = loads[i].Epoch.Number + 1
		}
		epoch := proto.Epoch{Number: number, ID: fmt.Sprintf("%016x", r.Uint64())}
		loads[i] = bustest.NewLoad(fmt.Sprint("node", i), epoch, r.Uint64())
	}
	for i := range loads {
		restart(i)
	}
	for len(log) < n {
		i := r.IntN(len(loads))
		now := start + int64(len(log))*second/3
		end := now
		switch r.IntN(12) {
		case 0:
			end -= 40 * second
		case 1:
			end += 40 * second
		}
		f := loads[i].Next(2*r.IntN(10), end)
		f.WatermarkNS = now - second
		bustest.Enrich(f)
		data, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		switch r.IntN(20) {
		case 0:
			continue // expired
		case 1:
			restart(i)
		case 2:
			if len(log) > 0 { // an old frame again
				log = append(log, logged{uint64(len(log)) + 1, now, log[r.IntN(len(log))].data})
			}
		}
		log = append(log, logged{uint64(len(log)) + 1, now, data})
	}
	return log
}

// outcome is what a run over a log amounts to.
type outcome struct {
	windows bustest.Windows
	losses  map[string]uint64
	events  uint64
	commits int
}

// play feeds a log to a state, commits when cut says so, and starts anew from
// the record after every commit.
func play(t *testing.T, log []logged, cut func() bool) outcome {
	t.Helper()
	out := outcome{windows: make(bustest.Windows), losses: make(map[string]uint64)}
	s := testState()
	commit := func() {
		s = recommit(t, s, &out)
	}
	var f proto.Frame
	for i := 0; i < len(log); i++ {
		m := &log[i]
		if m.seq < s.position.Seq {
			continue
		}
		if err := f.Decode(m.data); err != nil {
			t.Fatal(err)
		}
		for !s.take(&f, m.seq, m.storedNS) {
			commit()
		}
		if cut() {
			commit()
		}
	}
	commit()
	return out
}

// recommit commits the state's batch into out and returns a state that knows
// nothing but the commit record.
func recommit(t *testing.T, s *state, out *outcome) *state {
	t.Helper()
	parts, err := s.batch.encode(proto.Latency{Cluster: s.cluster, Commit: s.seq + 1, WatermarkNS: s.watermark})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, p := range parts {
		out.windows.AddMessage(t, bus.Message{Subject: p.Subject, Data: p.Data})
		size += len(p.Data)
	}
	if len(parts) >= proto.MaxBatchMsgs || size > proto.MaxBatchBytes-1<<20 {
		t.Errorf("batch of %d messages, %d bytes", len(parts), size)
	}
	data, err := proto.EncodeCommit(s.record(proto.Epoch{Number: 1, ID: "a"}, time.Unix(0, start), len(parts), false))
	if err != nil {
		t.Fatal(err)
	}
	record, err := proto.DecodeCommit(data)
	if err != nil {
		t.Fatal(err)
	}
	out.commits++
	out.events += record.Events
	for _, l := range record.Loss {
		out.losses[l.Node+" "+l.Reason] += l.Count
	}
	next := testState()
	next.resume(record)
	return next
}

func TestSumsDoNotDependOnCommits(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 7))
		log := makeLog(t, r, 300)
		want := play(t, log, func() bool { return false })
		if want.events == 0 || len(want.losses) == 0 {
			t.Fatalf("a log without events or loss: %+v", want)
		}
		for _, often := range []int{1, 3, 40} {
			got := play(t, log, func() bool { return r.IntN(often) == 0 })
			want.windows.Check(t, got.windows)
			if got.events != want.events || !maps.Equal(got.losses, want.losses) {
				t.Errorf("seed %d, a commit in %d: %d events, loss %v; want %d, %v", seed, often, got.events, got.losses, want.events, want.losses)
			}
		}
	}
}

// What is read again, from the beginning, counts nothing.
func TestReadingAgainCountsNothing(t *testing.T) {
	log := makeLog(t, rand.New(rand.NewPCG(3, 3)), 100)
	out := outcome{windows: make(bustest.Windows), losses: make(map[string]uint64)}
	s := testState()
	var f proto.Frame
	for round := range 2 {
		for i := range log {
			if err := f.Decode(log[i].data); err != nil {
				t.Fatal(err)
			}
			if !s.take(&f, log[i].seq, log[i].storedNS) {
				t.Fatal("full")
			}
		}
		if round == 1 && (s.batch.events != 0 || len(s.batch.losses) != 0 || s.batch.duplicate != uint64(len(log))) {
			t.Errorf("read again: %d events, loss %v, %d duplicates of %d", s.batch.events, s.batch.losses, s.batch.duplicate, len(log))
		}
		s = recommit(t, s, &out)
		s.position = proto.Position{Seq: 1}
	}
}

// A batch is cut within a frame when it is full, and the frame goes on after.
func TestFullBatches(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events int
		edit   func(e *proto.Event, i uint64)
	}{
		{"many long routes", 400, func(e *proto.Event, i uint64) { e.Route = fmt.Sprint(strings.Repeat("r", 1000), i) }},
		{"many workloads", proto.MaxFrameEvents, func(e *proto.Event, i uint64) {
			e.From.Workload, e.To.Workload = fmt.Sprint("f", i), fmt.Sprint("t", i)
		}},
		{"everything long", 40, func(e *proto.Event, i uint64) {
			for _, s := range []*string{&e.Route, &e.Method, &e.Error, &e.From.Workload, &e.From.Service, &e.To.Workload, &e.To.Service} {
				*s = fmt.Sprint(strings.Repeat("x", 900), i%20)
			}
			e.TraceID, e.SpanID = fmt.Sprintf("%032x", i), fmt.Sprintf("%016x", i)
			e.WaitNS = 1 << (i % 60)
			e.ProcessingNS = 1 << (i % 58)
			e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
			e.Status = uint32(i)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			load := bustest.NewLoad("node1", proto.Epoch{Number: 1, ID: "a"}, 1)
			var log []logged
			i := uint64(0)
			for seq := uint64(1); seq <= 12; seq++ {
				f := load.Next(tt.events, start)
				f.Loss = []proto.Loss{{Node: "node1", Reason: proto.LossRing, Unit: proto.UnitRecords, Count: 1}}
				bustest.Enrich(f)
				for j := range f.Events {
					i++
					tt.edit(&f.Events[j], i)
				}
				data, err := f.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, logged{seq, start, data})
			}
			got := play(t, log, func() bool { return false })
			if got.events != i || got.windows.Count() != i || got.losses["node1 ring_full"] != 12 || got.losses["node1 expired"] != 0 {
				t.Errorf("%d events, %d counted, want %d; loss %v", got.events, got.windows.Count(), i, got.losses)
			}
			if got.commits < 2 && tt.events > 40 {
				t.Errorf("only %d commits: the batch was never full", got.commits)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	mark := proto.NodeMark{Epoch: 5, EpochID: "b", Seq: 7, Events: 100}
	frame := func(epoch uint64, id string, seq, before uint64, n int) *proto.Frame {
		return &proto.Frame{Epoch: proto.Epoch{Number: epoch, ID: id}, Seq: seq, Before: before, Events: make([]proto.Event, n)}
	}
	for _, tt := range []struct {
		name  string
		f     *proto.Frame
		known bool
		isNew bool
		done  int
		gap   uint64
	}{
		{"first of a node", frame(1, "a", 1, 0, 3), false, true, 0, 0},
		{"node whose first frames expired", frame(1, "a", 9, 50, 3), false, true, 0, 50},
		{"next", frame(5, "b", 8, 100, 3), true, true, 0, 0},
		{"gap", frame(5, "b", 10, 130, 3), true, true, 0, 30},
		{"gap without events", frame(5, "b", 10, 100, 3), true, true, 0, 0},
		{"again", frame(5, "b", 7, 90, 10), true, false, 0, 0},
		{"long ago", frame(5, "b", 1, 0, 10), true, false, 0, 0},
		{"higher epoch", frame(6, "c", 1, 0, 10), true, true, 0, 0},
		{"higher epoch, first frames expired", frame(6, "c", 3, 20, 10), true, true, 0, 20},
		{"older epoch", frame(4, "a", 99, 1000, 10), true, false, 0, 0},
		{"same number of another writer", frame(5, "x", 8, 100, 10), true, false, 0, 0},
		{"half counted", frame(5, "b", 8, 96, 10), true, true, 4, 0},
	} {
		isNew, done, gap := compare(tt.f, &mark, tt.known)
		if isNew != tt.isNew || done != tt.done || gap != tt.gap {
			t.Errorf("%s: %v, %d, %d; want %v, %d, %d", tt.name, isNew, done, gap, tt.isNew, tt.done, tt.gap)
		}
	}
}

func TestWatermark(t *testing.T) {
	s := testState()
	seq := map[string]uint64{}
	at := uint64(0)
	take := func(node string, logNS, watermark int64) {
		t.Helper()
		seq[node]++
		at++
		f := &proto.Frame{Node: node, Epoch: proto.Epoch{Number: 1, ID: "a"}, Seq: seq[node], WatermarkNS: watermark}
		if !s.take(f, at, logNS) {
			t.Fatal("full")
		}
	}
	check := func(want int64, why string) {
		t.Helper()
		if s.watermark != want {
			t.Errorf("watermark at %+d ms, want %+d: %s", (s.watermark-start)/1e6, (want-start)/1e6, why)
		}
	}
	take("a", start, start-second)
	check(start-second, "one node")
	take("b", start, start-3*second)
	check(start-second, "it never goes back")
	take("a", start+5*second, start+4*second)
	check(start-second, "b was heard from 5 s ago and holds it back")
	take("b", start+6*second, start+2*second)
	check(start+2*second, "the least of both")
	take("a", start+17*second, start+16*second)
	check(start+16*second, "b is silent for 11 s")
	take("b", start+18*second, start-20*second)
	check(start+16*second, "b is too far behind")
	take("a", start+19*second, start+100*second)
	check(start+49*second, "30 s ahead of the log at most")
	if want := windowStart(start + 47*second); committedThrough(s.watermark) != want || !s.due() {
		t.Errorf("committed through %d, want %d", committedThrough(s.watermark), want)
	}
	s.committed()
	if s.due() {
		t.Error("due right after a commit")
	}
}

func TestFutureAndLateEvents(t *testing.T) {
	s := testState()
	f := bustest.NewLoad("node1", proto.Epoch{Number: 1, ID: "a"}, 1).Next(2, start)
	f.Events[0].EndNS, f.Events[0].StartNS = start+3600*second, start+3599*second
	f.Events[1].EndNS, f.Events[1].StartNS = start-86400*second, start-86401*second
	if !s.take(f, 1, start) {
		t.Fatal("full")
	}
	windows := map[int64]bool{}
	for k := range s.batch.series {
		windows[k.window] = true
	}
	if len(windows) != 2 || !windows[windowStart(start+maxAhead)] || !windows[windowStart(start-86400*second)] {
		t.Errorf("windows %v", windows)
	}
}

func TestForgetNodes(t *testing.T) {
	s := testState()
	s.logNS = start
	for i := range maxNodes + 10 {
		s.nodes[fmt.Sprint("n", i)] = proto.NodeMark{SeenNS: start - int64(i)}
	}
	s.nodes["gone"] = proto.NodeMark{SeenNS: start - 25*3600*second}
	s.forget()
	if _, ok := s.nodes["n0"]; len(s.nodes) != maxNodes || !ok {
		t.Errorf("%d nodes", len(s.nodes))
	}
}

// The exemplars of the sum are those of the deltas, however events are spread.
func TestExemplarsDoNotDependOnOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	events := make([]proto.Event, 50)
	for i := range events {
		end := start + int64(r.IntN(3))
		events[i] = proto.Event{
			EndNS: end, StartNS: end - int64(r.IntN(5)), TraceID: fmt.Sprintf("%032x", r.IntN(20)), SpanID: fmt.Sprintf("%016x", i),
		}
	}
	var want []proto.Exemplar
	for range 20 {
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		var s series
		for i := range events {
			s.add(&events[i], events[i].EndNS, false)
		}
		if want == nil {
			want = s.exemplars
		}
		if len(s.exemplars) != proto.MaxExemplars || fmt.Sprint(s.exemplars) != fmt.Sprint(want) {
			t.Fatalf("exemplars %v, want %v", s.exemplars, want)
		}
	}
}
