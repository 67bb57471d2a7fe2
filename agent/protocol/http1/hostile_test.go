package http1

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/weirstream/weir/agent/protocol"
)

// conn is a server's connection whose both directions are fed as they come.
type conn struct {
	Conn
	got  recorder
	off  [2]uint64
	time int64
}

func newConn(joined bool) *conn {
	c := &conn{}
	c.Reset(NewShared(), &c.got, joined)
	return c
}

func (c *conn) feed(dir protocol.Dir, b []byte) {
	c.time++
	c.Segment(&protocol.Segment{Dir: dir, Time: c.time, Off: c.off[dir], Len: len(b), Data: b})
	c.off[dir] += uint64(len(b))
}

func TestIdleConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 1024 {
		t.Errorf("a Conn has %d bytes", size)
	}
	c := newConn(false)
	for range 3 {
		c.feed(protocol.In, []byte("GET / HT"))
		c.feed(protocol.In, []byte("TP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
		c.feed(protocol.Out, []byte("HTTP/1.1 204 No Content\r\nX"))
		c.feed(protocol.Out, []byte(": y\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
	}
	if c.half[0].line != nil || c.half[1].line != nil || c.queue.ring != nil {
		t.Error("buffers are held while nothing is in progress")
	}
}

// 100,000 requests without a response: those over the bound are counted at
// once, and their responses still find their requests in order.
func TestPipelinedBeyondTheBound(t *testing.T) {
	const n, bound = 100_000, 1024
	c := newConn(false)
	c.shared.pending = maxPending - bound // what other connections hold
	for i := range n {
		method := "GET"
		if i > n/2 {
			method = "HEAD"
		}
		c.feed(protocol.In, fmt.Appendf(nil, "%s /%d HTTP/1.1\r\n\r\n", method, i))
	}
	if c.Pending() != n || c.got.lost != n-bound || len(c.queue.ring) > 4*bound {
		t.Fatalf("%d pending, %d lost, %d slots", c.Pending(), c.got.lost, len(c.queue.ring))
	}
	for i := range n {
		body := "x"
		if i > n/2 {
			body = ""
		}
		c.feed(protocol.Out, []byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+body))
	}
	c.feed(protocol.In, []byte("GET /last HTTP/1.1\r\n\r\n"))
	c.feed(protocol.Out, []byte("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
	if len(c.got.exchanges) != bound+1 || c.got.lost != n-bound || c.Pending() != 0 {
		t.Fatalf("%d exchanges, %d lost, %d pending", len(c.got.exchanges), c.got.lost, c.Pending())
	}
	for i, e := range c.got.exchanges[:bound] {
		if e.Path != fmt.Sprintf("/%d", i) || e.Status != 200 {
			t.Fatalf("exchange %d: %+v", i, e)
		}
	}
	if e := c.got.exchanges[bound]; e.Path != "/last" || e.Status != 404 {
		t.Errorf("after them: %+v", e)
	}
	if c.shared.pending != maxPending-bound {
		t.Errorf("%d requests are still accounted for", c.shared.pending-(maxPending-bound))
	}
}

// Alternating methods can't be remembered in runs without end.
func TestPipelinedBeyondPairing(t *testing.T) {
	const n, bound = 20_000, 1024
	c := newConn(false)
	c.shared.pending = maxPending - bound
	for i := range n {
		c.feed(protocol.In, []byte([]string{"GET", "HEAD"}[i%2]+" / HTTP/1.1\r\n\r\n"))
	}
	if len(c.queue.ring) > 4*bound {
		t.Errorf("%d slots", len(c.queue.ring))
	}
	for range n {
		c.feed(protocol.Out, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	}
	if len(c.got.exchanges) != 0 || c.got.lost != n {
		t.Errorf("%d exchanges, %d lost, want none and all", len(c.got.exchanges), c.got.lost)
	}
	c.feed(protocol.In, []byte("GET /after HTTP/1.1\r\n\r\n"))
	c.feed(protocol.Out, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	if len(c.got.exchanges) != 1 || c.got.exchanges[0].Path != "/after" {
		t.Errorf("the next turn isn't picked up: %+v", c.got.exchanges)
	}
}

// The capture ends at every byte of the conversation in turn: the count stays.
func TestTruncationAtEveryByte(t *testing.T) {
	requests := []string{
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"GET /c HTTP/1.1\r\n\r\n",
	}
	responses := []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n",
	}
	const firstLines = 25 // shorter than this nothing is known of a message
	for n := firstLines; n < 80; n++ {
		for _, tail := range []int{0, 3, 8} {
			c := newConn(false)
			say := func(dir protocol.Dir, b string) {
				c.time++
				s := protocol.Segment{Dir: dir, Time: c.time, Off: c.off[dir], Len: len(b), Data: []byte(b[:min(n, len(b))])}
				s.Tail = []byte(b[max(len(s.Data), len(b)-tail):])
				c.off[dir] += uint64(len(b))
				c.Segment(&s)
			}
			for i := range requests {
				say(protocol.In, requests[i])
				say(protocol.Out, responses[i])
			}
			c.Close(100)
			if len(c.got.exchanges) != len(requests) || c.got.lost != 0 {
				t.Fatalf("captured %d of a segment, tail %d: %d exchanges, %d lost", n, tail, len(c.got.exchanges), c.got.lost)
			}
			for i, e := range c.got.exchanges {
				status := []uint32{200, 200, 500}[i]
				if e.Path != "/"+string(rune('a'+i)) || e.Status != status || e.Start != int64(2*i+1) || e.FirstByte != int64(2*i+2) || e.End != e.FirstByte ||
					e.RequestBytes != uint64(len(requests[i])) || e.ResponseBytes != uint64(len(responses[i])) || e.Error != "" {
					t.Fatalf("captured %d of a segment, tail %d: %+v", n, tail, e)
				}
			}
		}
	}
}

// A connection that ends at any byte: never more than one exchange, never an
// exchange without an error, never an error with one.
func TestEndAtEveryByte(t *testing.T) {
	request, response := "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	all := request + response
	for n := range len(all) + 1 {
		c := newConn(false)
		c.feed(protocol.In, []byte(request[:min(n, len(request))]))
		c.feed(protocol.Out, []byte(response[:max(0, n-len(request))]))
		c.Close(9)
		want := protocol.ErrorNoResponse
		switch {
		case n == len(all):
			want = ""
		case n >= len(request)+len("HTTP/1.1 200 OK\r\n"):
			want = protocol.ErrorIncomplete
		}
		line := n >= len("GET /a HTTP/1.1\r\n")
		if len(c.got.exchanges) > 1 || line != (len(c.got.exchanges) == 1) || line && c.got.exchanges[0].Error != want || c.got.lost != 0 {
			t.Errorf("ended after %d bytes: %+v, %d lost", n, c.got.exchanges, c.got.lost)
		}
	}
}

func TestSegmentsSeenAgain(t *testing.T) {
	c := newConn(false)
	c.feed(protocol.In, []byte("GET / HTTP/1.1\r\n"))
	c.off[0] -= 6
	c.feed(protocol.In, []byte("/1.1\r\n\r\n"))
	c.off[0] = 0
	c.feed(protocol.In, []byte("GET /"))
	c.feed(protocol.Out, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	if len(c.got.exchanges) != 1 || c.got.exchanges[0].RequestBytes != 18 {
		t.Errorf("got %+v", c.got.exchanges)
	}
}

// Input without end of every kind costs no memory.
func TestNoGrowth(t *testing.T) {
	block := strings.Repeat("x", 1000)
	tests := map[string][]string{ // what comes first, and what comes again and again
		"request line":  {"GET /", block},
		"header":        {"GET / HTTP/1.1\r\nA: ", block},
		"headers":       {"GET / HTTP/1.1\r\n", "A: " + block + "\r\n"},
		"chunk line":    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "1;" + block},
		"trailers":      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: " + block + "\r\n"},
		"empty lines":   {"\r\n", "\r\n\n"},
		"no protocol":   {"\x00", block},
		"folded lines":  {"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", "\r\n " + block},
		"one-byte path": {"GET ", "/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newConn(false)
			c.feed(protocol.In, []byte(tt[0]))
			again := []byte(tt[1])
			before := heap()
			for range 20_000 {
				c.feed(protocol.In, again)
			}
			if grown := int64(heap()) - int64(before); grown > 256<<10 {
				t.Errorf("%d bytes more on the heap", grown)
			}
			runtime.KeepAlive(c)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million paths: as many strings, but not at once.
func TestInternedPathsAreBounded(t *testing.T) {
	sh := NewShared()
	for i := range 1_000_000 {
		sh.intern(fmt.Appendf(nil, "/%d", i))
	}
	if n := len(sh.young) + len(sh.old); n > 2*maxInterned {
		t.Errorf("%d paths are kept", n)
	}
	if a, b := sh.intern([]byte("/a")), sh.intern([]byte("/a")); unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("a path is allocated twice")
	}
}

// A split line is the same as a whole one, however it is cut.
func TestSplitLines(t *testing.T) {
	line := "GET /a/" + strings.Repeat("x", 700) + " HTTP/1.1"
	sh := NewShared()
	for size := 1; size < len(line); size++ {
		var h half
		for b := []byte(line); len(b) > 0; b = b[min(size, len(b)):] {
			h.keep(sh, b[:min(size, len(b))])
		}
		want := line[:lineCap-lineEnd] + line[len(line)-lineEnd:]
		if string(h.line) != want {
			t.Fatalf("in pieces of %d: %q", size, h.line)
		}
		h.drop(sh)
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	good := []string{"00-" + trace + "-" + span + "-01", "cc-" + trace + "-" + span + "-01", "01-" + trace + "-" + span + "-00-what-the-future-holds"}
	for _, v := range good {
		if got := traceIDs([]byte(v)); got != trace+span {
			t.Errorf("%q: got %q", v, got)
		}
	}
	zero := strings.Repeat("0", 32)
	bad := []string{"", "00-" + trace + "-" + span, "00-" + trace + "-" + span + "-01-x", "ff-" + trace + "-" + span + "-01", "00-" + zero + "-" + span + "-01",
		"00-" + trace + "-" + zero[:16] + "-01", "00-" + strings.ToUpper(trace) + "-" + span + "-01", "00-" + trace + "_" + span + "-01", "0x-" + trace + "-" + span + "-01"}
	for _, v := range bad {
		if got := traceIDs([]byte(v)); got != "" {
			t.Errorf("%q: got %q", v, got)
		}
	}
}

// Arbitrary bytes in both directions, cut and captured arbitrarily: no panic,
// and every request line counts at most once.
func FuzzConn(f *testing.F) {
	f.Add([]byte("\x00\x80GET /a HTTP/1.1\r\n\r\n"), []byte("\x01\x80HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), false)
	f.Add([]byte("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), []byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n"), true)
	f.Add(bytes.Repeat([]byte("GET / HTTP/1.1\r\n\r\n"), 100), []byte("HTTP/1.1 101 x\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, in, out []byte, joined bool) {
		c := newConn(joined)
		data := [2][]byte{in, out}
		// Each direction's bytes also say how it is cut: the first byte of what is left is the length and the capture.
		for i := 0; len(data[0])+len(data[1]) > 0; i++ {
			dir := i & 1
			b := data[dir]
			if len(b) == 0 {
				continue
			}
			n := min(len(b), 1+int(b[0])*3)
			s := protocol.Segment{Dir: protocol.Dir(dir), Time: int64(i), Off: c.off[dir], Len: n, Data: b[:n], Turn: b[0]&2 != 0}
			if b[0]&1 == 0 {
				s.Data = b[:n/2]
				s.Tail = b[max(n/2, n-8):n]
			}
			if b[0]&0x1c == 0x1c {
				s.Off += uint64(n)
				s.Gap = true
			}
			c.off[dir] = s.End()
			data[dir] = b[n:]
			c.Segment(&s)
			c.Read(c.off[0]-uint64(b[0]&7), int64(i))
			switch b[0] {
			case 7:
				c.FIN(protocol.Dir(dir), c.off[dir], int64(i))
			case 9:
				c.Idle()
			}
		}
		c.Close(1 << 40)
		if c.Pending() != 0 {
			t.Errorf("%d pending after close", c.Pending())
		}
		lines := uint64(bytes.Count(append(in, '\n'), []byte("\n")) + bytes.Count(append(out, '\n'), []byte("\n")))
		if n := uint64(len(c.got.exchanges)) + c.got.lost; n > 2*lines {
			t.Errorf("%d exchanges from %d lines", n, lines)
		}
		for _, e := range c.got.exchanges {
			if e.End < e.Start || e.FirstByte != 0 && (e.FirstByte < e.Start || e.End < e.FirstByte) || len(e.Path) > maxPath {
				t.Errorf("impossible exchange %+v", e)
			}
		}
	})
}
