package agent

import (
	"container/list"

	"github.com/weirstream/weir/agent/protocol"
	"github.com/weirstream/weir/agent/protocol/http1"
	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/proto"
)

const (
	// maxEarly bounds first segments that came before their socket.
	maxEarly = 4096
	earlyNS  = int64(60e9)
	idleNS   = int64(1e9) // silence after which a message that may have ended has
	sweepNS  = int64(500e6)
	// moveNS is how exact the order of last use is. Moving a connection for
	// every record would touch its neighbours' memory each time.
	moveNS     = int64(100e6)
	defaultMax = 65536
)

// tracker owns all connections. It is used by one goroutine.
type tracker struct {
	max     int
	conns   map[uint64]*conn
	lru     *list.List // of *conn, most recently used first
	free    []*conn
	holding map[*conn]struct{} // connections with segments out of order
	early   map[tuple]earlySegment
	shared  *http1.Shared
	procs   *processes
	names   names
	reads   bool // the kernel tells of reads
	// inherits is while records of before this agent are read: what they are of
	// may have been announced to the agent before.
	inherits bool
	emit     func(*conn, *protocol.Exchange)
	lost     func(reason, unit string, n uint64)

	nextSweep int64
	missing   uint64 // lost records that turn numbers turned into exchanges
	gaps      uint64 // segments given up waiting for
	evicted   uint64
}

// earlySegment reached a listener before its connection had a socket.
type earlySegment struct {
	rec  bpf.Record
	data []byte
}

func newTracker(limit int, procs *processes, emit func(*conn, *protocol.Exchange), lost func(reason, unit string, n uint64)) *tracker {
	if limit <= 0 {
		limit = defaultMax
	}
	return &tracker{
		max: limit, conns: map[uint64]*conn{}, lru: list.New(), holding: map[*conn]struct{}{},
		early: map[tuple]earlySegment{}, shared: http1.NewShared(), procs: procs, emit: emit, lost: lost,
	}
}

// record takes the next record of the ring.
func (t *tracker) record(r *record) {
	switch r.Kind {
	case bpf.KindEarly:
		t.hold(r)
		return
	case bpf.KindAnswer:
		t.names.learn(r.info.Cgroup, r.data)
		return
	}
	c := t.conns[r.Cookie]
	if c != nil && c.known && r.Kind == bpf.KindConn && c.tuple != infoTuple(r.info) {
		t.close(c, r) // the socket was connected again, to another address
		c = nil
	}
	switch {
	case c != nil:
		if int64(r.TimeNs)-c.movedNS > moveNS {
			c.movedNS = int64(r.TimeNs)
			t.lru.MoveToFront(c.element)
		}
	case r.Kind == bpf.KindConn || r.Kind == bpf.KindData:
		c = t.open(r)
	default:
		return // closed already, or never seen
	}
	c.lastNS, c.idle = int64(r.TimeNs), false
	if r.ReadNs != 0 {
		c.read(r.ReadSeq, int64(r.ReadNs))
	}
	switch r.Kind {
	case bpf.KindConn, bpf.KindProc:
		t.identify(c, r)
	case bpf.KindData:
		t.turns(c, r)
		c.data(r)
	case bpf.KindFIN:
		c.fin(r)
	case bpf.KindClose:
		t.close(c, r)
	}
}

// open begins to track a connection, at the cost of the one unused longest.
func (t *tracker) open(r *record) *conn {
	if len(t.conns) >= t.max {
		t.evict(t.lru.Back().Value.(*conn))
	}
	var c *conn
	if n := len(t.free); n > 0 {
		c, t.free = t.free[n-1], t.free[:n-1]
	} else {
		c = new(conn)
	}
	*c = conn{tracker: t, cookie: r.Cookie, http: c.http, in: stream{dir: protocol.In}, out: stream{dir: protocol.Out}}
	c.joined = !r.has(bpf.FlagFresh)
	c.unknown = proto.LossTracked
	if t.inherits {
		c.unknown = proto.LossRestart
	}
	c.movedNS = int64(r.TimeNs)
	c.http.Reset(t.shared, c, c.joined)
	c.element = t.lru.PushFront(c)
	t.conns[c.cookie] = c
	return c
}

// forget stops tracking without reporting anything.
func (t *tracker) forget(c *conn) {
	t.lru.Remove(c.element)
	delete(t.conns, c.cookie)
	delete(t.holding, c)
	c.http.Reset(t.shared, nil, false) // it holds nothing while it is free
	if len(t.free) < 1024 {
		t.free = append(t.free, c)
	}
}

func (t *tracker) evict(c *conn) {
	t.evicted++
	c.settle(0)
	c.lost(proto.LossTracked, uint64(c.http.Pending()))
	t.forget(c)
}

// end stops tracking all: exchanges that are under way won't be seen to end.
func (t *tracker) end(now int64) {
	for _, e := range t.early {
		if now-int64(e.rec.TimeNs) < earlyNS {
			t.lost(proto.LossRestart, proto.UnitExchanges, 1)
		}
	}
	for _, c := range t.conns {
		c.giveUp(now)
		c.settle(0)
		c.lost(proto.LossRestart, uint64(c.http.Pending()))
		t.forget(c)
	}
}

