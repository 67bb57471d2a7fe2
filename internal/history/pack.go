package history

import (
	"encoding/binary"
	"slices"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
)

// pack appends a row without its key, in a tenth of the memory: most buckets of
// a short window hold 0 or 1.
func pack(b []byte, r *query.Row) []byte {
	b = packHistogram(b, &r.Hist)
	b = packHistogram(b, &r.Wait)
	b = binary.AppendUvarint(b, r.Errors)
	b = binary.AppendVarint(b, r.WaitNS)
	b = binary.AppendVarint(b, r.ProcessingNS)
	return binary.AppendVarint(b, r.TransferNS)
}

func packHistogram(b []byte, h *histogram.Histogram) []byte {
	b = binary.AppendUvarint(b, h.Count)
	if h.Count == 0 {
		return b
	}
	for _, v := range []int64{h.SumNS, h.MinNS, h.MaxNS - h.MinNS, int64(h.Scale), int64(h.Offset)} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.AppendUvarint(b, h.ZeroCount)
	b = binary.AppendUvarint(b, uint64(len(h.Buckets)))
	for i := 0; i < len(h.Buckets); i++ {
		b = binary.AppendUvarint(b, h.Buckets[i])
		if h.Buckets[i] == 0 { // and how many zeros follow it
			run := 0
			for i+1 < len(h.Buckets) && h.Buckets[i+1] == 0 {
				run++
				i++
			}
			b = binary.AppendUvarint(b, uint64(run))
		}
	}
	return b
}

// unpacker reads what pack wrote; its memory is used again.
type unpacker struct {
	b      []byte
	row    query.Row
	sparse promql.Sparse
}

// unpack returns the row, which is valid until the next call.
func (u *unpacker) unpack(b []byte) *query.Row {
	u.b = b
	r := &u.row
	u.histogram(&r.Hist)
	u.histogram(&r.Wait)
	r.Errors = u.uvarint()
	r.WaitNS, r.ProcessingNS, r.TransferNS = u.varint(), u.varint(), u.varint()
	return r
}

// unpackOne returns one of a row's histograms, without its buckets unless they
// are wanted. It is valid until the next call.
func (u *unpacker) unpackOne(b []byte, wait, buckets bool) *histogram.Histogram {
	h := &u.row.Hist
	if n := u.find(h, b, wait); buckets {
		u.buckets(h, n)
	}
	return h
}

// find goes to one of a row's histograms, reads all but the buckets, and returns
// how many of those there are.
func (u *unpacker) find(h *histogram.Histogram, b []byte, wait bool) int {
	u.b = b
	n := u.head(h)
	if wait {
		u.skip(n)
		n = u.head(h)
	}
	return n
}

// unpackSparse is unpackOne with the buckets that aren't empty alone.
func (u *unpacker) unpackSparse(b []byte, wait bool) *promql.Sparse {
	s := &u.sparse
	n := int32(u.find(&s.Histogram, b, wait))
	filled := s.Filled[:0]
	b = u.b
	for i := int32(0); i < n; i++ {
		count, size := uint64(b[0]), 1
		if count >= 0x80 { // few are, in a short window
			count, size = binary.Uvarint(b)
		}
		if b = b[size:]; count > 0 {
			filled = append(filled, promql.Bucket{Index: s.Offset + i, Count: count})
			continue
		}
		run, size := binary.Uvarint(b)
		b, i = b[size:], i+int32(run)
	}
	s.Filled = filled
	return s
}

func (u *unpacker) histogram(h *histogram.Histogram) { u.buckets(h, u.head(h)) }

// head reads all but the buckets, and returns how many of those there are.
func (u *unpacker) head(h *histogram.Histogram) int {
	h.Reset()
	if h.Count = u.uvarint(); h.Count == 0 {
		return 0
	}
	h.SumNS, h.MinNS = u.varint(), u.varint()
	h.MaxNS = h.MinNS + u.varint()
	h.Scale, h.Offset = int32(u.varint()), int32(u.varint())
	h.ZeroCount = u.uvarint()
	return int(u.uvarint())
}

// buckets is most of the work of a question about a long time.
func (u *unpacker) buckets(h *histogram.Histogram, n int) {
	h.Buckets = slices.Grow(h.Buckets, n)[:n]
	into, b := h.Buckets, u.b
	for i := 0; i < n; i++ {
		if b[0] > 0 && b[0] < 0x80 { // almost all are, in a short window
			into[i], b = uint64(b[0]), b[1:]
			continue
		}
		v, size := binary.Uvarint(b)
		into[i], b = v, b[size:]
		if v == 0 {
			run, size := binary.Uvarint(b)
			b = b[size:]
			clear(into[i+1 : i+1+int(run)])
			i += int(run)
		}
	}
	u.b = b
}

func (u *unpacker) skip(buckets int) {
	for i := 0; i < buckets; i++ {
		if u.uvarint() == 0 {
			i += int(u.uvarint())
		}
	}
}

func (u *unpacker) uvarint() uint64 {
	if v := u.b[0]; v < 0x80 { // most are
		u.b = u.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(u.b)
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.b)
	u.b = u.b[n:]
	return v
}
