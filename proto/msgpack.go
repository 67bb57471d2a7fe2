package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Hostile bytes must cost no more than they weigh, so messages are read with
// this reader: general decoders allocate what a length claims before looking
// whether it is there, and follow nesting to any depth.

var (
	errShort    = errors.New("ends early")
	errTrailing = errors.New("has bytes after its end")
)

// reader reads msgpack from b. The first error sticks, and everything read
// after it is zero.
type reader struct {
	b   []byte // what is left
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// end is the error of a message that should be over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errTrailing
	}
	return r.err
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) code() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0xc0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// number takes a big-endian number of size bytes.
func (r *reader) number(size uint64) (v uint64) {
	for _, c := range r.take(size) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (r *reader) int() int64 {
	c := r.code()
	switch {
	case c <= 0x7f || c >= 0xe0:
		return int64(int8(c))
	case c >= 0xcc && c <= 0xcf:
		v := r.number(1 << (c - 0xcc))
		if v > math.MaxInt64 {
			r.fail(fmt.Errorf("number %d is too large", v))
			return 0
		}
		return int64(v)
	case c >= 0xd0 && c <= 0xd3:
		size := uint64(1) << (c - 0xd0)
		shift := 64 - 8*size
		return int64(r.number(size)<<shift) >> shift
	}
	r.fail(fmt.Errorf("code %#x is not an integer", c))
	return 0
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] == 0xcf {
		r.code()
		return r.number(8)
	}
	v := r.int()
	if v < 0 {
		r.fail(fmt.Errorf("number %d is negative", v))
		return 0
	}
	return uint64(v)
}

// uints reads numbers, most of which are of one byte. Moving r.b on for each
// would cost more than reading it.
func (r *reader) uints(into []uint64) {
	for len(into) > 0 {
		n, b := 0, r.b
		for n < len(into) && n < len(b) && b[n] <= 0x7f {
			into[n] = uint64(b[n])
			n++
		}
		r.b, into = b[n:], into[n:]
		if len(into) > 0 {
			into[0], into = r.uint(), into[1:]
		}
	}
}

// uint32 reads a number that must be at most limit.
func (r *reader) uint32(limit uint32) uint32 {
	v := r.uint()
	if v > uint64(limit) {
		r.fail(fmt.Errorf("number %d is above %d", v, limit))
		return 0
	}
	return uint32(v)
}

func (r *reader) int32() int32 {
	v := r.int()
	if v != int64(int32(v)) {
		r.fail(fmt.Errorf("number %d does not fit 32 bits", v))
	}
	return int32(v)
}

func (r *reader) bool() bool {
	c := r.code()
	if c != 0xc2 && c != 0xc3 {
		r.fail(fmt.Errorf("code %#x is not a boolean", c))
	}
	return c == 0xc3
}

// bytes reads a str or bin without copying it.
func (r *reader) bytes() []byte {
	c := r.code()
	switch {
	case c >= 0xa0 && c <= 0xbf:
		return r.take(uint64(c & 0x1f))
	case c >= 0xc4 && c <= 0xc6:
		return r.take(r.number(1 << (c - 0xc4)))
	case c >= 0xd9 && c <= 0xdb:
		return r.take(r.number(1 << (c - 0xd9)))
	}
	r.fail(fmt.Errorf("code %#x is not a string", c))
	return nil
}

// text reads a string without copying it, within the limit of all strings.
func (r *reader) text() []byte {
	s := r.bytes()
	if len(s) > MaxStringBytes {
		r.fail(fmt.Errorf("string of %d bytes, at most %d are allowed", len(s), MaxStringBytes))
		return nil
	}
	return s
}

func (r *reader) string() string { return string(r.text()) }

// into reads a string into s, and keeps s when it is the same: the strings of
// a lane's header rarely change.
func (r *reader) into(s *string) {
	if t := r.text(); *s != string(t) {
		*s = string(t)
	}
}

