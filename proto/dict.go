package proto

import (
	"encoding/binary"
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
	byPlace   [1024]placeSlot
	addrCache [256]addrSlot
}

type placeSlot struct {
	at         uintptr
	len, index uint32
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
	return d.find(s)
}

func (d *dictWriter) find(s string) uint64 {
	at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
	place := uint64(at) * 0x9e3779b97f4a7c15 >> 54
	slot := &d.byPlace[place]
	if slot.at != at || int(slot.len) != len(s) {
		slot = &d.byPlace[place^1] // a second chance, or two that collide take turns in the map
		if slot.at != at || int(slot.len) != len(s) {
			*slot = d.byPlace[place]
			slot = &d.byPlace[place]
			*slot = placeSlot{at, uint32(len(s)), uint32(d.lookupString(s))}
		}
	}
	return uint64(slot.index)
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
	return d.findAddr(a)
}

func (d *dictWriter) findAddr(a netip.Addr) uint64 {
	slot := &d.addrCache[addrBits(a)*0x9e3779b97f4a7c15>>56]
	if slot.addr != a {
		*slot = addrSlot{a, d.lookupAddr(a)}
	}
	return slot.index
}

func addrBits(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]) ^ binary.BigEndian.Uint64(b[8:])
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
		if r.err != nil {
			return
		}
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
