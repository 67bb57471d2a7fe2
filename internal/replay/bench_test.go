package replay

import (
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// BenchmarkEvents plays full frames from a server in this process.
func BenchmarkEvents(b *testing.B) {
	c := bustest.Connect(b, bustest.Start(b).URL)
	bustest.Provision(b, c, 1, 1)
	lane, err := c.OpenLane(b.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		b.Fatal(err)
	}
	load := bustest.NewLoad("n", proto.Epoch{Number: 1, ID: "0123456789abcdef"}, 1)
	const frames = 200
	for i := range uint64(frames) {
		f := load.Next(proto.MaxFrameEvents, time.Now().Add(-time.Minute).UnixNano())
		bustest.Enrich(f)
		data, err := f.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := lane.Publish(b.Context(), data, i+1, i+1, len(f.Events)); err != nil {
			b.Fatal(err)
		}
	}
	all := query.Between(time.Now().Add(-time.Hour), time.Now())
	events := uint64(0)
	for b.Loop() {
		played, err := Run(b.Context(), Events(c, all, 0), 0, sinkFunc(func(*Item) error { return nil }))
		if err != nil || played.Events != frames*proto.MaxFrameEvents {
			b.Fatal(played, err)
		}
		events += played.Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkLatencies plays messages of ten series of 60 requests, decodes and
// merges them.
func BenchmarkLatencies(b *testing.B) {
	c := bustest.Connect(b, bustest.Start(b).URL)
	bustest.Provision(b, c, 1, 1)
	lane, err := c.OpenLane(b.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0)})
	if err != nil {
		b.Fatal(err)
	}
	record, err := proto.EncodeCommit(&proto.Commit{V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: 1})
	if err != nil {
		b.Fatal(err)
	}
	item := fullPoints(10)
	item.Latency.Namespace, item.Latency.Workload = "host", "w"
	start := time.Now().Add(-time.Minute).UnixNano()
	for i := range item.Latency.Points {
		item.Latency.Points[i].StartNS = start
	}
	data, err := proto.EncodeLatency(item.Latency)
	if err != nil {
		b.Fatal(err)
	}
	const commits, each = 20, 200
	for i := range uint64(commits) {
		var parts []bus.Part
		for range each {
			parts = append(parts, bus.Part{Subject: proto.LatencySubject("host", "w"), Data: data})
		}
		if _, err := lane.Commit(b.Context(), parts, record, i+1, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	all := query.Between(time.Now().Add(-time.Hour), time.Now())
	count := uint64(0)
	for b.Loop() {
		table := query.NewTable(query.By{Operation: true, Status: true, Peer: true})
		played, err := Run(b.Context(), Latencies(c, all), 0, sinkFunc(func(i *Item) error {
			for k := range i.Latency.Points {
				table.Add(i.Latency, &i.Latency.Points[k])
			}
			return nil
		}))
		if err != nil || played.Messages != commits*each {
			b.Fatal(played, err)
		}
		count += played.Messages
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "messages/s")
}