func (t *tracker) close(c *conn, r *record) {
	if !r.has(bpf.FlagForget) {
		c.giveUp(int64(r.TimeNs))
		c.settle(0)
		c.http.Close(int64(r.TimeNs))
	}
	t.forget(c)
}

// identify takes a connection's addresses and process.
func (t *tracker) identify(c *conn, r *record) {
	i := r.info
	if r.Kind == bpf.KindConn || !c.known {
		c.tuple = infoTuple(i)
		c.known = true
	}
	if r.Kind == bpf.KindConn {
		c.peer = infoPeer(i)
		c.cgroup = i.Cgroup
		c.name = t.names.find(c.cgroup, c.tuple.remote.Addr())
	}
	c.guess = r.has(bpf.FlagGuess)
	c.process = t.procs.lookup(i.Tgid, infoComm(i), c.cgroup, int64(r.TimeNs))
	if r.Kind != bpf.KindConn {
		return
	}
	if e, ok := t.early[c.tuple]; ok {
		delete(t.early, c.tuple)
		if !c.in.started && int64(r.TimeNs)-int64(e.rec.TimeNs) < earlyNS {
			c.data(&record{Record: &e.rec, data: e.data})
		}
	}
}

// hold keeps a segment until its connection is announced.
func (t *tracker) hold(r *record) {
	if len(t.early) >= maxEarly {
		for k, e := range t.early {
			if int64(r.TimeNs)-int64(e.rec.TimeNs) > earlyNS {
				delete(t.early, k)
			}
		}
		if len(t.early) >= maxEarly {
			t.lost(proto.LossTracked, proto.UnitRecords, 1)
			return
		}
	}
	k := infoTuple(r.info)
	if _, ok := t.early[k]; ok {
		return // sent again by a client whose connection was not accepted yet
	}
	t.early[k] = earlySegment{*r.Record, append([]byte(nil), r.data...)}
}

// turns finds out which exchanges lost records took with them: those whose
// response was still to come, and those whose request's turn no record told
// of. The parser then starts anew, so that nothing is paired across the gap.
func (t *tracker) turns(c *conn, r *record) {
	last := c.turn
	c.turn = r.Turn
	if !r.has(bpf.FlagLost) || last == 0 || r.Turn == last || c.http.Ignored() {
		return // nothing, or a piece of a body, which the parser counts by offsets
	}
	missing := int(r.Turn) - int(last) - 1
	if missing == 0 && r.has(bpf.FlagTurn) {
		return // the tail of the turn before
	}
	t.missing += uint64(max(missing, 1))
	dir := protocol.In
	if r.has(bpf.FlagOut) {
		dir = protocol.Out
	}
	// Turns alternate, and the last missing one had the other direction.
	requests := (missing + 1) / 2
	if dir == c.requests {
		requests = missing / 2
		if !r.has(bpf.FlagTurn) {
			requests++ // the head of this one
		}
	}
	c.lost(proto.LossRing, uint64(requests+c.http.Pending()))
	c.http.Reset(t.shared, c, true)
}

// sweep does what time alone brings about: a held segment whose predecessor
// doesn't come, and a message whose end only silence proves.
func (t *tracker) sweep(now int64) {
	if now < t.nextSweep {
		return
	}
	t.nextSweep = now + sweepNS
	for c := range t.holding {
		if now-c.oldest() > holdNS {
			c.giveUp(now)
		}
	}
	for e := t.lru.Back(); e != nil; e = e.Prev() {
		c := e.Value.(*conn)
		if now-c.movedNS < idleNS {
			break // the rest is younger
		}
		if !c.idle && now-c.lastNS >= idleNS {
			c.idle = true
			c.settle(0)
			c.http.Idle()
		}
	}
}

// Exchange and Lost are what the parser says of a connection.
func (c *conn) Exchange(x *protocol.Exchange) {
	c.requests = x.RequestDir
	if !c.known {
		c.lost(c.unknown, 1)
		return
	}
	if c.receiving && x.RequestDir == protocol.Out && c.tracker.reads {
		c.settle(0) // of several in one segment only the last can wait
		c.answer, c.answered, c.answerOff = *x, true, c.in.off
		return
	}
	c.tracker.emit(c, x)
}

// Lost counts requests that were seen but can't be told apart any more.
func (c *conn) Lost(n uint64) { c.lost(proto.LossParse, n) }

// lost counts exchanges of the connection that won't be published. Nobody
// misses what is left out.
func (c *conn) lost(reason string, n uint64) {
	if n > 0 && !c.leftOut() {
		c.tracker.lost(reason, proto.UnitExchanges, n)
	}
}

// leftOut tells whether its exchanges are not to be published.
func (c *conn) leftOut() bool { return c.tracker.procs.leftOut.has(c.process) }
