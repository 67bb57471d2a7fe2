package http1

import (
	"bytes"

	"github.com/weirstream/weir/agent/protocol"
)

// Conn is one TCP connection seen at one socket. The zero value must be Reset.
//
// Each half follows the messages of its direction, the queue pairs them, and
// the flags at the end keep the pairing honest where bytes are missing.
type Conn struct {
	shared *Shared
	sink   protocol.Sink
	half   [2]half // by protocol.Dir
	queue  queue   // requests without the end of their response, oldest first
	now    int64   // time of the segment in hand

	answer  answer
	reads   [4]read // that came before the requests they are about
	nreads  uint8
	nread   int   // slots of the queue, from the front, whose read is known
	last    uint8 // direction of the last segment + 1
	role    uint8 // direction of requests + 1; 0 until the first message
	joined  bool
	ignored bool
	parsing bool // the queue's tail is the request that the request half is in

	blind  bool // response bytes went by unparsed while requests were pending
	lost   bool // pairing was lost: requests are only counted, until one begins a turn
	hidden bool // requests went by unparsed: a response without a request is one of theirs
	deep   bool // the client seems not to wait for its responses before its next turn
	proven bool // it does not: unlike a response that is late, a lost one doesn't explain it
}

// answer is the response in progress, to the request at the queue's front.
type answer struct {
	status    uint32 // 0: none in progress
	truncated bool
	begin     uint64
	first     int64
}

type read struct {
	off  uint64
	time int64
}

// Reset makes c a connection without history. joined says that it was open
// before capture began. It may be called again when c is used for another one.
func (c *Conn) Reset(sh *Shared, sink protocol.Sink, joined bool) {
	c.release()
	*c = Conn{shared: sh, sink: sink, joined: joined}
	for i := range c.half {
		c.half[i].back = unsynced
		if joined {
			c.half[i].state = unsynced
		}
	}
}

// Pending is the number of requests that wait for the end of their response.
func (c *Conn) Pending() int { return c.queue.total }

// Ignored says that the connection is not (or no longer) HTTP/1: its segments
// need not be captured.
func (c *Conn) Ignored() bool { return c.ignored }

// request and response return the half of that role, nil while it is unknown.
func (c *Conn) request() *half {
	if c.role == 0 {
		return nil
	}
	return &c.half[c.role-1]
}

func (c *Conn) response() *half {
	if c.role == 0 {
		return nil
	}
	return &c.half[2-c.role]
}

// candidates is how many requests the next response could belong to.
func (c *Conn) candidates() int {
	if c.hidden {
		return c.queue.total + 2 // any number
	}
	return c.queue.total
}

// Segment takes the next piece of payload of either direction.
func (c *Conn) Segment(s *protocol.Segment) {
	if c.ignored || s.Len <= 0 {
		return
	}
	h := &c.half[s.Dir&1]
	turn := s.Turn || c.last != uint8(s.Dir)+1
	fresh := !h.seen || s.Gap
	c.last, c.now = uint8(s.Dir)+1, s.Time

	off, data, tail := s.Off, s.Data[:min(len(s.Data), s.Len)], s.Tail
	tail = tail[max(0, len(tail)-(s.Len-len(data))):]
	if !h.seen {
		h.seen, h.pos = true, off
	}
	switch gap := off - h.pos; {
	case int64(gap) < 0: // bytes again
		again := h.pos - off
		if again >= uint64(s.Len) {
			return
		}
		off = h.pos
		data = data[min(uint64(len(data)), again):]
		tail = tail[max(0, len(tail)-int(s.End()-off)):]
	default:
		if s.Gap || gap > 0 {
			fresh = true
			c.hole(h, gap, true)
			c.deep = c.proven
		}
	}
	if c.mayResume(h, data, turn, fresh) && plausible(data, h != c.response(), h != c.request()) {
		h.back, h.state = h.state, between
	}
	h.turn = turn
	c.feed(h, data)
	c.hole(h, s.End()-uint64(len(tail))-h.pos, false)
	c.feed(h, tail)
	if h.state == openChunks && h == c.response() && c.candidates() == 1 && h.ended() { // of several it could be another's end
		c.messageEnd(h)
	}
	if h.state != firstLine {
		h.lastTime = s.Time
	}
}

