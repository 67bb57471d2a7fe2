package http1

import "github.com/weirstream/weir/agent/protocol"

// firstLine takes the first line of a message, or the captured part of one
// (cut). It reports whether there is such a message.
func (c *Conn) firstLine(h *half, line []byte, cut bool) bool {
	if h != c.request() {
		if status := statusLine(line); status != 0 {
			c.beginResponse(h, status)
			return true
		}
	}
	if h != c.response() {
		method, target, version, ok := requestLine(line)
		if !ok && cut {
			method, target, cut, ok = cutRequestLine(line)
		}
		if ok && version == "2" {
			c.ignore()
			return false
		}
		if ok {
			c.beginRequest(h, method, target, cut)
			return true
		}
	}
	c.noMessage(h)
	return false
}

// noMessage: what began like a message isn't one.
func (c *Conn) noMessage(h *half) {
	h.drop(c.shared)
	h.state, h.back = h.back, unsynced
	c.skipped(h, 0)
}

func (c *Conn) beginMessage(h *half, status uint32) {
	h.state, h.back = headers, unsynced
	h.head = head{status: status, length: -1}
}

func (c *Conn) beginRequest(h *half, method, target []byte, cut bool) {
	if c.role == 0 {
		c.role = 1
		if h == &c.half[protocol.Out] {
			c.role = 2
		}
	}
	c.beginMessage(h, 0)
	if c.queue.n > 0 && c.queue.tail().end == 0 {
		c.queue.tail().end = h.begin // it had no end of its own
	}
	if h.first {
		c.beginTurn()
	}
	c.parsing = false
	switch {
	case c.lost:
		c.sink.Lost(1)
		return
	case c.hidden && c.deep:
		return // counted by its response, as those before it
	}
	r := request{start: h.beginTime, off: h.begin, turn: h.first, method: knownMethod(method)}
	if r.method != "CONNECT" { // its target is an address
		r.path = c.shared.intern(pathOf(target, cut || len(target) >= lineCap-lineEnd))
	}
	if c.role == uint8(protocol.In)+1 {
		r.read = c.readBefore(r.off)
	}
	c.enqueue(r)
}

func (c *Conn) enqueue(r request) {
	kept, ok := c.queue.add(c.shared, r)
	if !kept {
		c.sink.Lost(1)
	}
	if !ok { // too many to remember: nothing can be paired any more
		c.lose()
		c.response().state = unsynced
		return
	}
	c.parsing = kept
	if kept && r.read != 0 && c.nread == c.queue.n-1 {
		c.nread++
	}
}

// beginTurn: a client that waits for its responses has them all when it
// begins its next turn. So responses that were not parsed belong to what was
// sent before. A client known not to wait gets no such benefit.
func (c *Conn) beginTurn() {
	switch h := c.response(); {
	case h.state == openTurn || h.state == openChunks:
		if !c.deep && c.queue.total == 1 && c.answer.status >= 200 {
			c.finish(h.pos, h.lastTime, "")
			h.state = between
		}
	case c.hidden && c.answer.status == 0 && h.state != between:
		h.drop(c.shared) // its end was a guess: it may have been to a HEAD
		h.state = unsynced
	case h.state != unsynced:
		c.deep = c.deep || c.queue.total > 0
	}
	if c.blind {
		c.lose()
	}
	if !c.deep {
		c.lost, c.hidden = false, false
	}
}

func (c *Conn) beginResponse(h *half, status uint32) {
	if c.role == 0 {
		c.role = 2
		if h == &c.half[protocol.Out] {
			c.role = 1
		}
	}
	c.beginMessage(h, status)
	if c.answer.status != 0 { // it had no end of its own
		if c.blind = c.candidates() > 2; !c.blind {
			c.finish(h.begin, h.lastTime, "")
		}
	}
	if c.blind && c.candidates() > 1 {
		c.lose() // any of them may be meant
		h.state = unsynced
		return
	}
	c.blind = false
	switch {
	case c.queue.total > 0:
		c.answer = answer{status: status, begin: h.begin, first: h.beginTime}
	case status == 101:
		c.ignore()
	case !c.hidden: // to a request before our time
		h.state = unsynced
	case status >= 200:
		c.sink.Lost(1)
	}
}

