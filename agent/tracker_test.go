package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weirstream/weir/agent/protocol"
	"github.com/weirstream/weir/bpf"
)

// wire plays the kernel: it makes records of one connection at a server.
type wire struct {
	t       *testing.T
	tracker *tracker
	now     uint64
	in, out uint32 // next sequence numbers
	turn    uint32
	dir     uint16
	got     []string
	lost    map[string]uint64
}

func newWire(t *testing.T, limit int) *wire {
	w := &wire{t: t, now: 1e9, in: 0xfffffff0, out: 77, dir: 99, lost: map[string]uint64{}} // in wraps around soon
	w.tracker = newTracker(limit, newProcesses("/nonexistent", "/nonexistent", &leftOut{}),
		func(c *conn, x *protocol.Exchange) {
			w.got = append(w.got, fmt.Sprintf("%s %s %d %s", x.Method, x.Path, x.Status, x.Error))
		},
		func(reason, unit string, n uint64) { w.lost[reason+" "+unit] += n })
	return w
}

func (w *wire) info() *bpf.ConnInfo {
	return &bpf.ConnInfo{Laddr: [16]byte{127, 0, 0, 1}, Raddr: [16]byte{127, 0, 0, 2}, Lport: 80, Rport: 4000, Family: 4, Netns: 1}
}

func (w *wire) open(cookie uint64) {
	w.feed(record{Record: &bpf.Record{Kind: bpf.KindConn, Cookie: cookie, Flags: bpf.FlagFresh}, info: w.info()})
}

// segment makes the next record of a direction without handing it over.
func (w *wire) segment(dir uint16, text string, flags uint16) record {
	next := &w.in
	if dir == bpf.FlagOut {
		next = &w.out
	}
	if dir != w.dir {
		w.dir = dir
		w.turn++
		flags |= bpf.FlagTurn
	}
	r := record{Record: &bpf.Record{Kind: bpf.KindData, Cookie: 1, Seq: *next, Len: uint32(len(text)), Flags: flags | dir, Turn: w.turn}, data: []byte(text)}
	*next += uint32(len(text))
	return r
}

func (w *wire) feed(records ...record) {
	for i := range records {
		r := records[i]
		w.now += 1000
		copied := *r.Record
		copied.TimeNs = w.now
		r.Record = &copied
		w.tracker.record(&r)
	}
}

func (w *wire) receive(text string) { w.feed(w.segment(0, text, 0)) }
func (w *wire) send(text string)    { w.feed(w.segment(bpf.FlagOut, text, 0)) }

func (w *wire) expect(want ...string) {
	w.t.Helper()
	if fmt.Sprint(w.got) != fmt.Sprint(want) {
		w.t.Errorf("got %q, want %q", w.got, want)
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

func TestSegmentsOutOfOrderAreSorted(t *testing.T) {
	for seed := range uint64(200) {
		w := newWire(t, 0)
		w.open(1)
		w.receive(get("/first")) // so that the stream has begun
		w.send(ok)
		text := get("/a") + get("/b")
		var cut []record
		for len(text) > 0 {
			n := min(len(text), 7)
			cut = append(cut, w.segment(0, text[:n], 0))
			text = text[n:]
		}
		cut = append(cut, cut[3], cut[0]) // sent twice
		rng := rand.New(rand.NewPCG(seed, 0))
		rng.Shuffle(len(cut), func(i, j int) { cut[i], cut[j] = cut[j], cut[i] })
		w.feed(cut...)
		w.send(ok + ok)
		w.expect("GET /first 200 ", "GET /a 200 ", "GET /b 200 ")
		if len(w.tracker.holding) != 0 {
			t.Errorf("seed %d: still holding", seed)
		}
	}
}

func TestASegmentThatNeverComesIsGivenUp(t *testing.T) {
	w := newWire(t, 0)
	w.open(1)
	w.receive(get("/a"))
	w.send(ok)
	w.segment(0, get("/never-seen"), 0)
	w.receive(get("/b"))
	w.expect("GET /a 200 ")
	w.tracker.sweep(int64(w.now) + holdNS + 1)
	w.send(ok)
	w.expect("GET /a 200 ", "GET /b 200 ")
	if w.tracker.gaps != 1 {
		t.Errorf("%d gaps", w.tracker.gaps)
	}
}

func TestBytesThatWereSkippedOnPurposeAreNotWaitedFor(t *testing.T) {
	w := newWire(t, 0)
	w.open(1)
	w.receive(get("/a"))
	w.send(ok)
	w.segment(0, "bytes of a turn that matched nothing", 0)
	w.segment(bpf.FlagOut, "and their answer", 0)
	w.feed(w.segment(0, get("/b"), bpf.FlagSkip))
	w.feed(w.segment(bpf.FlagOut, ok, bpf.FlagSkip))
	w.expect("GET /a 200 ", "GET /b 200 ")
}

func TestLostTurnsAreLostExchanges(t *testing.T) {
	for name, tt := range map[string]struct {
		drop []int // records, of 8: requests 0, 2, 4, 6, responses 1, 3, 5, 7
		want uint64
	}{
		"nothing":                  {nil, 0},
		"a request":                {[]int{2}, 1},
		"a response":               {[]int{3}, 1},
		"both":                     {[]int{2, 3}, 1},
		"a response and a request": {[]int{1, 2}, 2},
		"two exchanges":            {[]int{2, 3, 4, 5}, 2},
		"from the middle":          {[]int{3, 4}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, 0)
			w.open(1)
			w.receive(get("/first"))
			w.send(ok)
			dropped := map[int]bool{}
			for _, i := range tt.drop {
				dropped[i] = true
			}
			var pending bool
			skipped := map[uint16]bool{}
			for i := range 8 {
				dir, text := uint16(0), get(fmt.Sprint("/", i))
				if i%2 == 1 {
					dir, text = bpf.FlagOut, ok
				}
				var flags uint16
				if !dropped[i] {
					if pending {
						flags |= bpf.FlagLost
					}
					if skipped[dir] {
						flags |= bpf.FlagSkip
					}
					pending, skipped[dir] = false, false
				}
				r := w.segment(dir, text, flags)
				if dropped[i] {
					pending, skipped[dir] = true, true
					continue
				}
				w.feed(r)
			}
			var sum uint64
			for _, n := range w.lost {
				sum += n
			}
			if sum != tt.want {
				t.Errorf("lost %v, want %d", w.lost, tt.want)
			}
			want := []string{"GET /first 200 "}
			for i := 0; i < 8; i += 2 {
				if !dropped[i] && !dropped[i+1] {
					want = append(want, fmt.Sprintf("GET /%d 200 ", i))
				}
			}
			w.expect(want...)
		})
	}
}

