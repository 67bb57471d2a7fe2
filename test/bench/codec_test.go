package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// frame is a full frame as a busy agent makes it.
func frame(enriched bool) *proto.Frame {
	r := rand.New(rand.NewPCG(1, 2))
	f := &proto.Frame{Node: "bench", Epoch: proto.Epoch{Number: 1, ID: "0123456789abcdef"}, Seq: 1, Enriched: enriched}
	now := time.Now().UnixNano()
	for i := range proto.MaxFrameEvents {
		wait, processing, transfer := r.Int64N(50_000), r.Int64N(2_000_000), r.Int64N(20_000)
		e := proto.Event{
			Side: proto.SideServer, Protocol: "http", StartNS: now + int64(i)*10_000,
			WaitNS: wait, ProcessingNS: processing, TransferNS: transfer,
			RequestBytes: 100 + r.Uint64N(200), ResponseBytes: 200 + r.Uint64N(2000),
			Method: "GET", Route: fmt.Sprintf("/route-%c/{id}", 'a'+rune(r.IntN(10))), Status: 200,
			Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(40))}), uint16(30_000+r.IntN(64))),
			Destination: netip.MustParseAddrPort("10.0.1.1:8080"), NetNS: 4026531840,
			Process: proto.Process{PID: 1234, Name: "nginx", Unit: "nginx.service"},
		}
		e.EndNS = e.StartNS + wait + processing + transfer
		if enriched {
			e.From = proto.Endpoint{Namespace: "host", Workload: "wrk", Kind: "process", Node: "bench"}
			e.To = proto.Endpoint{Namespace: "host", Workload: "nginx", Kind: "unit", Node: "bench"}
		}
		f.Events = append(f.Events, e)
	}
	f.WatermarkNS = now
	return f
}

func codec(t *testing.T, out *table) {
	f := frame(false)
	encoded, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	encode := testing.Benchmark(func(b *testing.B) {
		buf := make([]byte, 0, len(encoded)*2)
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = f.Append(buf[:0])
		}
	})
	var got proto.Frame
	decode := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = got.Decode(encoded)
		}
	})
	if len(got.Events) != len(f.Events) {
		t.Fatalf("decoded %d events of %d", len(got.Events), len(f.Events))
	}
	n := float64(len(f.Events))
	out.atMost("encode a raw event, ns", float64(encode.NsPerOp())/n, 100, "%.0f")
	out.atMost("decode a raw event, ns", float64(decode.NsPerOp())/n, 130, "%.0f")
	out.add("allocations to encode and decode a raw event", "0",
		fmt.Sprintf("%.3f", float64(encode.AllocsPerOp()+decode.AllocsPerOp())/n), 0)
	out.atMost("bytes of a raw event in the stream", float64(len(encoded))/n, 45, "%.1f")
}

func histograms(t *testing.T, out *table) {
	r := rand.New(rand.NewPCG(3, 4))
	values := make([]int64, 4096)
	for i := range values {
		values[i] = int64(math.Exp(r.NormFloat64()+14) + 1) // around a millisecond
	}
	var h, sum histogram.Histogram
	record := testing.Benchmark(func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			h.Record(values[i%len(values)])
		}
	})
	merge := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			sum.Merge(&h)
		}
	})
	out.atMost("worst quantile error, %", worstError(r)*100, 1.1, "%.2f")
	out.atMost("record a value, ns", float64(record.T)/float64(record.N), 15, "%.1f")
	out.atMost("merge a histogram, ns", float64(merge.T)/float64(merge.N), 500, "%.0f")
}

// worstError is the largest relative error at any of 999 quantiles of very
// different distributions.
func worstError(r *rand.Rand) (worst float64) {
	for _, draw := range []func() float64{
		func() float64 { return math.Exp(r.NormFloat64() + 14) },
		func() float64 { return 1e6 + r.Float64()*1e3 },
		func() float64 { return 1e3 * math.Pow(1-r.Float64(), -0.7) }, // heavy tail
		func() float64 { return []float64{5e4, 3e9}[r.IntN(2)] },
	} {
		var h histogram.Histogram
		exact := make([]int64, 20_000)
		for i := range exact {
			exact[i] = int64(draw())
			h.Record(exact[i])
		}
		slices.Sort(exact)
		for q := 1; q < 1000; q++ {
			want := float64(exact[int(math.Ceil(float64(q)/1000*float64(len(exact))))-1])
			worst = max(worst, math.Abs(h.Quantile(float64(q)/1000)-want)/want)
		}
	}
	return worst
}
