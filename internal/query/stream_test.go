package query

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// streams is a server with Weir's streams, and the three lanes of one node.
type streams struct {
	*testing.T
	conn                  *bus.Conn
	raw, enriched, commit *bus.Lane
	epoch                 proto.Epoch
	frames                uint64 // sent in the epoch
	commits               uint64
	before                uint64
}

const (
	mib  = 1 << 20
	node = "n1"
)

func newStreams(t *testing.T) *streams {
	server := bustest.Start(t)
	c, err := bus.Connect(t.Context(), bus.Options{URL: server.URL, Name: t.Name()}, bustest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Provision(t.Context(), bus.Layout{RawBytes: 8 * mib, EnrichedBytes: 8 * mib, LatencyBytes: 8 * mib, RollupBytes: 8 * mib, HistoryBytes: 8 * mib}); err != nil {
		t.Fatal(err)
	}
	s := &streams{T: t, conn: c, epoch: proto.Epoch{Number: 1, ID: "0123456789abcdef"}}
	s.raw = s.lane(proto.StreamRaw, proto.RawSubject(0, node), false)
	s.enriched = s.lane(proto.StreamEnriched, proto.EnrichedSubject(0), true)
	s.commit = s.lane(proto.StreamLatency, proto.CommitSubject(0), true)
	return s
}

func (s *streams) lane(stream, subject string, input bool) *bus.Lane {
	l, err := s.conn.OpenLane(s.Context(), bus.LaneConfig{Stream: stream, Subject: subject, Input: input})
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// restart begins a new epoch of the agent.
func (s *streams) restart() {
	s.epoch.Number++
	s.frames, s.before = 0, 0
	s.raw = s.lane(proto.StreamRaw, proto.RawSubject(0, node), false)
}

// publish sends a raw frame of n events that end now and returns its sequence.
func (s *streams) publish(n int) uint64 {
	s.Helper()
	s.frames++
	f := s.frame(n)
	data, err := f.Append(nil)
	if err != nil {
		s.Fatal(err)
	}
	s.before += uint64(n)
	seq, err := s.raw.Publish(s.Context(), data, s.frames, 0, n)
	if err != nil {
		s.Fatal(err)
	}
	return seq
}

func (s *streams) frame(n int) *proto.Frame {
	f := &proto.Frame{Node: node, Agent: "v0.1.0", Epoch: s.epoch, Seq: s.frames, Before: s.before, WatermarkNS: time.Now().UnixNano()}
	for range n {
		f.Events = append(f.Events, proto.Event{Side: proto.SideServer, Protocol: "http", EndNS: f.WatermarkNS, StartNS: f.WatermarkNS})
	}
	return f
}

// enrich sends a frame for a raw one.
func (s *streams) enrich(src uint64) uint64 {
	s.Helper()
	data, err := s.frame(0).Append(nil)
	if err != nil {
		s.Fatal(err)
	}
	seq, err := s.enriched.Publish(s.Context(), data, src, src, 0)
	if err != nil {
		s.Fatal(err)
	}
	return seq
}

// count commits n events; change completes the record.
func (s *streams) count(n uint64, change func(*proto.Commit)) {
	s.Helper()
	s.commits++
	c := &proto.Commit{
		V: 1, Epoch: s.commit.Epoch().Number, EpochID: s.commit.Epoch().ID, Seq: s.commits, Events: n,
		WatermarkNS: time.Now().UnixNano(), LogNS: time.Now().UnixNano(), Position: proto.Position{Seq: 1},
		Nodes: map[string]proto.NodeMark{node: {Epoch: s.epoch.Number, EpochID: s.epoch.ID, Seq: s.frames, Events: s.before}},
	}
	if change != nil {
		change(c)
	}
	data, err := proto.EncodeCommit(c)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.commit.Commit(s.Context(), nil, data, s.commits, c.Position.Seq, int(n)); err != nil {
		s.Fatal(err)
	}
}

func (s *streams) covers(at time.Time) bool {
	s.Helper()
	p, err := ReadProgress(s.Context(), s.conn)
	if err != nil {
		s.Fatal(err)
	}
	return p.covers(s.Context(), s.conn, at.UnixNano())
}

func TestCompleteByWatermark(t *testing.T) {
	s := newStreams(t)
	now := time.Now()
	if !s.covers(now) {
		t.Error("empty streams hold nothing that isn't counted")
	}
	s.enrich(s.publish(3))
	if s.covers(now) {
		t.Error("a frame that no commit counts, and complete")
	}
	s.count(3, func(c *proto.Commit) { c.WatermarkNS = now.Add(Settled - 1).UnixNano() })
	if s.covers(now) {
		t.Error("complete a nanosecond too early")
	}
	s.count(0, func(c *proto.Commit) { c.WatermarkNS = now.Add(Settled).UnixNano() })
	if !s.covers(now) {
		t.Error("the watermark is past the time, and not complete")
	}
}

// A partition that was idle may have new input: it is complete only if all of
// it was read.
func TestCompleteByIdle(t *testing.T) {
	s := newStreams(t)
	idle := func(c *proto.Commit) { c.Idle, c.WatermarkNS, c.Position.Seq = true, 1, s.frames+1 }
	s.enrich(s.publish(3))
	s.count(3, idle)
	if !s.covers(time.Now()) {
		t.Error("idle and everything read, and not complete")
	}
	raw := s.publish(2)
	if s.covers(time.Now()) {
		t.Error("a raw frame waits for the enricher, and complete")
	}
	s.enrich(raw)
	if s.covers(time.Now()) {
		t.Error("an enriched frame waits for the aggregator, and complete")
	}
	s.count(2, idle)
	if !s.covers(time.Now()) {
		t.Error("idle again, and not complete")
	}
}

func TestStages(t *testing.T) {
	s := newStreams(t)
	s.enrich(s.publish(1))
	s.publish(1)
	s.count(0, func(c *proto.Commit) { c.Position.Seq = 1 })
	stages, err := ReadStages(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	got := stages[0]
	if len(stages) != 1 || got.RawLast != 2 || got.RawEnriched != 1 || got.EnrichedLast != 1 || got.Counted != 0 {
		t.Errorf("stages are %+v", stages)
	}
	if got.Unenriched.IsZero() || got.Uncounted.IsZero() || time.Since(got.Agents[node].Heard) > time.Minute || got.Agents[node].Version != "v0.1.0" {
		t.Errorf("stages are %+v", stages)
	}
}

func TestLedger(t *testing.T) {
	s := newStreams(t)
	began := time.Now()
	s.publish(10)
	s.count(10, func(c *proto.Commit) {
		c.Loss = []proto.Loss{{Node: node, Reason: proto.LossRing, Unit: proto.UnitExchanges, Count: 3}}
	})
	// Five more of the first epoch and seven of the next one, in one commit.
	s.publish(5)
	s.restart()
	s.publish(7)
	s.count(12, func(c *proto.Commit) { c.Duplicates = 4 })
	// Four expire unread, six are counted.
	s.publish(4)
	s.publish(6)
	s.count(6, func(c *proto.Commit) {
		c.Loss = []proto.Loss{{Node: node, Reason: proto.LossExpired, Unit: proto.UnitExchanges, Count: 4}}
	})
	s.publish(2) // on its way

	l, err := ReadLedger(t.Context(), s.conn, Between(began.Add(-time.Minute), time.Now().Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Accounts) != 1 {
		t.Fatalf("%d accounts", len(l.Accounts))
	}
	a := l.Accounts[0]
	got := fmt.Sprint(a.Generated, a.Delivered, a.InFlight, a.Sum(proto.UnitExchanges), l.Delivered, l.Duplicates, l.Balanced())
	if want := fmt.Sprint(37, 28, 2, 7, 28, 4, true); got != want {
		t.Errorf("generated, delivered, in flight, lost, counted, duplicates, balanced: %s, want %s", got, want)
	}
	if a.Generated != a.Delivered+a.InFlight+a.Sum(proto.UnitExchanges) {
		t.Errorf("doesn't add up: %+v", a)
	}
}

func TestLedgerSeesWhatIsMissing(t *testing.T) {
	s := newStreams(t)
	s.publish(10)
	s.count(9, nil)
	l, err := ReadLedger(t.Context(), s.conn, Between(time.Now().Add(-time.Minute), time.Now().Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Balanced() {
		t.Error("ten were published, nine counted, none lost: and balanced")
	}
}

func TestWatchShowsEveryCommit(t *testing.T) {
	s := newStreams(t)
	ctx, cancel := context.WithTimeout(t.Context(), bustest.Timeout)
	defer cancel()
	shown := make(chan *Result)
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, s.conn, Options{Now: time.Now()}, time.Minute, func(r *Result) error {
			shown <- r
			if len(r.Losses) > 1 {
				return context.Canceled
			}
			return nil
		})
	}()
	if r := <-shown; len(r.Losses) != 0 {
		t.Errorf("%d losses at the start", len(r.Losses))
	}
	for want := range 2 {
		s.count(0, func(c *proto.Commit) {
			c.Loss = []proto.Loss{{Node: node, StartNS: time.Now().UnixNano(), Reason: proto.LossRing, Unit: proto.UnitExchanges, Count: 1}}
		})
		if r := <-shown; len(r.Losses) != want+1 {
			t.Errorf("%d losses, want %d", len(r.Losses), want+1)
		}
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
}
