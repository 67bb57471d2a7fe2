package http1

import "bytes"

// state of a direction: what its next byte is.
type state uint8

const (
	between    state = iota // the next message, or an empty line before it
	firstLine               // of a head
	headers                 // of a head
	body                    // until half.end
	chunkSize               // the line before a chunk's data
	chunkData               // until half.end
	chunkEnd                // the line break after a chunk's data
	trailers                // lines after the last chunk
	openChunks              // chunks whose framing wasn't captured: ends with a segment that ends "0\r\n\r\n", or as openTurn
	openTurn                // unknown where it ends: with the turn
	openClose               // a response that ends with its direction
	unsynced                // anything, until a segment begins like a message
)

// half is one direction of a connection.
type half struct {
	state state
	back  state // where to return if what looked like a message is none
	seen  bool  // pos is known
	turn  bool  // the next byte is the first of a turn
	first bool  // the message in progress began a turn

	pos       uint64 // stream offset of the next byte
	begin     uint64 // of the message in progress
	beginTime int64
	lastTime  int64  // of the last segment of the message in progress
	end       uint64 // of the body or chunk in progress

	head   head
	line   []byte  // first part of a line that is split; nil if there is none
	recent [8]byte // openChunks: the last bytes that went by
}

// keep appends to a split line. Of a line too long it keeps the beginning and the last bytes.
func (h *half) keep(sh *Shared, b []byte) {
	if h.line == nil {
		h.line = sh.buffer()
	}
	if k := lineCap - lineEnd - len(h.line); k > 0 {
		k = min(k, len(b))
		h.line, b = append(h.line, b[:k]...), b[k:]
	}
	if len(b) >= lineEnd {
		h.line = append(h.line[:lineCap-lineEnd], b[len(b)-lineEnd:]...)
		return
	}
	if over := len(h.line) + len(b) - lineCap; over > 0 {
		end := h.line[lineCap-lineEnd:]
		h.line = h.line[:lineCap-lineEnd+copy(end, end[over:])]
	}
	h.line = append(h.line, b...)
}

func (h *half) drop(sh *Shared) {
	sh.release(h.line)
	h.line = nil
}

// roll remembers the last bytes of b.
func (h *half) roll(b []byte) {
	n := copy(h.recent[:], h.recent[min(len(b), len(h.recent)):])
	copy(h.recent[n:], b[max(0, len(b)-len(h.recent)):])
}

// ended reports whether the last bytes are those of a chunked body.
func (h *half) ended() bool {
	r := &h.recent
	return bytes.HasSuffix(r[:], []byte("\r\n0\r\n\r\n")) ||
		string(r[3:]) == "0\r\n\r\n" && r[2] == 0 // alone in a segment after bytes unseen
}

// feed takes captured bytes at h.pos.
func (c *Conn) feed(h *half, b []byte) {
	for len(b) > 0 && !c.ignored {
		if h.state == between {
			if b[0] == '\r' || b[0] == '\n' {
				h.pos, b = h.pos+1, b[1:]
				continue
			}
			h.begin, h.beginTime, h.first = h.pos, c.now, h.turn
			h.state = firstLine
		}
		h.turn = false
		n := len(b)
		switch h.state {
		case body, chunkData:
			n = int(min(uint64(n), h.end-h.pos))
			h.pos += uint64(n)
			c.passed(h)
		case openChunks:
			h.roll(b)
			h.pos += uint64(n)
		case openTurn, openClose, unsynced:
			c.skipped(h, uint64(n))
		default:
			if h.state == headers && h.line == nil {
				n = h.uninteresting(b)
				h.pos, b = h.pos+uint64(n), b[n:]
			}
			n = bytes.IndexByte(b, '\n') + 1
			if n == 0 {
				c.partLine(h, b)
				return
			}
			h.pos += uint64(n)
			c.wholeLine(h, b[:n-1])
		}
		b = b[n:]
	}
}

// uninteresting returns how many bytes of b are whole header lines of fields
// that mean nothing here: most are, so they are told by their first letter.
func (h *half) uninteresting(b []byte) (n int) {
	for n < len(b) {
		switch b[n] | 0x20 {
		case 'c', 't', 'e', ' ', '\t' | 0x20, '\r' | 0x20, '\n' | 0x20:
			return n
		}
		i := bytes.IndexByte(b[n:], '\n') + 1
		if i == 0 {
			return n
		}
		n += i
		h.head.field = otherField
	}
	return n
}

// passed is called when bytes of a body or chunk went by.
func (c *Conn) passed(h *half) {
	switch {
	case h.pos != h.end:
	case h.state == body:
		c.messageEnd(h)
	default:
		h.state = chunkEnd
	}
}

func (c *Conn) skipped(h *half, n uint64) {
	h.pos += n
	if h.state == unsynced && h == c.response() && c.queue.total > 0 {
		c.blind = true
	}
}

// partLine takes the beginning of a line whose end is in a later segment.
func (c *Conn) partLine(h *half, b []byte) {
	h.pos += uint64(len(b))
	h.keep(c.shared, b)
	if h.state == firstLine && !plausible(h.line, h != c.response(), h != c.request()) {
		c.noMessage(h)
	}
}

// wholeLine takes a line, without its line feed.
func (c *Conn) wholeLine(h *half, line []byte) {
	if h.line != nil {
		h.keep(c.shared, line)
		line = h.line
		h.line = nil
		defer c.shared.release(line)
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch h.state {
	case firstLine:
		c.firstLine(h, line, false)
	case headers:
		if len(line) == 0 {
			c.headEnd(h)
			return
		}
		if f, value := h.head.line(line); f == traceparent {
			c.trace(h, value)
		}
	case chunkSize:
		switch n := chunkLength(line); {
		case n < 0:
			h.state = openTurn
		case n == 0:
			h.state = trailers
		default:
			h.state, h.end = chunkData, h.pos+uint64(n)
		}
	case chunkEnd:
		if h.state = chunkSize; len(line) > 0 {
			h.state = openTurn
		}
	case trailers:
		if len(line) == 0 {
			c.messageEnd(h)
		}
	}
}

// hole takes n bytes that weren't captured. gap: because records were lost,
// which whoever lost them counts.
func (c *Conn) hole(h *half, n uint64, gap bool) {
	if n == 0 && !gap {
		return
	}
	h.turn = false
	if h.state == firstLine && !c.firstLine(h, h.line, true) && h.state == unsynced {
		c.unsync(h, gap)
	}
	for h.state == body || h.state == chunkData {
		k := min(n, h.end-h.pos)
		h.pos, n = h.pos+k, n-k
		if c.passed(h); n == 0 {
			return
		}
	}
	switch h.state {
	case between:
		c.unsync(h, gap)
	case headers:
		c.truncated(h, gap)
	case chunkSize, chunkEnd, trailers:
		h.state = openChunks
		c.hide(h, gap)
	}
	h.drop(c.shared)
	h.recent = [8]byte{}
	c.skipped(h, n)
}
