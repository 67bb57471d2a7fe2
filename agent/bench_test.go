package agent

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/weirstream/weir/agent/protocol/route"
	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/proto"
)

// BenchmarkExchange is what the agent's process does for one exchange, from
// the bytes of the kernel's records to the encoded frame.
func BenchmarkExchange(b *testing.B) {
	const conns = 256
	routes, err := route.New(route.Config{})
	if err != nil {
		b.Fatal(err)
	}
	l := &loop{routes: routes}
	bytes := 0
	var buf []byte
	l.batch = newBatch(proto.Frame{Node: "node-1"}, func(f *proto.Frame) {
		if buf, err = f.AppendEvents(buf[:0]); err != nil {
			b.Fatal(err)
		}
		bytes += len(buf)
	})
	l.tracker = newTracker(0, newProcesses("/proc", "/nonexistent", &leftOut{}), l.exchange, l.batch.lost)
	l.clock.measure()

	request := "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
	response := "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 21:00:00 GMT\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 6\r\nLast-Modified: Sun, 22 Nov 2026 21:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"6543210f-6\"\r\nAccept-Ranges: bytes\r\n\r\nhello\n"
	sample := func(r bpf.Record, text string) []byte {
		r.Caplen, r.Len = uint16(len(text)), uint32(len(text))
		return append(unsafe.Slice((*byte)(unsafe.Pointer(&r)), recordSize), text...)
	}
	var r record
	for i := range conns {
		info := bpf.ConnInfo{Laddr: [16]byte{127, 0, 0, 1}, Raddr: [16]byte{127, 0, 0, 1}, Lport: 80, Family: 4, Comm: [16]uint8{'n', 'g', 'i', 'n', 'x'}}
		binary.LittleEndian.PutUint16((*[2]byte)(unsafe.Pointer(&info.Rport))[:], uint16(i+1000))
		r = record{Record: &bpf.Record{Kind: bpf.KindConn, Cookie: uint64(i + 1), Flags: bpf.FlagFresh}, info: &info}
		l.tracker.record(&r)
	}
	in := sample(bpf.Record{Kind: bpf.KindData, Flags: bpf.FlagTurn}, request)
	out := sample(bpf.Record{Kind: bpf.KindData, Flags: bpf.FlagTurn | bpf.FlagOut}, response)
	seqIn, seqOut := make([]uint32, conns), make([]uint32, conns)
	now := uint64(1e9)
	feed := func(s []byte, cookie uint64, seq *uint32, read uint64) {
		now += 1000
		h := (*bpf.Record)(unsafe.Pointer(&s[0]))
		h.TimeNs, h.Cookie, h.Seq, h.ReadNs = now, cookie, *seq, read
		*seq += h.Len
		if err := decode(s, &r); err != nil {
			b.Fatal(err)
		}
		l.tracker.record(&r)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		c := i % conns
		feed(in, uint64(c+1), &seqIn[c], 0)
		feed(out, uint64(c+1), &seqOut[c], now)
	}
	b.StopTimer()
	l.flush(0)
	if l.stats.exchanges != uint64(b.N) {
		b.Fatalf("%d exchanges of %d", l.stats.exchanges, b.N)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "B/event")
}
