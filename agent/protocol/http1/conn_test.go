package http1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weirstream/weir/agent/protocol"
)

// recorder is a sink that keeps what it is given.
type recorder struct {
	exchanges []protocol.Exchange
	lost      uint64
}

func (r *recorder) Exchange(e *protocol.Exchange) { r.exchanges = append(r.exchanges, *e) }
func (r *recorder) Lost(n uint64)                 { r.lost += n }

// show writes exchanges as "METHOD path status start-first-end requestBytes/responseBytes",
// with what else is there to say.
func (r *recorder) show() string {
	var b strings.Builder
	for _, e := range r.exchanges {
		fmt.Fprintf(&b, "%s %s %d %d-%d-%d %d/%d", e.Method, e.Path, e.Status, e.Start, e.FirstByte, e.End, e.RequestBytes, e.ResponseBytes)
		if e.Read != 0 {
			fmt.Fprintf(&b, " read=%d", e.Read)
		}
		if e.Error != "" {
			b.WriteString(" " + e.Error)
		}
		if e.Truncated {
			b.WriteString(" truncated")
		}
		if e.TraceID != "" {
			b.WriteString(" trace=" + e.TraceID + "/" + e.SpanID)
		}
		b.WriteString("\n")
	}
	if r.lost > 0 {
		fmt.Fprintf(&b, "lost %d\n", r.lost)
	}
	return b.String()
}

var unseen = regexp.MustCompile(`\[\+(\d+)\]`)

// play feeds a script, a step a unit of time, the first at 1:
//
//	> bytes     a segment with bytes of the request direction (In)
//	< bytes     one of the response direction
//	            in it: [+100] are 100 bytes that weren't captured, followed by its tail
//	>gap 100    the next segment comes after 100 bytes nobody saw; also <gap
//	read 10     the process had read 10 bytes of the stream
//	>fin, <fin  the direction ended; close: the socket is gone; idle: a second passed
func play(t *testing.T, c *Conn, script []string) {
	t.Helper()
	var off, gap [2]uint64
	last := -1
	for i, step := range script {
		now := int64(i + 1)
		dir := protocol.In
		if step[0] == '<' {
			dir = protocol.Out
		}
		word, arg, _ := strings.Cut(step, " ")
		n, _ := strconv.ParseUint(arg, 10, 64)
		switch word {
		case "read":
			c.Read(n, now)
		case ">fin", "<fin":
			c.FIN(dir, off[dir]+gap[dir], now)
		case ">gap", "<gap":
			gap[dir] = n
		case "close":
			c.Close(now)
		case "idle":
			c.Idle()
		case ">", "<":
			s := protocol.Segment{Dir: dir, Time: now, Off: off[dir] + gap[dir], Gap: gap[dir] > 0, Turn: last != int(dir)}
			s.Data, s.Len = []byte(arg), len(arg)
			if m := unseen.FindStringSubmatchIndex(arg); m != nil {
				hole, _ := strconv.Atoi(arg[m[2]:m[3]])
				s.Data, s.Tail = []byte(arg[:m[0]]), []byte(arg[m[1]:])
				s.Len = len(s.Data) + hole + len(s.Tail)
			}
			off[dir], gap[dir], last = s.End(), 0, int(dir)
			c.Segment(&s)
		default:
			t.Fatalf("unknown step %q", step)
		}
	}
}

const (
	get   = "> GET /a HTTP/1.1\r\nHost: x\r\n\r\n" // 28 bytes
	ok    = "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
)

