package bustest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// intruder holds an agent's credentials: he may publish to agents' lanes, ask
// for a message of one, and have the answer sent wherever he likes.
type intruder struct {
	*testing.T
	nc *nats.Conn
	c  *bus.Conn
}

// put publishes a message to a subject and waits until it is stored.
func (i *intruder) put(subject string, data []byte, header nats.Header) {
	i.Helper()
	m := nats.NewMsg(subject)
	m.Data, m.Header = data, header
	if _, err := i.nc.RequestMsg(m, bustest.Timeout); err != nil {
		i.Fatal(err)
	}
}

// copied puts a message of his making on a subject that he may not publish to.
func (i *intruder) copied(stream, subject string, data []byte, header nats.Header) {
	i.Helper()
	own := proto.RawSubject(0, "intruder")
	i.put(own, data, header)
	before, err := i.c.LastSequence(i.Context(), stream, subject)
	if err == nil {
		err = i.nc.PublishRequest("$JS.API.DIRECT.GET.WEIR_RAW."+own, subject, nil)
	}
	if err != nil {
		i.Fatal(err)
	}
	bustest.Eventually(i.T, func() bool {
		last, err := i.c.LastSequence(i.Context(), stream, subject)
		return err == nil && last > before
	}, "the copy does not arrive on %s", subject)
}

// junk puts on every lane, and among the latencies, what would count, or stop
// somebody, if it were taken for a message of the lane's writer.
func (i *intruder) junk(seq uint64) {
	i.Helper()
	lane := nats.Header{
		proto.HeaderEpoch: {"18446744073709551615-x"}, proto.HeaderSeq: {"1"}, proto.HeaderSrc: {"18446744073709551615"}, proto.HeaderCount: {"20"},
	}
	epoch := proto.Epoch{Number: 1 << 40, ID: "00c0ffee00c0ffee"}
	now := time.Now().UnixNano()
	frame := func(node string, enriched bool) []byte {
		f := bustest.NewLoad(node, epoch, seq).Next(20, now)
		if enriched {
			bustest.Enrich(f)
		}
		data, err := f.Append(nil)
		if err != nil {
			i.Fatal(err)
		}
		return data
	}
	must := func(data []byte, err error) []byte {
		i.Helper()
		if err != nil {
			i.Fatal(err)
		}
		return data
	}
	genuine := nats.Header{
		"Nats-Expected-Stream": {proto.StreamRaw}, proto.HeaderEpoch: {epoch.String()}, proto.HeaderSeq: {"1"}, proto.HeaderCount: {"20"},
	}
	node1 := proto.RawSubject(0, "node1")
	i.put(proto.RawSubject(0, "node2"), frame("node1", false), genuine) // of another node
	i.put(node1, frame("node2", false), genuine)
	i.put(node1, frame("node1", false), nil) // without a header
	i.put(node1, []byte("no frame"), nats.Header{proto.HeaderEpoch: {"broken"}})
	i.put(node1, nil, nats.Header{"Status": {"409"}})
	i.copied(proto.StreamRaw, node1, frame("node1", false), lane)
	i.copied(proto.StreamEnriched, proto.EnrichedSubject(0), frame("node1", true), lane)
	i.copied(proto.StreamEnriched, proto.EnrichedSubject(0), []byte("no frame"), nil)
	i.copied(proto.StreamLatency, proto.CommitSubject(0), must(proto.EncodeCommit(&proto.Commit{
		V: proto.LatencyVersion, Seq: 1 << 40, Position: proto.Position{Seq: 1 << 40}, WatermarkNS: now + 1e15, Events: 20,
		Loss: []proto.Loss{{Node: "node1", StartNS: now, Reason: proto.LossRing, Unit: proto.UnitExchanges, Count: 1e6}},
	})), lane)
	i.copied(proto.StreamLatency, proto.CommitSubject(0), []byte("no record"), nil)
	i.copied(proto.StreamLatency, proto.LatencySubject(proto.NamespaceHost, "cart"), []byte("no latency"), lane)
}

// TestJunkChangesNothing: whatever somebody with an agent's credentials puts
// on the lanes, before, while and between services run, the counts are those of
// the agents, nothing stands still, and it is counted.
func TestJunkChangesNothing(t *testing.T) {
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	nc, err := nats.Connect(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	i := &intruder{t, nc, c}
	a, b := newAgent(t, c, "node1", 1), newAgent(t, c, "node3", 3)
	metrics := prometheus.NewRegistry()
	begin := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var g errgroup.Group
		registry := prometheus.NewRegistry()
		if metrics != nil {
			registry, metrics = metrics, nil // the first ones' are looked at
		}
		g.Go(func() error {
			return enricher.Run(ctx, enricher.Config{Bus: bustest.Connect(t, s.URL), Holder: "a", Registry: registry}, discard)
		})
		g.Go(func() error {
			return aggregator.Run(ctx, aggregator.Config{Bus: bustest.Connect(t, s.URL), Holder: "a", CommitEvery: 100 * time.Millisecond, Registry: prometheus.NewRegistry()}, discard)
		})
		return func() {
			t.Helper()
			cancel()
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
	events, at := uint64(0), time.Now().Add(-time.Minute).UnixNano()
	send := func(n int) {
		t.Helper()
		for range n {
			at += 1e8
			if err := a.publish(t.Context(), 20, at); err != nil {
				t.Fatal(err)
			}
			events += 20
		}
	}
	watched := metrics
	if err := b.publish(t.Context(), 0, at); err != nil {
		t.Fatal(err)
	}
	send(5)
	i.junk(1)
	stop := begin()
	send(5)
	i.junk(2)
	send(5)
	waitCommitted(t, c)
	i.junk(3)
	stop()
	i.junk(4)
	send(5)
	a = newAgentAfter(t, c, a)
	send(5)
	stop = begin()
	// A frame of the rightful agent that nobody can read is lost, and the ledger says so.
	lost := b.load.Next(10, at)
	b.seq++
	if _, err := b.lane.Publish(t.Context(), []byte("of a later version"), b.seq, 0, len(lost.Events)); err != nil {
		t.Fatal(err)
	}
	if err := b.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitCommitted(t, c)
	stop()

	a.load.Want().Check(t, bustest.ReadWindows(t, c).WithoutPeers())
	ledger, err := query.ReadLedger(t.Context(), c, query.Between(time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range ledger.Accounts {
		delivered, missing := events, uint64(0)
		if account.Node == "node3" {
			delivered, missing = 0, 10
		}
		if account.Delivered != delivered || account.Sum(proto.UnitExchanges) != missing || account.InFlight != 0 {
			t.Errorf("%+v: want %d delivered, %d lost", *account, delivered, missing)
		}
	}
	if len(ledger.Accounts) != 2 {
		t.Errorf("%d nodes have an account", len(ledger.Accounts))
	}
	families, err := watched.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_enricher_foreign_total" && f.GetMetric()[0].GetCounter().GetValue() >= 16 {
			return
		}
	}
	t.Error("the enricher has not counted what it left out")
}

// newAgentAfter is a new life of an agent, with the load of the one before.
func newAgentAfter(t *testing.T, c *bus.Conn, old *agent) *agent {
	t.Helper()
	a := newAgent(t, c, old.load.Node, 99)
	a.load.Add(old.load.Want())
	return a
}
