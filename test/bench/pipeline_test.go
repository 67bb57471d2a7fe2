package bench

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/rig"
)

func connect(t *testing.T, url string) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), bus.Options{URL: url, Name: "bench"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// node publishes frames as an agent does.
type node struct {
	lane   *bus.Lane
	frame  *proto.Frame
	events []byte
	buf    []byte
}

func newNode(t *testing.T, c *bus.Conn) *node {
	t.Helper()
	f := frame(false)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, f.Node), Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	f.Epoch, f.Seq = lane.Epoch(), 0
	events, err := f.AppendEvents(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &node{lane: lane, frame: f, events: events}
}

// publish sends a full frame; the last one has a watermark that ends its window.
func (n *node) publish(t *testing.T, last bool) {
	t.Helper()
	f := n.frame
	f.Seq++
	f.WatermarkNS = time.Now().UnixNano()
	if last {
		f.WatermarkNS += int64(15 * time.Second)
	}
	var err error
	if n.buf, err = f.AppendHead(n.buf[:0], len(f.Events)); err != nil {
		t.Fatal(err)
	}
	n.buf = append(n.buf, n.events...)
	if _, err := n.lane.Publish(t.Context(), n.buf, f.Seq, 0, len(f.Events)); err != nil {
		t.Fatal(err)
	}
	f.Before += uint64(len(f.Events))
}

// committed polls until the node's last frame is in a commit.
func (n *node) committed(t *testing.T, c *bus.Conn) {
	t.Helper()
	rig.Eventually(t, 2*time.Minute, "last frame committed", func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.CommitSubject(0))
		if err != nil || len(last) == 0 {
			return false
		}
		commit, err := proto.DecodeCommit(last[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		mark := commit.Nodes[n.frame.Node]
		return mark.Seq == n.frame.Seq && mark.EpochID == n.frame.Epoch.ID
	})
}

// services measures enricher, aggregator and nats-server, a process each, with
// file storage.
func services(t *testing.T, out *table) {
	start := func() (*rig.Cluster, *bus.Conn) {
		c := machine.Idle(t)
		c.Services[0].Start() // one enricher
		c.Services[2].Start() // one aggregator
		return c, connect(t, c.URL)
	}
	c, conn := start()
	// The slow ones say what idling costs.
	perEvent := map[int]time.Duration{}
	rates := []int{1_000, 10_000, 100_000, 1_000_000}
	for _, rate := range rates {
		n := newNode(t, conn)
		perEvent[rate] = costAt(t, c, conn, n, rate)
	}
	growth := float64(perEvent[1_000_000]) / float64(perEvent[1_000])
	out.atMost(fmt.Sprintf("CPU per event at 1 M events/s against 1 k (%v, %v, %v, %v)",
		perEvent[rates[0]], perEvent[rates[1]], perEvent[rates[2]], perEvent[rates[3]]), growth, 1, "%.2f")

	// A watermark never goes back, and those above are ahead: streams of its own.
	c.Stop()
	c, conn = start()
	n := newNode(t, conn)
	frames := 2_000
	if !full() {
		frames = 200
	}
	began := time.Now()
	for i := range frames {
		n.publish(t, i == frames-1)
	}
	n.committed(t, conn)
	events := float64(frames * proto.MaxFrameEvents)
	out.atLeast("raw → enriched → latency, events/s", events/time.Since(began).Seconds(), 1e6, "%.0f")

	c.Services[0].Kill() // reading alone
	c.Services[2].Kill()
	began = time.Now()
	count := 0
	var f proto.Frame
	read(t, conn, proto.StreamEnriched, proto.SubjectsEnriched, func(b []byte) {
		if err := f.Decode(b); err != nil {
			t.Fatal(err)
		}
		count += len(f.Events)
	})
	out.atLeast("replay of enriched events, events/s", float64(count)/time.Since(began).Seconds(), 2e6, "%.0f")
}

// costAt publishes at a rate and returns the CPU of all services per event.
func costAt(t *testing.T, c *rig.Cluster, conn *bus.Conn, n *node, rate int) time.Duration {
	t.Helper()
	cpu := func() (sum time.Duration) {
		for _, p := range []*rig.Process{c.NATS, c.Services[0], c.Services[2]} {
			sum += p.CPU()
		}
		return sum
	}
	frames := max(int(spell().Seconds()*float64(rate)/proto.MaxFrameEvents), 1)
	every := time.Duration(float64(time.Second) * proto.MaxFrameEvents / float64(rate))
	before := cpu()
	for i, start := 0, time.Now(); i < frames; i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i) * every)))
		n.publish(t, i == frames-1)
	}
	n.committed(t, conn)
	return (cpu() - before) / time.Duration(frames*proto.MaxFrameEvents)
}

