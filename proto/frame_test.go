package proto

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

// shop makes a frame as an agent on a busy node does: both sides of calls
// between 30 pods, 60 routes, ephemeral ports, log-normal times. Strings are
// the same in memory for the same value, as the agent's are.
func shop(seed uint64, count int, enriched bool) *Frame {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := &Frame{
		Cluster: "shop-eu", Node: "node-7", Partition: 3, Epoch: Epoch{12, "9f86d081884c7d65"},
		Seq: 42, Before: 41 * 1024, WatermarkNS: 1_760_000_000_000_000_000, Enriched: enriched,
		Events: make([]Event, count),
	}
	type pod struct {
		addr  netip.Addr
		netns uint32
		proc  Process
		where Endpoint
	}
	pods := make([]pod, 30)
	for i := range pods {
		pods[i] = pod{
			addr:  netip.AddrFrom4([4]byte{10, 244, 3, byte(i + 4)}),
			netns: 4026532100 + uint32(i)*67,
			proc: Process{
				PID: 20000 + uint32(rng.IntN(40000)), Name: []string{"nginx", "node", "python3", "java"}[i%4],
				Container: fmt.Sprintf("%016x%016x%016x%016x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()),
				PodUID:    fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", rng.Uint32(), i, i, i, rng.Uint64()>>16),
			},
			where: Endpoint{
				Namespace: "shop", Workload: fmt.Sprintf("service-%d", i/3), Kind: "Deployment",
				Pod: fmt.Sprintf("service-%d-7c5ddbdf54-%05d", i/3, i), Service: fmt.Sprintf("service-%d", i/3),
				Node: "node-7", Zone: "eu-1a", Container: "app",
			},
		}
	}
	routes := make([]string, 60)
	for i := range routes {
		routes[i] = fmt.Sprintf("/api/v1/resource%d/{id}", i)
	}
	end := f.WatermarkNS
	for i := range f.Events {
		client, server := &pods[rng.IntN(30)], &pods[rng.IntN(30)]
		end += rng.Int64N(40_000)
		e := Event{
			Side: SideServer, Protocol: "http", EndNS: end - rng.Int64N(20_000),
			WaitNS: 5_000 + rng.Int64N(30_000), ProcessingNS: int64(200_000 * (0.2 + rng.ExpFloat64())),
			RequestBytes: 120 + rng.Uint64N(300), ResponseBytes: 200 + rng.Uint64N(8000),
			Method: []string{"GET", "GET", "POST"}[i%3], Route: routes[rng.IntN(60)], Status: 200,
			Source:      netip.AddrPortFrom(client.addr, uint16(32768+rng.IntN(28000))),
			Destination: netip.AddrPortFrom(server.addr, 8080),
			NetNS:       server.netns, Process: server.proc,
		}
		if rng.IntN(20) == 0 {
			e.Status, e.Error = 503, "503"
		}
		if rng.IntN(5) == 0 {
			e.TransferNS = rng.Int64N(60_000)
		}
		if i%2 == 1 {
			e.Side, e.WaitNS, e.NetNS, e.Process = SideClient, 0, client.netns, client.proc
			e.Peer, e.Destination = e.Destination, netip.MustParseAddrPort("10.96.0.17:80")
		}
		e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
		if enriched {
			e.From, e.To = client.where, server.where
		}
		f.Events[i] = e
	}
	return f
}

// same compares what is on the wire of two frames.
func same(t *testing.T, got, want *Frame) {
	t.Helper()
	g, w := *got, *want
	g.enc, g.dec, w.enc, w.dec = nil, nil, nil, nil
	if len(g.Events) != len(w.Events) {
		t.Fatalf("decoded %d events, want %d", len(g.Events), len(w.Events))
	}
	for i := range g.Events {
		if g.Events[i] != w.Events[i] {
			t.Fatalf("event %d:\n got %+v\nwant %+v", i, g.Events[i], w.Events[i])
		}
	}
	g.Events, w.Events = nil, nil
	if len(g.Loss) == 0 && len(w.Loss) == 0 {
		g.Loss, w.Loss = nil, nil
	}
	if !reflect.DeepEqual(g, w) {
		t.Fatalf("frame:\n got %+v\nwant %+v", g, w)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	var into Frame // the same for all, so that nothing of one is left in the next
	for _, enriched := range []bool{true, false} {
		for _, count := range []int{0, 1, 2, 1023, MaxFrameEvents} {
			f := shop(uint64(count), count, enriched)
			f.Agent = []string{"v0.1.0", ""}[count%2]
			b, err := f.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := into.Decode(b); err != nil {
				t.Fatal(err)
			}
			same(t, &into, f)
		}
	}
}

// TestFrameAllocations: memory is used again, but for the strings of a frame.
func TestFrameAllocations(t *testing.T) {
	f := shop(3, MaxFrameEvents, true)
	f.Agent = "v0.1.0"
	b, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var into Frame
	if n := testing.AllocsPerRun(5, func() { b, err = f.Append(b[:0]) }); n != 0 || err != nil {
		t.Errorf("encoding allocates %v times a frame, %v", n, err)
	}
	if n := testing.AllocsPerRun(5, func() { err = into.Decode(b) }); n > 4 || err != nil {
		t.Errorf("decoding allocates %v times a frame, %v", n, err)
	}
	if n := testing.AllocsPerRun(5, func() { _, err = into.DecodeHeader(b) }); n > 1 || err != nil {
		t.Errorf("decoding the header allocates %v times, %v", n, err)
	}
}

// TestFrameMemory: decoding into memory that was used before leaves none of it,
// and encoding after decoding doesn't write into the message.
func TestFrameMemory(t *testing.T) {
	message, err := shop(1, 100, true).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := string(message)
	var f Frame
	for range 2 {
		if err := f.Decode(message); err != nil {
			t.Fatal(err)
		}
		again, err := f.Append(nil)
		if err != nil || string(again) != before || string(message) != before {
			t.Fatalf("%v: encoding what was decoded is different", err)
		}
	}
}

func BenchmarkFrameEncode(b *testing.B) { benchmarkEncode(b, false) }
func BenchmarkFrameDecode(b *testing.B) { benchmarkDecode(b, false) }

func BenchmarkEnrichedEncode(b *testing.B) { benchmarkEncode(b, true) }
func BenchmarkEnrichedDecode(b *testing.B) { benchmarkDecode(b, true) }

func benchmarkEncode(b *testing.B, enriched bool) {
	f := shop(1, MaxFrameEvents, enriched)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = f.Append(dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(dst))
}

func benchmarkDecode(b *testing.B, enriched bool) {
	data, err := shop(1, MaxFrameEvents, enriched).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var f Frame
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(data))
}

func BenchmarkFrameHeader(b *testing.B) {
	data, err := shop(1, MaxFrameEvents, true).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var f Frame
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.DecodeHeader(data); err != nil {
			b.Fatal(err)
		}
	}
}

func perEvent(b *testing.B, size int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxFrameEvents, "ns/event")
	b.ReportMetric(float64(size)/MaxFrameEvents, "B/event")
}
