package promql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/prometheus/promql"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// counted is one workload's requests by window, in WEIR_LATENCY and as far as
// told in WEIR_ROLLUP.
type counted struct {
	*testing.T
	conn            *bus.Conn
	latency, rollup *bus.Lane
	commits         uint64
	now             time.Time
	windows         map[int64]int // requests by start
	lost            []proto.Loss
}

func newCounted(t *testing.T) *counted {
	c := bustest.Connect(t, bustest.Start(t).URL)
	bustest.Provision(t, c, 1, 1)
	open := func(stream, subject string) *bus.Lane {
		l, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: stream, Subject: subject, Input: true})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	return &counted{
		T: t, conn: c, now: time.Now(), windows: map[int64]int{},
		latency: open(proto.StreamLatency, proto.CommitSubject(0)), rollup: open(proto.StreamRollup, proto.SubjectRollupCommit),
	}
}

// message is a workload's deltas of a width: requests by start.
func (c *counted) message(width int64, deltas map[int64]int) bus.Part {
	l := &proto.Latency{V: 1, Namespace: "shop", Workload: "cart", WorkloadKind: "Deployment", Commit: 1}
	for start, n := range deltas {
		p := proto.Point{StartNS: start, WindowNS: width, Metric: proto.MetricHTTPServer, Side: proto.SideServer, Attrs: map[string]string{proto.AttrMethod: "GET"}}
		for range n {
			p.Hist.Record(5e6)
		}
		l.Points = append(l.Points, p)
	}
	data, err := proto.EncodeLatency(l)
	if err != nil {
		c.Fatal(err)
	}
	if width == proto.RollupNS {
		return bus.Part{Subject: proto.Minutes.Subject(l.Namespace, l.Workload), Data: data}
	}
	return bus.Part{Subject: proto.LatencySubject(l.Namespace, l.Workload), Data: data}
}

func (c *counted) commit(lane *bus.Lane, part bus.Part, position uint64, loss ...proto.Loss) {
	info, err := c.conn.StreamInfo(c.Context(), proto.StreamLatency)
	if err != nil {
		c.Fatal(err)
	}
	c.commits++
	record := &proto.Commit{
		V: 1, Epoch: 1, EpochID: "a", Seq: c.commits, Position: proto.Position{Seq: position}, InputCreatedNS: info.Created.UnixNano(),
		LogNS: c.now.UnixNano(), WatermarkNS: c.now.UnixNano(), Loss: loss,
	}
	data, err := proto.EncodeCommit(record)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := lane.Commit(c.Context(), []bus.Part{part}, data, c.commits, max(position, 1), 1); err != nil {
		c.Fatal(err)
	}
}

// add commits a request more in each window than in the one before, round and
// round, from one time ago to another.
func (c *counted) add(from, to time.Duration) {
	deltas := map[int64]int{}
	start := c.now.Add(-from).Truncate(10 * time.Second)
	for n := 0; start.Before(c.now.Add(-to)); n++ {
		deltas[start.UnixNano()] = 1 + n%7
		c.windows[start.UnixNano()] += 1 + n%7
		start = start.Add(10 * time.Second)
	}
	loss := proto.Loss{Node: "n1", Reason: "ring_full", Unit: "exchanges", StartNS: c.now.Add(-from).UnixNano(), Count: 3}
	c.lost = append(c.lost, loss)
	c.commit(c.latency, c.message(proto.WindowNS, deltas), 1, loss)
}

// rollUp rolls up what there is.
func (c *counted) rollUp() {
	minutes := map[int64]int{}
	for start, n := range c.windows {
		minutes[start-start%proto.RollupNS] += n
	}
	info, err := c.conn.StreamInfo(c.Context(), proto.StreamLatency)
	if err != nil {
		c.Fatal(err)
	}
	c.commit(c.rollup, c.message(proto.RollupNS, minutes), info.LastSeq+1, c.lost...)
}

// check compares the counter with the truth, each minute of the past and each ten
// seconds of the last ones.
func (c *counted) check() {
	c.Helper()
	engine := promql.New(promql.Streams{Conn: c.conn, Now: func() time.Time { return c.now }}, 1)
	for _, expr := range []string{"http_server_request_duration_seconds_count", "histogram_count(http_server_request_duration_seconds)"} {
		end := c.now.Truncate(time.Minute)
		r, err := engine.Range(c.Context(), expr, end.Add(-90*time.Minute), end, time.Minute)
		if err != nil {
			c.Fatal(err)
		}
		points := r.Value.(prom.Matrix)[0].Floats
		if len(points) < 60 {
			c.Fatalf("%s has %d points", expr, len(points))
		}
		for _, p := range points {
			if want := c.before(p.T * 1e6); p.F != want {
				c.Errorf("%s is %v %s ago, want %v", expr, p.F, c.now.Sub(time.UnixMilli(p.T)), want)
			}
		}
	}
	// A rate looks at less of the past, and is the same.
	at := c.now.Truncate(time.Minute).Add(-2 * time.Minute)
	r, err := engine.Instant(c.Context(), fmt.Sprintf("increase(http_server_request_duration_seconds_count[301s] @ %d)", at.Unix()), c.now)
	if err != nil {
		c.Fatal(err)
	}
	want := (c.before(at.UnixNano()) - c.before(at.Add(-5*time.Minute).UnixNano())) * 301 / 300
	if got := r.Value.(prom.Vector)[0].F; got < 0.999*want || got > 1.001*want {
		c.Errorf("increase is %v, want %v", got, want)
	}
}

// before is how many requests ended before a time.
func (c *counted) before(ns int64) (sum float64) {
	for start, n := range c.windows {
		if start+proto.WindowNS <= ns {
			sum += float64(n)
		}
	}
	return sum
}

// What is rolled up and what is not yet are each counted once, whenever it was counted.
func TestStreams(t *testing.T) {
	c := newCounted(t)
	c.add(80*time.Minute, 6*time.Minute)
	c.check()
	c.rollUp()
	c.check()
	c.add(6*time.Minute, 20*time.Second)
	c.add(50*time.Minute, 49*time.Minute) // late
	c.check()
	engine := promql.New(promql.Streams{Conn: c.conn, Now: func() time.Time { return c.now }}, 1)
	r, err := engine.Instant(t.Context(), "weir_lost_exchanges_total", c.now)
	if err != nil || len(r.Value.(prom.Vector)) != 1 || r.Value.(prom.Vector)[0].F != 9 {
		t.Errorf("lost are %v %v", r, err)
	}
	// Each selector reads a copy: it counts, with those of the others.
	const one = "sum(http_server_request_duration_seconds_count)"
	engine = engine.Holding(32 << 10)
	if _, err = engine.Instant(t.Context(), one, c.now); err != nil {
		t.Error(err)
	}
	var limit *promql.LimitError
	_, err = engine.Instant(t.Context(), strings.Repeat(one+" + ", 50)+one, c.now)
	if !errors.As(err, &limit) || !strings.Contains(limit.Reason, "more than 0.03125 MiB of memory together, the limit: {__name__=") {
		t.Error(err)
	}
}