// array reads the length of an array of at most limit items; nil is empty.
func (r *reader) array(limit int) int { return r.length(0x90, 0xdc, 1, limit) }

// fields reads a map and yields its keys; the loop's body reads or skips the value.
func (r *reader) fields(yield func(key []byte) bool) {
	for range r.length(0x80, 0xde, 2, math.MaxInt32) {
		key := r.text()
		if r.err != nil || !yield(key) || r.err != nil {
			return
		}
	}
}

// length reads how many entries an array or map has, each of at least size bytes.
func (r *reader) length(fix, code16 byte, size, limit int) int {
	c := r.code()
	var n uint64
	switch {
	case c == 0xc0:
	case c&0xf0 == fix:
		n = uint64(c & 0x0f)
	case c == code16 || c == code16+1:
		n = r.number(2 << (c - code16))
	default:
		r.fail(fmt.Errorf("code %#x is not a list of the kind expected", c))
	}
	if n > uint64(limit) {
		r.fail(fmt.Errorf("%d entries, at most %d are allowed", n, limit))
		return 0
	}
	if n > uint64(len(r.b)/size) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// skip passes over one value, however deep, in one loop.
func (r *reader) skip() {
	for values := uint64(1); values > 0 && r.err == nil; values-- {
		c := r.code()
		switch {
		case c >= 0x80 && c <= 0x8f:
			values += 2 * uint64(c&0x0f)
		case c >= 0x90 && c <= 0x9f:
			values += uint64(c & 0x0f)
		case c >= 0xa0 && c <= 0xbf:
			r.take(uint64(c & 0x1f))
		case c == 0xc1:
			r.fail(fmt.Errorf("code %#x is not msgpack", c))
		case c >= 0xc4 && c <= 0xc6: // bin
			r.take(r.number(1 << (c - 0xc4)))
		case c >= 0xc7 && c <= 0xc9: // ext: a type byte more
			r.take(r.number(1<<(c-0xc7)) + 1)
		case c == 0xca || c == 0xcb: // float
			r.take(4 << (c - 0xca))
		case c >= 0xcc && c <= 0xcf: // uint
			r.take(1 << (c - 0xcc))
		case c >= 0xd0 && c <= 0xd3: // int
			r.take(1 << (c - 0xd0))
		case c >= 0xd4 && c <= 0xd8: // fixext: a type byte more
			r.take(1<<(c-0xd4) + 1)
		case c >= 0xd9 && c <= 0xdb: // str
			r.take(r.number(1 << (c - 0xd9)))
		case c == 0xdc || c == 0xdd: // array
			values += r.number(2 << (c - 0xdc))
		case c == 0xde || c == 0xdf: // map
			values += 2 * r.number(2<<(c-0xde))
		}
		if values-1 > uint64(len(r.b)) {
			r.fail(errShort)
		}
	}
}

// Messages are written with these: no reflection, no allocation, the same bytes
// for the same message.

func appendMap(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x80|byte(n))
	}
	return append(b, 0xde, byte(n>>8), byte(n))
}

func appendArray(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x90|byte(n))
	}
	return append(b, 0xdc, byte(n>>8), byte(n))
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v < 0x80:
		return append(b, byte(v))
	case v <= math.MaxUint8:
		return append(b, 0xcc, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

func appendInt(b []byte, v int64) []byte {
	if v >= 0 {
		return appendUint(b, uint64(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 0xc3)
	}
	return append(b, 0xc2)
}

// appendString writes a str, or a bin if s isn't UTF-8: many decoders refuse
// other bytes in a str, and the name of a process may hold any.
func appendString(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return appendBin(b, []byte(s))
	}
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	default:
		b = append(b, 0xda, byte(n>>8), byte(n))
	}
	return append(b, s...)
}

func appendBin(b, data []byte) []byte {
	switch n := len(data); {
	case n <= math.MaxUint8:
		b = append(b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		b = append(b, 0xc5, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
	}
	return append(b, data...)
}