// read gives every message of a stream.
func read(t *testing.T, c *bus.Conn, stream, subjects string, handle func([]byte)) {
	t.Helper()
	for m, err := range c.Messages(t.Context(), bus.ReadConfig{Stream: stream, Subjects: []string{subjects}, StopAtEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		handle(m.Data)
	}
}

const (
	workloads = 100
	series    = 10 // of each
)

// latencyStream fills WEIR_LATENCY with 1,000 series of windows, and measures
// what they take on disk and how fast they are read again.
func latencyStream(t *testing.T, out *table) {
	c := machine.Idle(t)
	conn := connect(t, c.URL)
	lane, err := conn.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0)})
	if err != nil {
		t.Fatal(err)
	}
	windows := 100
	if !full() {
		windows = 10
	}
	record, err := proto.EncodeCommit(&proto.Commit{V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: 1, Messages: workloads})
	if err != nil {
		t.Fatal(err)
	}
	values := frame(false)
	for w := range windows {
		var parts []bus.Part
		for i := range workloads {
			parts = append(parts, window(t, values, w, i))
		}
		if _, err := lane.Commit(t.Context(), parts, record, uint64(w+1), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	perWindow := float64(diskUse(t, c.Dir)) / float64(windows)
	out.atMost("24 h of 1,000 series on disk, GB", perWindow*8640/1e9, 3, "%.2f")

	start, count := time.Now(), 0
	sums := map[string]*histogram.Histogram{}
	read(t, conn, proto.StreamLatency, proto.SubjectsLatency, func(b []byte) {
		m, err := proto.DecodeLatency(b)
		if err != nil {
			t.Fatal(err)
		}
		count++
		if sums[m.Workload] == nil {
			sums[m.Workload] = &histogram.Histogram{}
		}
		for i := range m.Points {
			sums[m.Workload].Merge(&m.Points[i].Hist)
		}
	})
	out.atLeast(fmt.Sprintf("replay of latency messages of %d series, decoded and merged, messages/s", series),
		float64(count)/time.Since(start).Seconds(), 20_000, "%.0f")
}

// window is a workload's message of one window: 60 requests a series.
func window(t *testing.T, values *proto.Frame, w, workload int) bus.Part {
	t.Helper()
	m := &proto.Latency{V: 1, Namespace: "host", Workload: fmt.Sprintf("workload-%d", workload), WorkloadKind: "unit", Commit: uint64(w + 1)}
	for i := range series {
		p := proto.Point{
			StartNS: int64(w) * proto.WindowNS, WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
			Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: fmt.Sprintf("/route-%d/{id}", i), proto.AttrStatus: "200"},
			Peer:  &proto.Peer{Namespace: "host", Workload: "front end", WorkloadKind: "unit"},
		}
		p.Parts.Wait = &histogram.Histogram{}
		for k := range 60 {
			e := &values.Events[(w*7919+workload*613+i*61+k)%len(values.Events)]
			p.Hist.Record(e.DurationNS())
			p.Parts.Wait.Record(e.WaitNS)
			p.Parts.WaitNS += e.WaitNS
			p.Parts.ProcessingNS += e.ProcessingNS
			p.Parts.TransferNS += e.TransferNS
			if k < 2 {
				p.Exemplars = append(p.Exemplars, proto.Exemplar{ValueNS: e.DurationNS(), TimeNS: p.StartNS + int64(k)})
			}
		}
		m.Points = append(m.Points, p)
	}
	b, err := proto.EncodeLatency(m)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Part{Subject: proto.LatencySubject(m.Namespace, m.Workload), Data: b}
}

// diskUse is the size of all files of a folder.
func diskUse(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return nil // a file may be gone by now
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// lateness listens to the live messages. What it returns stops, and gives the
// 99th percentile, by requests, of seconds from a window's end to its message.
func lateness(t *testing.T, url string) func() float64 {
	t.Helper()
	conn := connect(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	var lags []float64
	listening.Add(1)
	go func() {
		defer listening.Done()
		err := conn.Subscribe(ctx, proto.StreamLatency, proto.SubjectsLive, func(m bus.Message) {
			latency, err := proto.DecodeLatency(m.Data)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range latency.Points {
				p := &latency.Points[i]
				lag := time.Since(time.Unix(0, p.StartNS+p.WindowNS)).Seconds()
				lags = append(lags, slices.Repeat([]float64{lag}, int(p.Hist.Count))...)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}()
	return func() float64 {
		cancel()
		listening.Wait()
		if len(lags) == 0 {
			t.Fatal("nothing was heard live")
		}
		slices.Sort(lags)
		return lags[min(len(lags)*99/100, len(lags)-1)]
	}
}
