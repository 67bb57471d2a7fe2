package http1

import (
	"bytes"
	"strings"
)

// head is what a message's head says about where the message ends.
type head struct {
	status  uint32 // 0: a request
	length  int64  // Content-Length; -1: none
	chunked bool   // the last transfer coding is chunked
	coded   bool   // the last transfer coding is another one
	invalid bool   // no two readers would agree where it ends
	expects bool   // Expect: the client may never send the body
	field   field  // of the last line, for folded lines
}

type field uint8

const (
	otherField field = iota
	contentLength
	transferEncoding
	expect
	traceparent
)

const maxLength = 1 << 62 // of a body or chunk: larger is nonsense, and offsets can't overflow

// requestLine splits "METHOD target HTTP/1.x". An HTTP/2 preface is told apart
// by its version.
func requestLine(line []byte) (method, target []byte, version string, ok bool) {
	line = bytes.TrimRight(line, " \t")
	i, j := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if i < 1 || j <= i+1 || !token(line[:i]) {
		return nil, nil, "", false
	}
	method, target = line[:i], line[i+1:j]
	switch v := line[j+1:]; {
	case len(v) == 8 && string(v[:7]) == "HTTP/1." && digit(v[7]):
		return method, target, "1", true
	case string(v) == "HTTP/2.0" && string(method) == "PRI":
		return method, target, "2", true
	}
	return nil, nil, "", false
}

// cutRequestLine is requestLine for a line whose end wasn't captured. cut: nor was the target's.
func cutRequestLine(line []byte) (method, target []byte, cut, ok bool) {
	method, target, _ = bytes.Cut(line, []byte(" "))
	target, _, whole := bytes.Cut(target, []byte(" "))
	ok = len(method) > 0 && token(method) && len(target) > 0 && (target[0] == '/' || whole)
	return method, target, !whole, ok
}

// statusLine returns the status code of "HTTP/1.x NNN reason", 0 if it isn't one.
// It needs the first 12 bytes only.
func statusLine(line []byte) uint32 {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || !digit(line[7]) || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return 0
	}
	var status uint32
	for _, d := range line[9:12] {
		if !digit(d) {
			return 0
		}
		status = status*10 + uint32(d-'0')
	}
	if status < 100 {
		return 0
	}
	return status
}

// plausible reports whether b could be the beginning of a message: a request,
// a response, or either. Whole first lines are checked wholly.
func plausible(b []byte, request, response bool) bool {
	const http = "HTTP/1."
	b = bytes.TrimLeft(b, "\r\n")
	if len(b) == 0 {
		return false
	}
	if response && strings.HasPrefix(http, string(b[:min(len(b), len(http))])) {
		return true
	}
	if !request {
		return false
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		_, _, _, ok := requestLine(bytes.TrimSuffix(b[:i], []byte("\r")))
		return ok
	}
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return token(b)
	}
	return i > 0 && token(b[:i])
}

// knownMethod returns the methods of RFC 9110 and PATCH; others are "_OTHER",
// as OpenTelemetry has it, so that a client can't make up names without end.
func knownMethod(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "HEAD":
		return "HEAD"
	case "DELETE":
		return "DELETE"
	case "PATCH":
		return "PATCH"
	case "OPTIONS":
		return "OPTIONS"
	case "CONNECT":
		return "CONNECT"
	case "TRACE":
		return "TRACE"
	}
	return "_OTHER"
}

// pathOf cuts scheme, authority, query and fragment off a request target. A path that
// is too long, or whose end wasn't captured (cut), keeps whole segments only: a part
// of a secret would look harmless.
func pathOf(target []byte, cut bool) []byte {
	if target[0] != '/' {
		if _, after, ok := bytes.Cut(target, []byte("://")); ok {
			i := bytes.IndexAny(after, "/?#")
			if i < 0 || after[i] != '/' {
				return []byte("/")
			}
			target = after[i:]
		}
	}
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target, cut = target[:i], false
	}
	if len(target) > maxPath {
		target, cut = target[:maxPath], true
	}
	if cut {
		target = target[:bytes.LastIndexByte(target, '/')+1]
	}
	return target
}

