package http1

import "github.com/weirstream/weir/agent/protocol"

// Conn is one TCP connection seen at one socket. The zero value must be Reset.
type Conn struct {
	shared *Shared
	sink   protocol.Sink
	joined bool
}

// Shared is what all connections of one goroutine share: interned paths and
// buffers, so that an idle connection holds neither.
type Shared struct{}

// NewShared returns an empty Shared.
func NewShared() *Shared { return &Shared{} }

// Reset makes c a connection without history. joined says that it was open
// before capture began. It may be called again when c is used for another one.
func (c *Conn) Reset(sh *Shared, sink protocol.Sink, joined bool) {
	*c = Conn{shared: sh, sink: sink, joined: joined}
}

// Segment takes the next piece of payload of either direction.
func (c *Conn) Segment(s *protocol.Segment) {}

// Read says that at time the local process had consumed all received bytes
// below stream offset off (direction In). It may come before or after the
// segments it is about.
func (c *Conn) Read(off uint64, time int64) {}

// FIN says that a direction ended in order, off bytes long.
func (c *Conn) FIN(dir protocol.Dir, off uint64, time int64) {}

// Idle says that nothing has come for a while: an exchange that waits only for
// the next turn to prove its end is reported now, with the time of its last
// byte. A tracker calls it after a second or so of silence.
func (c *Conn) Idle() {}

// Close says that the socket is gone, by a reset too: what is pending is
// reported. Only Reset may follow.
func (c *Conn) Close(time int64) {}

// Pending is the number of requests that wait for the end of their response.
func (c *Conn) Pending() int { return 0 }

// Ignored says that the connection is not (or no longer) HTTP/1: its segments
// need not be captured.
func (c *Conn) Ignored() bool { return false }
