package gateway

import (
	"encoding/binary"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
)

// pack appends a row without its key, in a tenth of the memory: most buckets of
// a short window hold 0 or 1.
func pack(b []byte, r *query.Row) []byte {
	b = binary.AppendUvarint(b, r.Errors)
	b = binary.AppendVarint(b, r.WaitNS)
	b = binary.AppendVarint(b, r.ProcessingNS)
	b = binary.AppendVarint(b, r.TransferNS)
	b = packHistogram(b, &r.Hist)
	return packHistogram(b, &r.Wait)
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
	b   []byte
	row query.Row
}

// unpack returns the row, which is valid until the next call.
func (u *unpacker) unpack(b []byte) *query.Row {
	u.b = b
	r := &u.row
	r.Errors = u.uvarint()
	r.WaitNS, r.ProcessingNS, r.TransferNS = u.varint(), u.varint(), u.varint()
	u.histogram(&r.Hist)
	u.histogram(&r.Wait)
	return r
}

func (u *unpacker) histogram(h *histogram.Histogram) {
	h.Reset()
	if h.Count = u.uvarint(); h.Count == 0 {
		return
	}
	h.SumNS, h.MinNS = u.varint(), u.varint()
	h.MaxNS = h.MinNS + u.varint()
	h.Scale, h.Offset = int32(u.varint()), int32(u.varint())
	h.ZeroCount = u.uvarint()
	n := int(u.uvarint())
	for len(h.Buckets) < n {
		v := u.uvarint()
		h.Buckets = append(h.Buckets, v)
		if v == 0 {
			for range u.uvarint() {
				h.Buckets = append(h.Buckets, 0)
			}
		}
	}
}

func (u *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(u.b)
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.b)
	u.b = u.b[n:]
	return v
}

// packedCount is how many requests a packed row holds.
func packedCount(b []byte) uint64 {
	u := unpacker{b: b}
	u.uvarint()
	u.varint()
	u.varint()
	u.varint()
	return u.uvarint()
}