func TestConversations(t *testing.T) {
	tests := []struct {
		name   string
		joined bool
		script []string
		want   string
	}{
		// Ordinary exchanges. They are reported by the last byte: no script here needs a close.
		{"request and response", false, []string{get, ok}, "GET /a 200 1-2-2 28/40\n"},
		{"keep-alive", false, []string{get, ok, "> DELETE /b HTTP/1.1\r\n\r\n", "< HTTP/1.1 204 No Content\r\n\r\n"},
			"GET /a 200 1-2-2 28/40\nDELETE /b 204 3-4-4 22/27\n"},
		{"close after the last response adds nothing", false, []string{get, ok, "<fin", ">fin", "close"}, "GET /a 200 1-2-2 28/40\n"},
		{"response over several segments", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", "< abc", "< def"}, "GET /a 200 1-2-4 28/44\n"},
		{"request body", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "> hello", ok}, "POST /a 200 1-3-3 44/40\n"},
		{"body never captured", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", "< [+5000000]", "< [+5000000]"}, "GET /a 200 1-2-4 28/10000045\n"},
		{"HTTP/1.0, until close", false, []string{"> GET / HTTP/1.0\r\n\r\n", "< HTTP/1.0 200 OK\r\n\r\nabc", "< def", "<fin"}, "GET / 200 1-2-4 18/25\n"},
		{"no length at all", false, []string{get, "< HTTP/1.1 200 OK\r\n\r\n", "< abc", "<fin", "close"}, "GET /a 200 1-2-4 28/22\n"},
		{"HEAD", false, []string{"> HEAD /a HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", get, ok}, "HEAD /a 200 1-2-2 20/39\nGET /a 200 3-4-4 28/40\n"},
		{"304 with a length", false, []string{get, "< HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"}, "GET /a 304 1-2-2 28/49\n"},
		{"status line without a reason", false, []string{get, "< HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"}, "GET /a 200 1-2-2 28/35\n"},

		// Heads.
		{"head split", false, []string{"> G", "> ET /a HT", "> TP/1.1\r", "> \n\r", "> \n", "< H", "< TTP/1.1 20", "< 0 OK\r\nContent-Le", "< ngth: 2\r\n\r\nh", "< i"}, "GET /a 200 1-6-10 19/40\n"},
		{"empty lines before a request", false, []string{"> \r\n\r\nGET / HTTP/1.1\r\n\r\n", ok}, "GET / 200 1-2-2 18/40\n"},
		{"bare line feeds", false, []string{"> GET / HTTP/1.1\nHost: x\n\n", "< HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"}, "GET / 200 1-2-2 24/37\n"},
		{"header names in any case", false, []string{get, "< HTTP/1.1 200 OK\r\ncONTENT-lENGTH:2\r\n\r\nhi"}, "GET /a 200 1-2-2 28/39\n"},
		{"folded lines", false, []string{"> POST /a HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", "> 2\r\nhi\r\n0\r\n\r\n", ok}, "POST /a 200 1-3-3 62/40\n"},
		{"query and fragment dropped", false, []string{"> GET /a/b?token=1#x HTTP/1.1\r\n\r\n", ok}, "GET /a/b 200 1-2-2 31/40\n"},
		{"absolute form", false, []string{"> GET http://user:pw@host:80/a?b HTTP/1.1\r\n\r\n", ok}, "GET /a 200 1-2-2 43/40\n"},
		{"absolute form without a path", false, []string{"> GET http://host?b HTTP/1.1\r\n\r\n", ok}, "GET / 200 1-2-2 30/40\n"},
		{"asterisk form", false, []string{"> OPTIONS * HTTP/1.1\r\n\r\n", ok}, "OPTIONS * 200 1-2-2 22/40\n"},
		{"extension method", false, []string{"> PROPFIND /a HTTP/1.1\r\n\r\n", ok}, "_OTHER /a 200 1-2-2 24/40\n"},
		{"a long path keeps whole segments", false, []string{"> GET /a/" + strings.Repeat("x", 300) + " HTTP/1.1\r\n\r\n", ok}, "GET /a/ 200 1-2-2 320/40\n"},
		{"trace context", false, []string{"> GET /a HTTP/1.1\r\n" + trace + "\r\n", ok}, "GET /a 200 1-2-2 89/40 trace=0af7651916cd43dd8448eb211c80319c/b7ad6b7169203331\n"},
		{"two trace contexts are none", false, []string{"> GET /a HTTP/1.1\r\n" + trace + trace + "\r\n", ok}, "GET /a 200 1-2-2 159/40\n"},

		// Chunked.
		{"chunked response", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "< 0\r\n\r\n"}, "GET /a 200 1-2-3 28/62\n"},
		{"chunk extension and trailers", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n", "< \r\n"}, "GET /a 200 1-2-3 28/78\n"},
		{"a chunk's header says where the next one is", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n[+99999]", "< x\r\n0\r\n\r\n"}, "GET /a 200 1-2-3 28/100061\n"},
		{"the last chunk in the tail", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "< [+3000]e\r\n0\r\n\r\n"}, "GET /a 200 1-2-3 28/3058\n"},
		{"the last chunk in two segments' tails", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "< [+3000]de\r\n0\r\n", "< [+0]\r\n"}, "GET /a 200 1-2-4 28/3059\n"},
		{"chunk data that looks like the end", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "< 9\r\na\r\n0\r\n\r\nb\r\n", "< 0\r\n\r\n"}, "GET /a 200 1-2-4 28/66\n"},
		{"chunked request beyond the capture", false, []string{"> POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "> [+3000]e\r\n0\r\n\r\n", ok, get, ok}, "POST /a 200 1-3-3 3059/40\nGET /a 200 4-5-5 28/40\n"},
		{"both chunked beyond the capture, and silence", false, []string{"> POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "> [+3000]e\r\n0\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "< [+3000]e\r\n0\r\n\r\n", "idle"}, "POST /a 200 1-3-4 3059/3055\n"},
		{"chunked end unseen, then the next turn", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "< [+3000]", "< [+3000]", get, ok}, "GET /a 200 1-2-4 28/6047\nGET /a 200 5-6-6 28/40\n"},
		{"chunked and a length: chunked", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}, "GET /a 200 1-2-2 28/71\n"},

		// Interim, early and special responses.
		{"100 Continue", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", "< HTTP/1.1 100 Continue\r\n\r\n", "> hi", ok}, "POST /a 200 1-4-4 63/40\n"},
		{"103 Early Hints in the same segment", false, []string{get, "< HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"}, "GET /a 200 1-2-2 28/40\n"},
		{"early response, the body comes later", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", ok, "> def", "> ghi", get, ok}, "POST /a 200 1-2-2 42/40\nGET /a 200 5-6-6 28/40\n"},
		{"early response, the body never comes", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", ok, get, ok}, "POST /a 200 1-2-2 61/40\nGET /a 200 3-4-4 28/40\n"},
		{"early response, chunks never come", false, []string{"> POST /a HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", ok, get, ok}, "POST /a 200 1-2-2 70/40\nGET /a 200 3-4-4 28/40\n"},
		{"a response to half a head", false, []string{"> GET /a HTTP/1.1\r\nHost:", "< HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", "close"}, "GET /a 408 1-2-2 22/51\n"},
		{"upgrade", false, []string{get, "< HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello", get, ok, "close"}, "GET /a 101 1-2-2 28/36\n"},
		{"CONNECT", false, []string{"> CONNECT h:1 HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\n\r\n", get, ok}, "CONNECT  200 1-2-2 24/19\n"},
		{"CONNECT refused", false, []string{"> CONNECT h:1 HTTP/1.1\r\n\r\n", "< HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", get, ok}, "CONNECT  403 1-2-2 24/38\nGET /a 200 3-4-4 28/40\n"},

		// Pipelining.
		{"pipelined in one segment", false, []string{"> GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n", ok, "< HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
			"GET /1 200 1-2-2 19/40\nHEAD /2 200 1-3-3 20/38\nGET /3 404 1-3-3 19/45\n"},
		{"a client that doesn't wait", false, []string{"> GET /1 HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", "> GET /2 HTTP/1.1\r\n\r\n", "< i", ok}, "GET /1 200 1-2-4 19/40\nGET /2 200 3-5-5 19/40\n"},

		// Connections that end too early.
		{"no response", false, []string{get, ">fin", "close"}, "GET /a 0 1-0-3 28/0 no_response\n"},
		{"the server ends without a word", false, []string{get, "<fin", "close"}, "GET /a 0 1-0-2 28/0 no_response\n"},
		{"only an interim response", false, []string{get, "< HTTP/1.1 100 Continue\r\n\r\n", "close"}, "GET /a 0 1-0-3 28/0 no_response\n"},
		{"reset in the body", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "close"}, "GET /a 200 1-2-3 28/40 incomplete_response\n"},
		{"end in the body", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "<fin", "close"}, "GET /a 200 1-2-3 28/40 incomplete_response\n"},
		{"reset before the end of a body until close", false, []string{get, "< HTTP/1.1 200 OK\r\n\r\nhi", "close"}, "GET /a 200 1-2-3 28/21 incomplete_response\n"},
		{"end in a chunk", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "<fin"}, "GET /a 200 1-2-3 28/52 incomplete_response\n"},
		{"end in the response's head", false, []string{get, "< HTTP/1.1 200 OK\r\nCont", "close"}, "GET /a 200 1-2-3 28/21 incomplete_response\n"},
		{"pipelined, one answered", false, []string{"> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", ok, "close"}, "GET /1 200 1-2-2 19/40\nGET /2 0 1-0-3 19/0 no_response\n"},
		{"nothing but half a request line", false, []string{"> GET /a HT", "close"}, ""},

		// The process's reads.
		{"read", false, []string{get, "read 28", ok}, "GET /a 200 1-3-3 28/40 read=2\n"},
		{"read byte by byte: the first counts", false, []string{get, "read 1", "read 28", ok}, "GET /a 200 1-4-4 28/40 read=2\n"},
		{"read known before the segment", false, []string{"read 28", get, ok}, "GET /a 200 2-3-3 28/40 read=2\n"},
		{"read of half a request line", false, []string{"> GET", "read 3", ">  /a HTTP/1.1\r\n\r\n", ok}, "GET /a 200 1-4-4 19/40 read=2\n"},
		{"reading a body is not reading the next request", false, []string{"> POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\n\r\n", "read 39", "read 41", "read 42", ok, ok},
			"POST /1 200 1-5-5 41/40 read=2\nGET /2 200 1-6-6 19/40 read=4\n"},

		// Capture that ends within the head.
		{"request head longer than the capture", false, []string{"> GET /a HTTP/1.1\r\nCookie: [+9000]x\r\n\r\n", ok, get, ok}, "GET /a 200 1-2-2 9030/40 truncated\nGET /a 200 3-4-4 28/40\n"},
		{"request line longer than the capture", false, []string{"> GET /a/secr[+9000]x\r\n\r\n", ok}, "GET /a/ 200 1-2-2 9016/40 truncated\n"},
		{"response head longer than the capture", false, []string{get, "< HTTP/1.1 200 OK\r\nSet-Cookie: [+9000]", "< [+50]", get, ok}, "GET /a 200 1-2-3 28/9079 truncated\nGET /a 200 4-5-5 28/40\n"},
		{"the same, and silence", false, []string{get, "< HTTP/1.1 200 OK\r\nSet-Cookie: [+9000]", "< [+50]", "idle", "< [+50]", get, ok}, "GET /a 200 1-2-3 28/9079 truncated\nGET /a 200 6-7-7 28/40\n"},
		{"the same, and close", false, []string{get, "< HTTP/1.1 200 OK\r\nSet-Cookie: [+9000]", "close"}, "GET /a 200 1-2-2 28/9029 truncated\n"},
		{"the same, with two pipelined", false, []string{"> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\nSet-Cookie: [+9000]", ok}, "GET /1 200 1-2-2 19/9029 truncated\nGET /2 200 1-3-3 19/40\n"},
		{"the same, with three: which is which?", false, []string{"> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\nSet-Cookie: [+9000]", ok, get, ok}, "GET /a 200 4-5-5 28/40\nlost 3\n"},
		{"pipelined requests nobody saw", false, []string{"> GET /1 HTTP/1.1\r\n\r\n[+40]", ok, ok, ok, get, ok}, "GET /1 200 1-2-2 19/40\nGET /a 200 5-6-6 28/40\nlost 2\n"},
		{"responses nobody saw", false, []string{"> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[+50]", get, ok}, "GET /1 200 1-2-2 19/49\nGET /a 200 3-4-4 28/40\nlost 2\n"},

		// Joined in the middle, and records lost.
		{"joined between exchanges", true, []string{get, ok}, "GET /a 200 1-2-2 28/40\n"},
		{"joined in a request's body", true, []string{"> [+1000]", "> xyz", ok, get, ok}, "GET /a 200 4-5-5 28/40\n"},
		{"joined in a response", true, []string{"< [+10000]", "< [+10000]", get, ok}, "GET /a 200 3-4-4 28/40\n"},
		{"joined before the response to a HEAD", true, []string{"< HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", get, ok}, "GET /a 200 2-3-3 28/40\n"},
		{"a gap in a body is no loss", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "<gap 400", "< [+100]"}, "GET /a 200 1-2-4 28/540\n"},
		{"a request lost, then its response", false, []string{get, ok, ok, ">gap 28", get, ok}, "GET /a 200 1-2-2 28/40\nGET /a 200 5-6-6 28/40\n"},
		{"a response lost", false, []string{get, get, "<gap 40", ok, get, ok}, "GET /a 200 5-6-6 28/40\nlost 2\n"},
		{"the head of a response lost", false, []string{get, "<gap 40", "< [+100]", get, ok}, "GET /a 200 4-5-5 28/40\nlost 1\n"},

		// Not HTTP, or wrong.
		{"HTTP/2", false, []string{"> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "< \x00\x00\x00\x04\x00", get, ok}, ""},
		{"another protocol", false, []string{"< SSH-2.0-x\r\n", "> SSH-2.0-y\r\n", "close"}, ""},
		{"TLS to a plain port", false, []string{"> \x16\x03\x01\x02\x00\x01", "< HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "close"}, ""},
		{"lengths that agree", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 02\r\n\r\nhi"}, "GET /a 200 1-2-2 28/63\n"},
		{"lengths that differ", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhiGET /evil HTTP/1.1\r\n\r\n", "< HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", get, ok}, "POST /a 400 1-2-2 82/39\nGET /a 200 3-4-4 28/40\n"},
		{"a negative length", false, []string{"> POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\nhi", ok, get, ok}, "POST /a 200 1-2-2 42/40\nGET /a 200 3-4-4 28/40\n"},
		{"a length of 2^70", false, []string{get, "< HTTP/1.1 200 OK\r\nContent-Length: 1180591620717411303424\r\n\r\nhi", get, ok}, "GET /a 200 1-2-2 28/61\nGET /a 200 3-4-4 28/40\n"},
		{"a bad chunk size", false, []string{get, "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", get, ok}, "GET /a 200 1-2-2 28/58\nGET /a 200 3-4-4 28/40\n"},
		{"garbage after a response", false, []string{get, "< HTTP/1.1 204 No Content\r\n\r\ngarbage", get, ok}, "GET /a 204 1-2-2 28/27\nGET /a 200 3-4-4 28/40\n"},
		{"NULs", false, []string{"> GET /\x00\x00 HTTP/1.1\r\n\x00: \x00\r\n\r\n", ok}, "GET /\x00\x00 200 1-2-2 26/40\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got recorder
			var c Conn
			c.Reset(NewShared(), &got, tt.joined)
			play(t, &c, tt.script)
			if got.show() != tt.want {
				t.Errorf("got\n%swant\n%s", got.show(), tt.want)
			}
			for _, e := range got.exchanges {
				if e.Joined != tt.joined || e.RequestDir != protocol.In {
					t.Errorf("joined %v, direction %v", e.Joined, e.RequestDir)
				}
			}
		})
	}
}
