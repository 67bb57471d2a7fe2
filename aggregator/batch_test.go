package aggregator

import (
	"testing"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// BenchmarkTake measures counting decoded events; an operation is a frame.
func BenchmarkTake(b *testing.B) {
	load := bustest.NewLoad("node1", proto.Epoch{Number: 1, ID: "a"}, 1)
	var frames []*proto.Frame
	for range 16 {
		f := load.Next(proto.MaxFrameEvents, start)
		bustest.Enrich(f)
		data, err := f.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		g := new(proto.Frame)
		if err := g.Decode(data); err != nil {
			b.Fatal(err)
		}
		frames = append(frames, g)
	}
	s := testState()
	seq, before := uint64(0), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		f := frames[seq%uint64(len(frames))]
		seq++
		f.Seq, f.Before = seq, before
		before += uint64(len(f.Events))
		if !s.take(f, seq, start) {
			b.Fatal("full")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(before), "ns/event")
	b.ReportMetric(float64(len(s.batch.series)), "series")
}
