package http1

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirstream/weir/agent/protocol"
)

// talk is a random conversation of which the truth is known.
type talk struct {
	*rand.Rand
	pieces   []piece
	size     [2]uint64
	truth    []truth
	segments [2][]protocol.Segment
	gets     bool // no HEAD
	padded   bool // some heads are longer than any capture
}

type piece struct {
	dir protocol.Dir
	b   []byte
}

// truth is an exchange by the stream offsets of its messages.
type truth struct {
	method, path string
	status       uint32
	begin, end   [2]uint64 // by protocol.Dir: In the request, Out the response
}

func (k *talk) chance(n int) bool { return k.IntN(n) == 0 }

func (k *talk) pick(s ...string) string { return s[k.IntN(len(s))] }

// content is a body: its headers and its bytes. until: it may end with the connection.
func (k *talk) content(until bool) (headers string, b []byte) {
	size := k.pick("0", "1", "small", "small", "large")
	n := map[string]int{"0": 0, "1": 1, "small": k.IntN(200), "large": k.IntN(6000)}[size]
	data := make([]byte, n)
	for i := range data {
		data[i] = "abcdefghijk0123456789 \r\nGET"[k.IntN(27)]
	}
	switch {
	case until:
		return "", data
	case k.chance(3):
		return k.pick("Transfer-Encoding: chunked\r\n", "transfer-encoding: gzip,\tchunked\r\n"), k.chunk(data)
	}
	return fmt.Sprintf("Content-Length: %d\r\n", n), data
}

func (k *talk) chunk(data []byte) []byte {
	var b bytes.Buffer
	for len(data) > 0 {
		n := 1 + k.IntN(len(data))
		fmt.Fprintf(&b, k.pick("%x", "%X", "0%x")+k.pick("", "", ";a=b")+"\r\n", n)
		b.Write(data[:n])
		b.WriteString("\r\n")
		data = data[n:]
	}
	b.WriteString("0\r\n" + k.pick("", "", "X-Trailer: y\r\n") + "\r\n")
	return b.Bytes()
}

func (k *talk) headers() string {
	var b strings.Builder
	for range k.IntN(4) {
		b.WriteString(k.pick("Host: x\r\n", "Accept: */*\r\n", "X-Folded: a\r\n b\r\n", "Cookie: "+strings.Repeat("c", k.IntN(600))+"\r\n"))
	}
	return b.String()
}

// pad is a header that no capture holds.
func (k *talk) pad() string {
	if k.padded && k.chance(6) {
		return "Cookie: " + strings.Repeat("c", 5000) + "\r\n"
	}
	return ""
}

