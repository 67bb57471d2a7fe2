package proto

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A frame holds its events by column: for every field of [Event] one value an
// event. That is what makes 40 bytes of an event and lets a reader that wants
// one column pass over the others. docs/wire.md has their types and meanings.
const (
	colSide = iota
	colProtocol
	colEnd
	colWait
	colProcessing
	colTransfer
	colRequestBytes
	colResponseBytes
	colMethod
	colRoute
	colStatus
	colError
	colSourceAddr
	colSourcePort
	colDestinationAddr
	colDestinationPort
	colPeerAddr
	colPeerPort
	colServerName
	colNetNS
	colPID
	colProcess
	colUnit
	colContainer
	colContainerName
	colPodUID
	colFlags
	colTraceID // this and the next are bytes behind their length, all others are numbers
	colSpanID
	colSource // the first of eight, the fields of From in the order of Endpoint; enriched only

	colDestination = colSource + 8
	numColumns     = colDestination + 8
)

var columnNames = [numColumns]string{
	colSide: "side", colProtocol: "protocol", colEnd: "end_ns",
	colWait: "wait_ns", colProcessing: "processing_ns", colTransfer: "transfer_ns",
	colRequestBytes: "request_bytes", colResponseBytes: "response_bytes",
	colMethod: "method", colRoute: "route", colStatus: "status", colError: "error",
	colSourceAddr: "source_addr", colSourcePort: "source_port",
	colDestinationAddr: "destination_addr", colDestinationPort: "destination_port",
	colPeerAddr: "peer_addr", colPeerPort: "peer_port", colServerName: "server_name",
	colNetNS: "netns", colPID: "pid", colProcess: "process",
	colUnit: "unit", colContainer: "container", colContainerName: "container_name", colPodUID: "pod_uid",
	colFlags: "flags", colTraceID: "trace_id", colSpanID: "span_id",

	colSource: "source_namespace", "source_workload", "source_kind", "source_pod",
	"source_service", "source_node", "source_zone", "source_container",
	colDestination: "destination_namespace", "destination_workload", "destination_kind", "destination_pod",
	"destination_service", "destination_node", "destination_zone", "destination_container",
}

// strip is how many events are turned into columns, or back, at a time: few
// enough that they and their values stay in the processor's nearest cache.
const strip = 32

// values is a strip of all columns.
type values [numColumns][strip]uint64

// column is one column's bytes and, when reading, how far it was read.
type column struct {
	b  []byte
	at int
}

// put appends a strip of values. Most columns are flags or indices of the dict
// and need one byte a value; the others go on to putWide with the first that
// needs more.
func (c *column) put(vs []uint64) {
	at := len(c.b)
	b := slices.Grow(c.b, binary.MaxVarintLen64*len(vs)+4)
	c.b = b[:at+len(vs)]
	for i, v := range vs {
		if v >= 1<<7 {
			c.b = b[:at+i]
			c.putWide(vs[i:])
			return
		}
		c.b[at+i] = byte(v)
	}
}

// putWide appends values of any size, for which its caller made room. How many
// bytes a measured value needs changes from one to the next, and a loop over
// them would be mispredicted again and again. This always writes four, seven
// bits in each, and the next value overwrites those that weren't needed.
func (c *column) putWide(vs []uint64) {
	at := len(c.b)
	b := c.b[:cap(c.b)]
	for _, v := range vs {
		if v >= 1<<28 {
			at += binary.PutUvarint(b[at:], v)
			continue
		}
		// 1 where the value goes on to a second, third, fourth byte.
		two, three, four := (1<<7-1-v)>>63, (1<<14-1-v)>>63, (1<<21-1-v)>>63
		v = v&0x3fff | v&(0x3fff<<14)<<2
		v = v&0x007f_007f | v&(0x007f_007f<<7)<<1
		binary.LittleEndian.PutUint32(b[at:], uint32(v|two<<7|three<<15|four<<23))
		at += int(1 + two + three + four)
	}
	c.b = b[:at]
}

// take reads a strip of values. It returns the largest, and false if the column
// ends before or a value is longer than 64 bits.
func (c *column) take(vs []uint64) (largest uint64, ok bool) {
	b := c.b[c.at:]
	n := 0
	for n < len(vs) && n < len(b) && b[n] < 1<<7 { // as put, one byte a value
		vs[n] = uint64(b[n])
		largest = max(largest, vs[n])
		n++
	}
	at := n
	for i := n; i < len(vs); i++ {
		v, size := uint64(0), 5
		if at+4 <= len(b) { // as putWide, four bytes at once
			v = uint64(binary.LittleEndian.Uint32(b[at:]))
			ends := ^v&0x80808080 | 1<<39
			size = bits.TrailingZeros64(ends)/8 + 1
			v &= (ends ^ (ends - 1)) & 0x7f7f7f7f
			v = v&0x007f_007f | v>>1&(0x007f_007f<<7)
			v = v&0x3fff | v>>2&(0x3fff<<14)
		}
		if size > 4 {
			if v, size = binary.Uvarint(b[at:]); size <= 0 {
				return 0, false
			}
		}
		vs[i] = v
		largest = max(largest, v)
		at += size
	}
	c.at += at
	return largest, true
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
