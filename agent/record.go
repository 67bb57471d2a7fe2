package agent

import (
	"errors"
	"net/netip"
	"unsafe"

	"github.com/weirstream/weir/bpf"
)

// This file is the only one that knows the C layout of kernel records.

const (
	recordSize = int(unsafe.Sizeof(bpf.Record{}))
	infoSize   = int(unsafe.Sizeof(bpf.ConnInfo{}))
)

var errShortRecord = errors.New("record shorter than its kind says")

// record is a kernel record that still lies in the ring.
type record struct {
	*bpf.Record
	info *bpf.ConnInfo // in records that carry one
	data []byte        // captured head of the payload
}

func (r *record) has(flag uint16) bool { return r.Flags&flag != 0 }

// tail is the last 8 bytes of the payload, nil if they were not captured.
func (r *record) tail() []byte {
	if !r.has(bpf.FlagTail) {
		return nil
	}
	return (*[8]byte)(unsafe.Pointer(&r.Tail))[:]
}

// decode finds the parts of a sample; they point into it.
func decode(sample []byte, r *record) error {
	if len(sample) < recordSize {
		return errShortRecord
	}
	// The ring aligns samples to 8 bytes, so the cast is aligned.
	r.Record = (*bpf.Record)(unsafe.Pointer(unsafe.SliceData(sample)))
	r.info, r.data = nil, nil
	rest := sample[recordSize:]
	switch r.Kind {
	case bpf.KindConn, bpf.KindProc, bpf.KindEarly, bpf.KindAnswer:
		if len(rest) < infoSize {
			return errShortRecord
		}
		r.info = (*bpf.ConnInfo)(unsafe.Pointer(unsafe.SliceData(rest)))
		rest = rest[infoSize:]
	}
	if len(rest) < int(r.Caplen) {
		return errShortRecord
	}
	r.data = rest[:r.Caplen]
	return nil
}

// tuple is a connection's two ends as the local socket has them.
type tuple struct {
	local, remote netip.AddrPort
	netns         uint32
}

func infoTuple(i *bpf.ConnInfo) tuple {
	return tuple{
		local:  netip.AddrPortFrom(address(i.Family, i.Laddr), i.Lport),
		remote: netip.AddrPortFrom(address(i.Family, i.Raddr), i.Rport),
		netns:  i.Netns,
	}
}

// infoPeer is where packets really go, the zero value if NAT hides nothing.
func infoPeer(i *bpf.ConnInfo) netip.AddrPort {
	if i.PeerPort == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(address(i.Family, i.Peer), i.PeerPort)
}

func infoComm(i *bpf.ConnInfo) string {
	for n, c := range i.Comm {
		if c == 0 {
			return string(i.Comm[:n])
		}
	}
	return string(i.Comm[:])
}

func address(family uint8, b [16]byte) netip.Addr {
	if family == 4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b).Unmap()
}
