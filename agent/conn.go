package agent

import (
	"container/list"
	"net/netip"

	"github.com/weirstream/weir/agent/protocol"
	"github.com/weirstream/weir/agent/protocol/http1"
	"github.com/weirstream/weir/bpf"
)

const (
	// maxHeld bounds the segments of one connection that wait for an earlier
	// one: a window of 1,448-byte segments of 370 kB.
	maxHeld = 256
	// holdNS is how long they wait. TCP repeats a lost segment after 0.2 s or
	// more; after this the bytes between count as never seen.
	holdNS = int64(3e9)
)

// conn is one connection, seen at one socket.
type conn struct {
	tracker *tracker
	element *list.Element // in the tracker's list, least recently used last
	cookie  uint64
	known   bool   // its addresses are: a REC_CONN came
	unknown string // why not, if it is said: proto.Loss…
	tuple   tuple
	peer    netip.AddrPort
	name    string // by which the remote address was asked for
	process *process
	cgroup  uint64
	guess   bool // the process is
	joined  bool // it was open before capture began

	http    http1.Conn
	in, out stream
	// A client's exchange whose response has come, until its process has read
	// the bytes below answerOff: that is when the caller has its answer.
	answer    protocol.Exchange
	answered  bool
	answerOff uint64
	receiving bool // a received segment is being parsed

	last struct{ workload, method, path, route string } // of the exchange before

	requests protocol.Dir // the direction of requests, once an exchange was seen
	turn     uint32       // of the last segment
	lastNS   int64        // boot time of the last record
	movedNS  int64        // … and of the one that last moved it to the front
	idle     bool         // the parser was told that nothing came since
}

// stream is one direction of a connection in sequence space.
type stream struct {
	dir     protocol.Dir
	started bool
	next    uint32 // sequence number of the next new byte
	off     uint64 // its stream offset
	held    []held // segments above next, unordered
	fin     bool   // a FIN was seen …
	finSeq  uint32 // … with this sequence number
	finNS   int64
}

// held is a segment that waits for an earlier one.
type held struct {
	seq uint32
	seg protocol.Segment
}

// distance is how far a is ahead of b in sequence space.
func distance(a, b uint32) int64 { return int64(int32(a - b)) }

// offset is the stream offset of a sequence number near the stream's end.
func (s *stream) offset(seq uint32) (uint64, bool) {
	off := int64(s.off) + distance(seq, s.next)
	return uint64(off), s.started && off >= 0
}

// data takes a segment in the order the kernel saw it and hands it on in the
// order of its bytes.
func (c *conn) data(r *record) {
	s := &c.in
	if r.has(bpf.FlagOut) {
		s = &c.out
	}
	seg := protocol.Segment{Dir: s.dir, Time: int64(r.TimeNs), Len: int(r.Len), Data: r.data, Tail: r.tail(), Turn: r.has(bpf.FlagTurn)}
	if !s.started {
		// Offsets begin above 0 so that what an old read or retransmission
		// names is below the start, not below zero.
		s.started, s.next, s.off = true, r.Seq, 1<<32
	}
	ahead := distance(r.Seq, s.next)
	switch {
	case ahead > 0 && s.dir == protocol.In && !r.has(bpf.FlagSkip) && len(s.held) < maxHeld:
		seg.Data, seg.Tail = append([]byte(nil), seg.Data...), append([]byte(nil), seg.Tail...)
		s.held = append(s.held, held{seq: r.Seq, seg: seg})
		c.tracker.holding[c] = struct{}{}
		return
	case ahead > 0:
		// The kernel sends in order: what it left out it will not report.
		c.skip(s, r.Seq)
		seg.Gap = true
	}
	c.deliver(s, r.Seq, seg)
	c.release(s, seg.Time)
}

// skip moves the stream over bytes that will not be seen.
func (c *conn) skip(s *stream, to uint32) {
	s.off += uint64(distance(to, s.next))
	s.next = to
}

// deliver hands on a segment that starts at or below next.
func (c *conn) deliver(s *stream, seq uint32, seg protocol.Segment) {
	old := -distance(seq, s.next)
	if old >= int64(seg.Len) {
		return // all of it was seen before
	}
	seg.Len -= int(old)
	seg.Data = seg.Data[min(int(old), len(seg.Data)):]
	seg.Off = s.off
	s.next += uint32(seg.Len)
	s.off += uint64(seg.Len)
	if s.dir == protocol.Out {
		c.settle(0) // it goes on, so it has its answer, though no read was seen
	}
	c.receiving = s.dir == protocol.In
	c.http.Segment(&seg)
	c.receiving = false
}

// release hands on held segments that are now in order. Their bytes could be
// read only now, so that is their time.
func (c *conn) release(s *stream, now int64) {
	for i := 0; i < len(s.held); {
		h := s.held[i]
		if distance(h.seq, s.next) > 0 {
			i++
			continue
		}
		s.held = append(s.held[:i], s.held[i+1:]...)
		h.seg.Time = max(h.seg.Time, now)
		c.deliver(s, h.seq, h.seg)
		i = 0
	}
	if len(s.held) == 0 {
		s.held = nil
		if len(c.in.held) == 0 {
			delete(c.tracker.holding, c)
		}
	}
	if s.fin && s.started && s.next == s.finSeq {
		s.fin = false
		c.http.FIN(s.dir, s.off, max(s.finNS, now))
	}
}

// giveUp delivers what is held although bytes before it are missing.
func (c *conn) giveUp(now int64) {
	for s := &c.in; len(s.held) > 0; {
		first := 0
		for i, h := range s.held {
			if distance(h.seq, s.held[first].seq) < 0 {
				first = i
			}
		}
		h := s.held[first]
		c.skip(s, h.seq)
		s.held[first].seg.Gap = true
		c.tracker.gaps++
		c.release(s, now)
	}
}

// oldest is the time of the segment held longest, 0 if none is.
func (c *conn) oldest() int64 {
	var t int64
	for _, h := range c.in.held {
		if t == 0 || h.seg.Time < t {
			t = h.seg.Time
		}
	}
	return t
}

func (c *conn) fin(r *record) {
	s := &c.in
	if r.has(bpf.FlagOut) {
		s = &c.out
	}
	if !s.started {
		s.started, s.next, s.off = true, r.Seq, 1<<32
	}
	if distance(r.Seq, s.next) < 0 {
		return // sent again
	}
	s.fin, s.finSeq, s.finNS = true, r.Seq, int64(r.TimeNs)
	if s.dir == protocol.Out {
		// nothing of what was sent is still to come
		c.skip(s, r.Seq)
	}
	c.release(s, s.finNS)
}

// read passes on that the process consumed the received bytes below a
// sequence number.
func (c *conn) read(seq uint32, time int64) {
	off, ok := c.in.offset(seq)
	if !ok {
		return
	}
	c.http.Read(off, time)
	if off >= c.answerOff {
		c.settle(time)
	}
}

// settle reports a client's exchange that waits for its response to be read;
// read is when it was, 0 if that was not seen.
func (c *conn) settle(read int64) {
	if !c.answered {
		return
	}
	c.answered = false
	c.answer.End = max(c.answer.End, read)
	c.tracker.emit(c, &c.answer)
}