// mayResume reports whether a segment that begins like a message is to be
// believed, though the message before has no known end.
func (c *Conn) mayResume(h *half, data []byte, turn, fresh bool) bool {
	response := h == c.response()
	switch h.state {
	case unsynced:
		return response || turn || fresh
	case openTurn, openChunks, openClose:
		if !response {
			return turn
		}
		more := c.candidates() > 1 || c.answer.status < 200
		return more && (turn || h.state != openClose)
	case body, chunkSize:
		// A request with Expect, answered before its body was sent: it may never be.
		unsent := h.pos == h.end
		if h.state == body {
			unsent = h.end-h.pos == uint64(h.head.length)
		}
		return !response && turn && c.queue.total == 0 && h.head.expects && unsent && bytes.IndexByte(data, '\n') >= 0
	}
	return false
}

// Read says that at time the local process had consumed all received bytes
// below stream offset off (direction In). It may come before or after the
// segments it is about.
func (c *Conn) Read(off uint64, time int64) {
	in := &c.half[protocol.In]
	if c.ignored || c.role == uint8(protocol.Out)+1 {
		return
	}
	for ; c.nread < c.queue.n && c.queue.at(c.nread).off < off; c.nread++ {
		c.queue.at(c.nread).read = time
	}
	known := in.pos
	if in.state == firstLine {
		known = in.begin
	}
	if off <= known {
		return
	}
	c.readBefore(known)
	if int(c.nreads) == len(c.reads) {
		c.nreads-- // the oldest reads are the first of what is to come
	}
	c.reads[c.nreads] = read{off, time}
	c.nreads++
}

// readBefore returns the time of the first read past off that came before
// the request at off, and forgets the reads that were not.
func (c *Conn) readBefore(off uint64) int64 {
	i := 0
	for i < int(c.nreads) && c.reads[i].off <= off {
		i++
	}
	c.nreads = uint8(copy(c.reads[:], c.reads[i:c.nreads]))
	if c.nreads == 0 {
		return 0
	}
	return c.reads[0].time
}

// FIN says that a direction ended in order, off bytes long.
func (c *Conn) FIN(dir protocol.Dir, off uint64, time int64) {
	h := &c.half[dir&1]
	if c.ignored || h != c.response() {
		return
	}
	c.now = time
	if h.seen && int64(off-h.pos) > 0 {
		c.hole(h, off-h.pos, true)
	}
	c.drain(time, true)
	h.drop(c.shared)
	h.state = unsynced
}

// Idle says that nothing has come for a while: an exchange that waits only for
// the next turn to prove its end is reported now, with the time of its last
// byte. A tracker calls it after a second or so of silence.
func (c *Conn) Idle() {
	h := c.response()
	if h == nil || c.answer.status < 200 || c.queue.total != 1 {
		return
	}
	if h.state == openTurn || h.state == openChunks && h.ended() {
		c.finish(h.pos, h.lastTime, "")
		h.state = unsynced
	}
}

// Close says that the socket is gone, by a reset too: what is pending is
// reported. Only Reset may follow.
func (c *Conn) Close(time int64) {
	if !c.ignored {
		c.now = time
		c.drain(time, false)
	}
	c.ignore()
}

// drain settles all pending requests: no more responses will come. fin: their
// direction ended in order.
func (c *Conn) drain(time int64, fin bool) {
	if c.answer.status != 0 {
		h := c.response()
		state := h.state
		if state == firstLine {
			state = h.back
		}
		switch {
		case (state == openTurn || state == openChunks) && (c.queue.total > 1 || c.answer.status < 200):
			c.blind = true // any number of them may have been answered
		case c.answer.status < 200:
		case state == openTurn || state == openChunks && string(h.recent[4:]) == "\r\n\r\n": // after trailers
			c.finish(h.pos, h.lastTime, "")
		case state == openClose && fin:
			c.finish(h.pos, time, "")
		default:
			c.finish(h.pos, time, protocol.ErrorIncomplete)
		}
	}
	if c.answer.status = 0; c.blind {
		c.lose()
	}
	for c.queue.n > 0 {
		c.emit(protocol.Exchange{End: time, Error: protocol.ErrorNoResponse})
	}
}

// ignore gives up a connection that is not HTTP/1, or closed.
func (c *Conn) ignore() {
	c.lose()
	c.release()
	c.ignored = true
}

// release gives back what c holds of what is shared. The zero value holds nothing.
func (c *Conn) release() {
	if c.shared == nil {
		return
	}
	c.queue.clear(c.shared)
	for i := range c.half {
		if h := &c.half[i]; h.line != nil {
			h.drop(c.shared)
		}
	}
}
