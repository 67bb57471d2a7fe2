package bustest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// What query reads of a long past, with the help of roll-ups, is what the deltas
// of WEIR_LATENCY sum up to, whatever part of it was rolled up.
func TestRolledUpIsTheSame(t *testing.T) {
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
		return aggregator.Run(ctx, aggregator.Config{Bus: bustest.Connect(t, s.URL), Holder: "a", CommitEvery: 50 * time.Millisecond}, discard)
	})
	defer func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	const past = 5 * time.Hour
	now := time.Now()
	for i := range 1000 {
		if err := a.publish(ctx, 40, now.Add(-time.Duration(1000-i)*past/1000).UnixNano()); err != nil {
			t.Fatal(err)
		}
		if i == 500 {
			bustest.WaitRolledUp(t, c, proto.Minutes, proto.HalfHours)
		}
	}
	waitCommitted(t, c)
	var points []*proto.Latency // all of WEIR_LATENCY
	for _, m := range bustest.ReadAll(t, c, proto.StreamLatency, proto.SubjectsLatency) {
		l, err := proto.DecodeLatency(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, l)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 60 {
		from := now.Add(-time.Duration(r.Int64N(int64(past))))
		o := query.Options{
			Interval: query.Between(from, from.Add(time.Duration(1+r.Int64N(int64(now.Sub(from)))))),
			By:       query.By{Operation: true, Peer: n%2 == 0, Status: n%3 == 0}, Now: now,
			Selection: query.Selection{Workload: []string{"", "cart", "front"}[n%3], Side: []string{"", "server"}[n%2]},
		}
		if n%5 == 0 { // minutes that aren't cut
			o.Interval = query.Interval{FromNS: query.Floor(o.Interval.FromNS, proto.RollupNS), ToNS: query.Floor(o.Interval.ToNS, proto.RollupNS) + proto.RollupNS}
		}
		got, err := query.Latency(t.Context(), c, o)
		if err != nil {
			t.Fatal(err)
		}
		want := sum(points, o)
		if rows := want.Rows(); fmt.Sprintf("%+v", values(got.Rows)) != fmt.Sprintf("%+v", values(rows)) || len(rows) == 0 && o.Interval.ToNS-o.Interval.FromNS > int64(time.Minute) {
			t.Fatalf("%s to %s, %+v: got\n%+v\nwant\n%+v", o.Interval.From(), o.Interval.To(), o.Selection, values(got.Rows), values(rows))
		}
	}
	bustest.WaitRolledUp(t, c, proto.Minutes, proto.HalfHours)
	for _, what := range []proto.Rollup{proto.Minutes, proto.HalfHours} {
		if last, err := query.LastRollup(t.Context(), c, what); err != nil || last == nil {
			t.Errorf("%s doesn't fit: %v, %v", what.Stream, last, err)
		}
	}

	// Half of the deltas and of the minutes expire: the half hours still have all.
	for _, stream := range []string{proto.StreamLatency, proto.StreamRollup} {
		info, err := c.StreamInfo(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		bustest.RemoveOldest(t, s.URL, stream, int64(info.LastSeq/2))
	}
	begin := query.Floor(now.Add(-past).UnixNano(), proto.HistoryNS)
	o := query.Options{Interval: query.Interval{FromNS: begin, ToNS: now.UnixNano()}, By: query.ByAll, Now: now, Wait: bustest.Timeout}
	got, err := query.Latency(t.Context(), c, o)
	if want := sum(points, o).Rows(); err != nil || got.Missing != "" || fmt.Sprintf("%+v", values(got.Rows)) != fmt.Sprintf("%+v", values(want)) {
		t.Errorf("%v, %q missing: got\n%+v\nwant\n%+v", err, got.Missing, values(got.Rows), values(want))
	}
	o.Interval.FromNS += int64(10 * time.Minute) // of which only the half hour is known
	if got, err := query.Latency(t.Context(), c, o); err != nil || got.Missing == "" {
		t.Errorf("%v, nothing missing of half an hour that is cut", err)
	}
}

// sum adds up the deltas that are asked for.
func sum(all []*proto.Latency, o query.Options) *query.Table {
	t := query.NewTable(o.By)
	for _, l := range all {
		for i := range l.Points {
			if p := &l.Points[i]; o.Interval.Windows().Contains(p.StartNS) && o.Selection.Matches(l.Namespace, l.Workload, l.WorkloadKind) && o.Selection.MatchesSide(p.Side) {
				t.Add(l, p)
			}
		}
	}
	return t
}

func values(rows []*query.Row) (out []query.Row) {
	for _, r := range rows {
		out = append(out, *r)
	}
	return out
}
