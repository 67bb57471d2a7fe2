package proto

import (
	"net/netip"
	"unsafe"
)

// dictWriter collects the strings and addresses of a frame, each once, as the
// items of a msgpack array. Index 0 is the empty string and no address; it isn't
// written.
//
// Writers hand in the same strings again and again, at the same place in memory,
// so small direct-mapped caches by place stand before the maps. They are emptied
// for every frame; within one, its events keep the strings where they are.
type dictWriter struct {
	b         []byte // the entries, encoded
	n         uint64
	err       error // a string was too long
	strings   map[string]uint64
	addrs     map[netip.Addr]uint64
	byPlace   [512]placeSlot
	addrCache [256]addrSlot
}

type placeSlot struct {
	at    uintptr
	len   int
	index uint64
}

type addrSlot struct {
	addr  netip.Addr
	index uint64
}

func (d *dictWriter) reset() {
	if d.strings == nil {
		d.strings = make(map[string]uint64)
		d.addrs = make(map[netip.Addr]uint64)
	}
	d.b, d.n, d.err = d.b[:0], 0, nil
	clear(d.strings)
	clear(d.addrs)
	clear(d.byPlace[:])
	clear(d.addrCache[:])
}

func (d *dictWriter) string(s string) uint64 {
	if s == "" {
		return 0
	}
	at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
	slot := &d.byPlace[(at>>4^at>>13)%uintptr(len(d.byPlace))]
	if slot.at != at || slot.len != len(s) {
		*slot = placeSlot{at, len(s), d.lookupString(s)}
	}
	return slot.index
}

func (d *dictWriter) lookupString(s string) uint64 {
	index, ok := d.strings[s]
	if !ok {
		if err := checkString(s); err != nil {
			d.err = err
			return 0
		}
		d.b = appendString(d.b, s)
		d.n++
		index = d.n
		d.strings[s] = index
	}
	return index
}

// addr stores 4 or 16 bytes; a zone is not kept.
func (d *dictWriter) addr(a netip.Addr) uint64 {
	if !a.IsValid() {
		return 0
	}
	b := a.As16()
	hash := uint32(b[11])<<24 | uint32(b[13])<<16 | uint32(b[14])<<8 | uint32(b[15])
	slot := &d.addrCache[hash*0x9e3779b1>>24]
	if slot.addr != a {
		*slot = addrSlot{a, d.lookupAddr(a)}
	}
	return slot.index
}

func (d *dictWriter) lookupAddr(a netip.Addr) uint64 {
	a = a.WithZone("")
	index, ok := d.addrs[a]
	if !ok {
		b := a.As16()
		if a.Is4() {
			d.b = appendBin(d.b, b[12:])
		} else {
			d.b = appendBin(d.b, b[:])
		}
		d.n++
		index = d.n
		d.addrs[a] = index
	}
	return index
}

// readDict reads the dict into d.dict: index 0 is "". All its strings share one
// allocation.
func (d *decoder) readDict(r *reader) {
	d.lens, d.buf = d.lens[:0], d.buf[:0]
	for range r.array(MaxFrameEvents * numColumns) {
		s := r.text()
		d.lens, d.buf = append(d.lens, len(s)), append(d.buf, s...)
	}
	all := string(d.buf)
	clear(d.dict)
	d.dict = append(d.dict[:0], "")
	for _, n := range d.lens {
		d.dict = append(d.dict, all[:n])
		all = all[n:]
	}
}