func TestAFirstSegmentThatReachedTheListener(t *testing.T) {
	w := newWire(t, 0)
	early := w.segment(0, get("/early"), bpf.FlagFresh)
	early.Kind, early.Cookie, early.info = bpf.KindEarly, 0, w.info()
	w.feed(early, early) // sent again while the server was busy
	w.open(1)
	w.send(ok)
	w.receive(get("/next"))
	w.send(ok)
	w.expect("GET /early 200 ", "GET /next 200 ")
	if len(w.tracker.early) != 0 {
		t.Error("still kept")
	}
}

func TestConnectionsOverTheLimitAreCounted(t *testing.T) {
	w := newWire(t, 2)
	for cookie := uint64(1); cookie <= 3; cookie++ {
		w.open(cookie)
		r := w.segment(0, get("/open"), 0)
		r.Cookie = cookie
		w.feed(r)
	}
	if len(w.tracker.conns) != 2 || w.tracker.evicted != 1 || w.lost["conn_limit exchanges"] != 1 {
		t.Errorf("%d connections, %d evicted, lost %v", len(w.tracker.conns), w.tracker.evicted, w.lost)
	}
	w.feed(record{Record: &bpf.Record{Kind: bpf.KindClose, Cookie: 3}})
	w.expect("GET /open 0 no_response")
}

func TestOurOwnConnectionsAreForgotten(t *testing.T) {
	w := newWire(t, 0)
	w.open(1)
	w.receive(get("/metrics"))
	w.feed(record{Record: &bpf.Record{Kind: bpf.KindClose, Cookie: 1, Flags: bpf.FlagForget}})
	w.expect()
	if len(w.tracker.conns) != 0 || len(w.lost) != 0 {
		t.Errorf("%d connections, lost %v", len(w.tracker.conns), w.lost)
	}
}

// A client has its answer when its process has read it. Where no read is seen
// the exchange ends with the arrival, and is told when the client goes on,
// closes, or is silent.
func TestAClientsExchangeEndsWithTheRead(t *testing.T) {
	read := func(w *wire) {
		w.feed(record{Record: &bpf.Record{Kind: bpf.KindRead, Cookie: 1, ReadNs: w.now + 500, ReadSeq: w.in}})
	}
	for name, tt := range map[string]struct {
		then  func(w *wire)
		after uint64 // ns between arrival and end
	}{
		"read":            {read, 500},
		"next request":    {func(w *wire) { w.send(get("/b")) }, 0},
		"close":           {func(w *wire) { w.feed(record{Record: &bpf.Record{Kind: bpf.KindClose, Cookie: 1}}) }, 0},
		"silence":         {func(w *wire) { w.tracker.sweep(int64(w.now) + idleNS + 1) }, 0},
		"read, then more": {func(w *wire) { read(w); w.send(get("/b")) }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, 0)
			w.tracker.reads = true
			var ends []int64
			w.tracker.emit = func(_ *conn, x *protocol.Exchange) { ends = append(ends, x.End) }
			w.open(1)
			w.send(get("/a"))
			w.receive(ok[:20])
			w.receive(ok[20:])
			arrived := w.now
			if len(ends) != 0 {
				t.Fatal("told before it was read")
			}
			tt.then(w)
			if len(ends) != 1 || ends[0] != int64(arrived+tt.after) {
				t.Errorf("ended at %v, want %d after %d", ends, tt.after, arrived)
			}
		})
	}
}