// invent makes a request and its response. The response is what is to be
// said after the request; a request body that is asked for, or late, is said then.
func (k *talk) invent(i int, last bool) (request, response []byte) {
	x := truth{method: k.pick("GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"), path: fmt.Sprintf("/e/%d", i), status: 200}
	if k.gets && x.method == "HEAD" {
		x.method = "GET"
	}
	var length string
	var sent []byte
	if x.method == "POST" || x.method == "PUT" {
		length, sent = k.content(false)
	}
	head := x.method + " " + x.path + k.pick("", "?q=1") + " HTTP/1.1\r\n" + k.headers() + length + k.pad() + "\r\n"
	request = append([]byte(head), sent...)

	x.status = []uint32{200, 200, 200, 201, 404, 500, 204, 304}[k.IntN(8)]
	until := last && k.chance(3) && x.method != "HEAD" && x.status != 204 && x.status != 304
	length, answer := k.content(until)
	if x.method == "HEAD" || x.status == 204 || x.status == 304 {
		answer = nil
	}
	head = fmt.Sprintf("HTTP/1.1 %d Some Reason\r\n", x.status) + k.headers() + length + k.pad() + "\r\n"
	response = append([]byte(head), answer...)
	interim := k.pick("", "", "", "", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")

	x.begin[0] = k.size[0]
	x.end[0] = x.begin[0] + uint64(len(request))
	x.begin[1] = k.size[1] + uint64(len(interim))
	x.end[1] = x.begin[1] + uint64(len(response))
	k.truth = append(k.truth, x)
	k.size[0] = x.end[0]
	k.size[1] = x.end[1]
	return request, append([]byte(interim), response...)
}

// converse makes n exchanges; pipelined in batches, and without waiting, if told so.
func (k *talk) converse(n int, pipelined, deep bool) {
	for i := 0; i < n; {
		batch := 1
		if pipelined && k.chance(2) {
			batch = min(1+k.IntN(20), n-i)
		}
		var requests, responses [][]byte
		for range batch {
			q, a := k.invent(i, i == n-1)
			requests, responses = append(requests, q), append(responses, a)
			i++
		}
		if !deep || batch == 1 {
			body := 0
			if batch == 1 && !k.padded && k.chance(8) { // the response comes before the request's end
				body = bytes.Index(requests[0], []byte("\r\n\r\n")) + 4
			}
			if body > 0 && body < len(requests[0]) && i < n {
				x := &k.truth[i-1]
				x.end[0] = x.begin[0] + uint64(body)
				k.pieces = append(k.pieces, piece{0, requests[0][:body]}, piece{1, responses[0]}, piece{0, requests[0][body:]})
				continue
			}
			k.pieces = append(k.pieces, piece{0, bytes.Join(requests, nil)}, piece{1, bytes.Join(responses, nil)})
			continue
		}
		for q, a := 0, 0; a < batch; {
			if q < batch && (q == a || k.chance(2)) {
				k.pieces = append(k.pieces, piece{0, requests[q]})
				q++
			} else {
				k.pieces = append(k.pieces, piece{1, responses[a]})
				a++
			}
		}
	}
}

// cut makes segments of the pieces, captured as the kernel does: budget bytes
// a turn, anew when a segment begins like a message.
func (k *talk) cut(budget [2]int) []protocol.Segment {
	var segments []protocol.Segment
	var off [2]uint64
	size := []int{7, 40, 500, 1448, 65536}[k.IntN(5)]
	for i := 0; i < len(k.pieces); i++ {
		dir, b := k.pieces[i].dir, k.pieces[i].b
		for i+1 < len(k.pieces) && k.pieces[i+1].dir == dir {
			i++
			b = append(b[:len(b):len(b)], k.pieces[i].b...)
		}
		left := budget[dir]
		for turn := true; len(b) > 0; turn = false {
			n := min(1+k.IntN(size), len(b))
			s := protocol.Segment{Dir: dir, Time: int64(len(segments) + 1), Off: off[dir], Len: n, Turn: turn}
			if bytes.HasPrefix(b, []byte("HTTP/1.")) || bytes.HasPrefix(b, []byte("GET /")) || bytes.HasPrefix(b, []byte("PUT /")) {
				left = budget[dir]
			}
			s.Data = b[:min(n, left)]
			left -= len(s.Data)
			if rest := n - len(s.Data); rest > 0 {
				s.Tail = b[n-min(8, rest) : n]
			}
			off[dir] += uint64(n)
			b = b[n:]
			segments = append(segments, s)
			k.segments[dir] = append(k.segments[dir], s)
		}
	}
	return segments
}

// play feeds the segments and random reads of the server's process, and
// returns for each exchange the time of its first read.
func (k *talk) play(c *Conn, segments []protocol.Segment, got *stamped) (reads []int64) {
	reads = make([]int64, len(k.truth))
	var early []func()
	for i := range segments {
		s := &segments[i]
		got.now = s.Time
		if s.Dir == protocol.In {
			if early = early[:0]; k.chance(2) {
				off := s.Off + 1 + uint64(k.IntN(s.Len))
				for j := range k.truth {
					if reads[j] == 0 && off > k.truth[j].begin[0] {
						reads[j] = s.Time
					}
				}
				early = append(early, func() { c.Read(off, s.Time) })
			}
		}
		ahead := k.chance(2)
		if ahead {
			for _, f := range early {
				f()
			}
		}
		c.Segment(s)
		if !ahead {
			for _, f := range early {
				f()
			}
		}
		early = early[:0]
	}
	got.now++
	c.FIN(protocol.Out, k.size[1], got.now)
	c.FIN(protocol.In, k.size[0], got.now)
	c.Close(got.now)
	return reads
}

// stamped also keeps when each exchange was reported.
type stamped struct {
	recorder
	now int64
	at  []int64
}

func (s *stamped) Exchange(e *protocol.Exchange) {
	s.recorder.Exchange(e)
	s.at = append(s.at, s.now)
}

// timeOf returns the time of the segment that has the byte at off.
func (k *talk) timeOf(dir protocol.Dir, off uint64) int64 {
	s := k.segments[dir]
	i, _ := slices.BinarySearchFunc(s, off+1, func(s protocol.Segment, end uint64) int { return cmp.Compare(s.End(), end) })
	return s[i].Time
}

func (k *talk) exchange(x *truth, read int64) protocol.Exchange {
	return protocol.Exchange{
		Start: k.timeOf(protocol.In, x.begin[0]), Read: read,
		FirstByte:    k.timeOf(protocol.Out, x.begin[1]),
		End:          k.timeOf(protocol.Out, x.end[1]-1),
		RequestBytes: x.end[0] - x.begin[0], ResponseBytes: x.end[1] - x.begin[1],
		Method: x.method, Path: x.path, Status: x.status,
	}
}

const conversations = 150

// Whatever is said, and however it is cut: what comes out is the truth, at once.
func TestRandomConversations(t *testing.T) {
	for seed := range uint64(conversations) {
		k := &talk{Rand: rand.New(rand.NewPCG(seed, 1))}
		k.converse(1+k.IntN(30), k.chance(2), k.chance(2))
		segments := k.cut([2]int{1 << 30, 1 << 30})
		var got stamped
		var c Conn
		c.Reset(NewShared(), &got, false)
		reads := k.play(&c, segments, &got)
		if len(got.exchanges) != len(k.truth) || got.lost != 0 {
			t.Fatalf("seed %d: %d exchanges, %d lost, want %d", seed, len(got.exchanges), got.lost, len(k.truth))
		}
		for i := range k.truth {
			want := k.exchange(&k.truth[i], reads[i])
			e := got.exchanges[i]
			if i == len(k.truth)-1 && e.End == got.now { // until close
				want.End = got.now
			}
			if e.Read > e.End { // read after the early response: not known in time
				t.Fatalf("seed %d: read at %d after the end", seed, e.Read)
			}
			if e.Read == 0 && want.Read >= e.End {
				want.Read = 0
			}
			if e != want {
				t.Fatalf("seed %d, exchange %d:\ngot  %+v\nwant %+v", seed, i, e, want)
			}
			if got.at[i] != e.End {
				t.Fatalf("seed %d, exchange %d: ended at %d, reported at %d", seed, i, e.End, got.at[i])
			}
		}
	}
}

// A client that waits for its responses: the end of the capture changes
// neither the count nor the times, at most paths and the time of reporting.
func TestTruncatedConversations(t *testing.T) {
	for seed := range uint64(conversations) {
		k := &talk{Rand: rand.New(rand.NewPCG(seed, 2)), padded: true}
		k.converse(1+k.IntN(30), false, false)
		segments := k.cut([2]int{700 + k.IntN(4000), 700 + k.IntN(4000)})
		var got stamped
		var c Conn
		c.Reset(NewShared(), &got, false)
		reads := k.play(&c, segments, &got)
		if len(got.exchanges) != len(k.truth) || got.lost != 0 {
			t.Fatalf("seed %d: %d exchanges, %d lost, want %d", seed, len(got.exchanges), got.lost, len(k.truth))
		}
		for i := range k.truth {
			e, want := got.exchanges[i], k.exchange(&k.truth[i], reads[i])
			want.Truncated = e.Truncated
			if e.Read == 0 && want.Read >= e.End {
				want.Read = 0
			}
			if i == len(k.truth)-1 && e.End == got.now {
				want.End = got.now
			}
			if e != want {
				t.Fatalf("seed %d, exchange %d:\ngot  %+v\nwant %+v", seed, i, e, want)
			}
		}
	}
}

// Pipelining and a capture too small for it: some exchanges are lost, but
// counted, and (if the client waits between batches) the others are not mixed up.
func TestTruncatedPipelining(t *testing.T) {
	const all = 1 << 30
	tests := []struct {
		name    string
		budget  [2]int
		deep    bool
		counted bool // exchanges and lost are the truth; otherwise at most that
		gets    bool // the response to a HEAD that wasn't seen can't be read
	}{
		{"responses cut", [2]int{all, 1000}, false, true, false},
		{"requests cut", [2]int{1000, all}, false, true, true},
		{"both cut", [2]int{1000, 1000}, false, false, false},
		{"client doesn't wait, responses cut", [2]int{all, 1000}, true, true, false},
		{"client doesn't wait, requests cut", [2]int{1000, all}, true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var exchanges, lost, said int
			for seed := range uint64(conversations) {
				k := &talk{Rand: rand.New(rand.NewPCG(seed, 3)), padded: !tt.deep, gets: tt.gets}
				k.converse(1+k.IntN(60), true, tt.deep)
				segments := k.cut(tt.budget)
				var got stamped
				var c Conn
				c.Reset(NewShared(), &got, false)
				k.play(&c, segments, &got)
				if n := len(got.exchanges) + int(got.lost); n > len(k.truth) || tt.counted && n < len(k.truth) {
					t.Errorf("seed %d: %d exchanges and %d lost are %d, want %d", seed, len(got.exchanges), got.lost, n, len(k.truth))
				}
				if !tt.deep { // of a client that waits for nothing, the first loss can't be told from a turn's end
					k.notMixedUp(t, seed, got.exchanges)
				}
				exchanges, lost, said = exchanges+len(got.exchanges), lost+int(got.lost), said+len(k.truth)
			}
			t.Logf("%d exchanges, %d lost of %d", exchanges, lost, said)
		})
	}
}

func (k *talk) notMixedUp(t *testing.T, seed uint64, exchanges []protocol.Exchange) {
	byPath := make(map[string]*truth)
	for i := range k.truth {
		byPath[k.truth[i].path] = &k.truth[i]
	}
	for _, e := range exchanges {
		x := byPath[e.Path]
		if x == nil && e.Truncated && e.Path[len(e.Path)-1] == '/' {
			continue // the request line was cut
		}
		if x == nil {
			t.Errorf("seed %d: twice, or never said: %+v", seed, e)
			continue
		}
		want := k.exchange(x, e.Read)
		if delete(byPath, e.Path); e.Status != want.Status || e.Start != want.Start || e.FirstByte != want.FirstByte {
			t.Errorf("seed %d:\ngot  %+v\nwant %+v", seed, e, want)
		}
	}
}