// headEnd decides where the message ends (RFC 9112, section 6).
func (c *Conn) headEnd(h *half) {
	if h == c.response() && c.answerEnds(h) {
		return
	}
	switch m := &h.head; {
	case m.chunked:
		h.state, h.end = chunkSize, h.pos
	case m.invalid || m.coded && h == c.request():
		h.state = openTurn
	case m.coded || m.length < 0 && h == c.response():
		h.state = openClose
	case m.length > 0:
		h.state, h.end = body, h.pos+uint64(m.length)
	default:
		c.messageEnd(h)
	}
}

// answerEnds handles responses that end with their head, whatever it says.
func (c *Conn) answerEnds(h *half) bool {
	status, method := h.head.status, ""
	if c.answer.status != 0 {
		method = c.queue.front().method
	}
	switch {
	case status == 101 || method == "CONNECT" && status/100 == 2:
		c.finish(h.pos, c.now, "")
		c.ignore()
	case status < 200:
		c.answer.status = 0
		h.state = between
	case method == "HEAD" || status == 204 || status == 304:
		c.messageEnd(h)
	default:
		return false
	}
	return true
}

// messageEnd: the last byte went by.
func (c *Conn) messageEnd(h *half) {
	h.state = between
	if h == c.request() {
		if c.parsing {
			c.queue.tail().end = h.pos
			c.parsing = false
		}
		return
	}
	if c.answer.status == 0 {
		return
	}
	c.finish(h.pos, c.now, "")
	if c.queue.n > 0 && c.queue.front().turn {
		c.deep, c.proven = true, true // sent in a turn of its own before this response had ended
	}
}

// truncated: the capture ended within the head.
func (c *Conn) truncated(h *half, gap bool) {
	h.state = openTurn
	if h == c.response() {
		c.answer.truncated = true
		return
	}
	if c.parsing {
		c.queue.tail().truncated = true
	}
	c.hide(h, gap)
}

// hide: requests may be among the bytes of the turn that weren't captured.
func (c *Conn) hide(h *half, gap bool) {
	c.hidden = c.hidden || h == c.request() && !gap && !c.lost
}

// unsync: bytes went by where a message should have begun.
func (c *Conn) unsync(h *half, gap bool) {
	h.state = unsynced
	c.hide(h, gap)
}

func (c *Conn) trace(h *half, value []byte) {
	if h != c.request() || !c.parsing {
		return
	}
	r := c.queue.tail()
	if r.trace = ""; !r.traces {
		r.trace = traceIDs(value)
	}
	r.traces = true
}

// finish ends the response in progress at stream offset end.
func (c *Conn) finish(end uint64, time int64, err string) {
	a := c.answer
	c.answer.status = 0
	if a.status < 200 && a.status != 101 || c.queue.n == 0 {
		return
	}
	c.emit(protocol.Exchange{
		FirstByte: a.first, End: time, ResponseBytes: end - a.begin,
		Status: a.status, Error: err, Truncated: a.truncated,
	})
}

// emit reports the exchange of the oldest request, unless it was counted as lost before.
func (c *Conn) emit(ended protocol.Exchange) {
	r := c.queue.front()
	if r.run == 0 {
		e := &c.shared.exchange
		*e = ended
		e.RequestDir = protocol.Dir(c.role - 1)
		e.Start, e.Read = r.start, r.read
		if e.Read != 0 {
			e.Read = max(e.Read, e.Start)
		}
		if e.FirstByte != 0 {
			e.FirstByte = max(e.FirstByte, e.Start)
		}
		e.End = max(e.End, e.Start, e.FirstByte) // no duration is negative, whatever the clocks of two CPUs say
		e.RequestBytes = r.end - r.off
		if r.end == 0 {
			e.RequestBytes = c.request().pos - r.off
		}
		e.Method, e.Path = r.method, r.path
		if r.trace != "" {
			e.TraceID, e.SpanID = r.trace[:32], r.trace[32:]
		}
		e.Truncated = e.Truncated || r.truncated
		e.Joined = c.joined
		c.sink.Exchange(e)
	}
	if c.queue.pop(c.shared) && c.nread > 0 {
		c.nread--
	}
	if c.queue.n == 0 {
		c.parsing = false
	}
}

// lose counts the pending requests as lost: their responses can't be told apart.
func (c *Conn) lose() {
	if n := c.queue.clear(c.shared); n > 0 {
		c.sink.Lost(n)
	}
	c.nread, c.answer.status = 0, 0
	c.parsing, c.blind, c.hidden, c.lost = false, false, false, true
}
