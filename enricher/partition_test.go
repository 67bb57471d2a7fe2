package enricher

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

func setUp(t *testing.T) (*bustest.Server, *bus.Conn) {
	t.Helper()
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	return s, c
}

// agent publishes frames on a node's lane.
type agent struct {
	t    *testing.T
	lane *bus.Lane
	load *bustest.Load
	seq  uint64
}

func newAgent(t *testing.T, c *bus.Conn, node string) *agent {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, node), Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	return &agent{t: t, lane: lane, load: bustest.NewLoad(node, lane.Epoch(), 1)}
}

func (a *agent) send(data []byte) {
	a.t.Helper()
	a.seq++
	if _, err := a.lane.Publish(a.t.Context(), data, a.seq, 0, 0); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) publish(f *proto.Frame) {
	a.t.Helper()
	data, err := f.Append(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.send(data)
}

func plain(*neighbours) Namer { return newHost() }

// run enriches partition 0 until stop is called.
func run(t *testing.T, c *bus.Conn) (m *metrics, stop func()) {
	t.Helper()
	m = newMetrics(prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- enrich(ctx, Config{Bus: c, NewNamer: plain}, m, discard, 0) }()
	return m, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func enriched(t *testing.T, c *bus.Conn) []bus.Message {
	t.Helper()
	return bustest.ReadAll(t, c, proto.StreamEnriched, proto.SubjectsEnriched)
}

func waitFor(t *testing.T, c *bus.Conn, n int) []bus.Message {
	t.Helper()
	var got []bus.Message
	bustest.Eventually(t, func() bool {
		got = enriched(t, c)
		return len(got) >= n
	}, "%d frames are not enriched", n)
	return got
}

// Four enrichers on one partition at once, without a lease, each stopped and
// started at random: each frame is stored once, in order.
func TestRivalsStoreEachFrameOnce(t *testing.T) {
	s, c := setUp(t)
	const n = 500
	ctx, cancel := context.WithCancel(t.Context())
	var rivals sync.WaitGroup
	refused := 0
	var mu sync.Mutex
	for range 4 {
		conn := bustest.Connect(t, s.URL)
		rivals.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, rand.N(time.Second))
				err := enrich(life, Config{Bus: conn, NewNamer: plain}, newMetrics(prometheus.NewRegistry()), discard, 0)
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
	a := newAgent(t, c, "node1")
	for range n {
		a.publish(a.load.Next(20, time.Now().UnixNano()))
	}
	got := waitFor(t, c, n)
	cancel()
	rivals.Wait()
	var f proto.Frame
	for i, m := range got {
		if err := f.Decode(m.Data); err != nil {
			t.Fatal(err)
		}
		if m.Src != uint64(i+1) || f.Seq != m.Src || !f.Enriched || len(f.Events) != 20 || f.Epoch != a.lane.Epoch() || m.Count != 20 {
			t.Fatalf("message %d: src %d, frame %d with %d events of epoch %v", i+1, m.Src, f.Seq, len(f.Events), f.Epoch)
		}
	}
	if len(got) != n {
		t.Errorf("%d frames, want %d", len(got), n)
	}
	if refused == 0 {
		t.Error("no enricher was refused: the test shows nothing")
	}
}

// A frame whose other ends are seen in the node's next frame waits for it; if
// that doesn't come, it goes when it is a second old.
func TestFramesWaitForNames(t *testing.T) {
	_, c := setUp(t)
	m, stop := run(t, c)
	a := newAgent(t, c, "node1")
	both := a.load.Next(2, time.Now().UnixNano())
	server, client := *both, *a.load.Next(0, time.Now().UnixNano())
	server.Events, client.Events = both.Events[:1], both.Events[1:]
	a.publish(&server)
	a.publish(&client)
	var f proto.Frame
	for i, msg := range waitFor(t, c, 2) {
		if err := f.Decode(msg.Data); err != nil {
			t.Fatal(err)
		}
		if e := &f.Events[0]; e.From.Kind != kindUnit || e.To.Kind != kindUnit || e.Flags&proto.FlagUnresolved != 0 {
			t.Errorf("frame %d: %+v → %+v", i+1, e.From, e.To)
		}
	}
	alone := a.load.Next(0, time.Now().UnixNano())
	alone.Events = []proto.Event{seen(proto.SideClient, curl, "127.0.0.1:1", "127.0.0.1:2", 0)}
	sent := time.Now()
	a.publish(alone)
	got := waitFor(t, c, 3)
	if waited := got[2].Time.Sub(sent); waited < patience/2 {
		t.Errorf("waited for %v only", waited)
	}
	stop()
	if count(t, m.unresolved) != 1 || count(t, m.events) != 3 {
		t.Errorf("unresolved %v, events %v", count(t, m.unresolved), count(t, m.events))
	}
}

// What can't be decoded is left out and counted, and does not stop others.
func TestUndecodable(t *testing.T) {
	_, c := setUp(t)
	m, stop := run(t, c)
	a := newAgent(t, c, "node1")
	a.publish(a.load.Next(2, time.Now().UnixNano()))
	a.send([]byte("no frame"))
	a.publish(a.load.Next(2, time.Now().UnixNano()))
	got := waitFor(t, c, 2)
	stop()
	if len(got) != 2 || got[1].Src != 3 || count(t, m.undecodable) != 1 {
		t.Errorf("%d frames, undecodable %v", len(got), count(t, m.undecodable))
	}
}

// A raw stream that was made anew is read from its beginning.
func TestInputMadeAnew(t *testing.T) {
	s, c := setUp(t)
	_, stop := run(t, c)
	a := newAgent(t, c, "node1")
	for range 5 {
		a.publish(a.load.Next(2, time.Now().UnixNano()))
	}
	waitFor(t, c, 5)
	stop()
	bustest.DeleteStream(t, s.URL, proto.StreamRaw)
	bustest.Provision(t, c, 1, 1)
	b := newAgent(t, c, "node1")
	for range 7 { // more than before
		b.publish(b.load.Next(2, time.Now().UnixNano()))
	}
	_, stop = run(t, c)
	got := waitFor(t, c, 12)
	stop()
	if got[5].Src != 1 || got[11].Src != 7 {
		t.Errorf("sources %d, %d", got[5].Src, got[11].Src)
	}
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
