// Package protocol is what the agent's connection tracker and the parsers of
// application protocols say to each other: ordered segments of one TCP
// connection go in, exchanges come out. One sub-folder per protocol.
//
// The kernel captures only the head of a turn (a run of bytes in one
// direction) and the lengths, times and last bytes of the rest, so a parser
// works in stream offsets: most of the bytes it accounts for it never sees.
package protocol

// Dir is the direction of a segment, as the local socket sees it.
type Dir uint8

const (
	In  Dir = iota // received by the local socket
	Out            // sent by the local socket
)

// Segment is one piece of payload of one direction, in stream order: the
// tracker has put it in sequence and removed what was seen before.
type Segment struct {
	Dir  Dir
	Time int64  // nanoseconds of boot time
	Off  uint64 // stream offset of its first byte; grows by the length of everything sent, seen or not
	Len  int    // payload bytes
	Data []byte // its first len(Data) <= Len bytes as captured; valid during the call only
	Tail []byte // its last bytes (up to 8) if len(Data) < Len and they were captured; else nil
	Gap  bool   // bytes between the end of the last segment of this direction and Off were never seen
	Turn bool   // the direction changed before this segment: it may begin a message
}

// End is the stream offset after the segment's last byte.
func (s *Segment) End() uint64 { return s.Off + uint64(s.Len) }

// Exchange is one request and its response, seen at one socket, in boot time.
type Exchange struct {
	RequestDir Dir   // In: this is the server's side; Out: the client's
	Start      int64 // first byte of the request
	Read       int64 // when the server's process read that byte; 0 if not seen; may be after FirstByte if the server answered unread
	FirstByte  int64 // first byte of the final response; 0 if none
	End        int64 // last byte of the response, or the close if there was none

	RequestBytes  uint64
	ResponseBytes uint64

	Method  string // interned: no allocation per exchange for usual methods
	Path    string // as sent, query and fragment dropped, not yet a template; at most 256 bytes
	Status  uint32 // 0 if there was no response
	Error   string // OpenTelemetry error.type: "", ErrorNoResponse or ErrorIncomplete; status errors are added by the agent
	TraceID string // from a valid W3C traceparent header, else ""
	SpanID  string

	Truncated bool // the head was longer than what was captured
	Joined    bool // the connection was open before capture began
}

// Values of Exchange.Error. Both are low-cardinality values of error.type.
const (
	ErrorNoResponse = "no_response"         // the connection ended before a final response began
	ErrorIncomplete = "incomplete_response" // it ended in the middle of the response
)

// Sink receives what a parser finds. Calls happen inside the parser's methods,
// on the caller's goroutine; the Exchange is valid during the call only (its
// strings may be kept), so that an exchange costs no allocation.
type Sink interface {
	Exchange(*Exchange)
	// Lost counts exchanges known to have happened whose figures are not known.
	Lost(n uint64)
}