// line takes a header line and returns which field it belongs to and its value.
func (h *head) line(line []byte) (field, []byte) {
	if line[0] == ' ' || line[0] == '\t' { // obs-fold: more of the field before
		value := bytes.TrimSpace(line)
		h.apply(h.field, value)
		return h.field, value
	}
	h.field = otherField
	if l := line[0] | 0x20; l != 'c' && l != 't' && l != 'e' {
		return otherField, nil // no field of ours begins so
	}
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return otherField, nil
	}
	name, value := line[:i], bytes.TrimSpace(line[i+1:])
	if i > 0 && (name[i-1] == ' ' || name[i-1] == '\t') {
		if f := fieldOf(bytes.TrimRight(name, " \t")); f == contentLength || f == transferEncoding {
			h.invalid = true // "Content-Length : 5" means something to some only
		}
		return otherField, nil
	}
	h.field = fieldOf(name)
	h.apply(h.field, value)
	return h.field, value
}

func fieldOf(name []byte) field {
	switch len(name) {
	case len("content-length"):
		if equalFold(name, "content-length") {
			return contentLength
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			return transferEncoding
		}
	case len("expect"):
		if equalFold(name, "expect") {
			return expect
		}
	case len("traceparent"):
		if equalFold(name, "traceparent") {
			return traceparent
		}
	}
	return otherField
}

func (h *head) apply(f field, value []byte) {
	h.expects = h.expects || f == expect
	if len(value) == 0 || f != contentLength && f != transferEncoding {
		return
	}
	if len(value) > 256 {
		h.invalid = true
		return
	}
	if f == transferEncoding {
		last := bytes.TrimSpace(value[bytes.LastIndexByte(value, ',')+1:])
		h.chunked = equalFold(last, "chunked")
		h.coded = !h.chunked && !equalFold(last, "identity")
		return
	}
	for more := true; more; {
		var v []byte
		v, value, more = bytes.Cut(value, []byte(","))
		n := length(bytes.TrimSpace(v))
		if n < 0 || h.length >= 0 && h.length != n {
			h.invalid = true
			return
		}
		h.length = n
	}
}

// length parses a Content-Length, -1 if it isn't one.
func length(b []byte) int64 {
	if len(b) == 0 {
		return -1
	}
	var n int64
	for _, d := range b {
		if !digit(d) || n > maxLength/16 {
			return -1
		}
		n = n*10 + int64(d-'0')
	}
	return n
}

// chunkLength parses "1a2b;extension", -1 if it isn't a chunk's first line.
func chunkLength(line []byte) int64 {
	size, _, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	if len(size) == 0 {
		return -1
	}
	var n int64
	for _, d := range size {
		switch {
		case n > maxLength/16:
			return -1
		case digit(d):
			n = n<<4 | int64(d-'0')
		case 'a' <= d|0x20 && d|0x20 <= 'f':
			n = n<<4 | int64(d|0x20-'a'+10)
		default:
			return -1
		}
	}
	return n
}

// traceIDs returns the trace and span id, one after the other, of a valid W3C
// traceparent value, else "".
func traceIDs(v []byte) string {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' ||
		string(v[:2]) == "ff" || string(v[:2]) == "00" && len(v) != 55 || len(v) > 55 && v[55] != '-' {
		return ""
	}
	trace, span := v[3:35], v[36:52]
	if !hex(v[:2]) || !hex(trace) || !hex(span) || !hex(v[53:55]) || zeros(trace) || zeros(span) {
		return ""
	}
	var ids [48]byte
	copy(ids[copy(ids[:], trace):], span)
	return string(ids[:])
}

func hex(b []byte) bool {
	for _, c := range b {
		if !digit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "0")) == 0 }

func digit(c byte) bool { return '0' <= c && c <= '9' }

// token reports whether b consists of the characters of a method name. Longer
// than 32 is no method of anyone.
func token(b []byte) bool {
	if len(b) > 32 {
		return false
	}
	for _, c := range b {
		if l := c | 0x20; ('a' > l || l > 'z') && !digit(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// equalFold compares a header name or value with lower-case ASCII.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
