package proto

import "encoding/binary"

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
	colNetNS
	colPID
	colProcess
	colUnit
	colContainer
	colPodUID
	colTraceID
	colSpanID
	colFlags
	numRaw // the columns above are of every frame, those below of enriched ones

	colSource      = numRaw // the fields of From, in the order of Endpoint
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
	colPeerAddr: "peer_addr", colPeerPort: "peer_port",
	colNetNS: "netns", colPID: "pid", colProcess: "process",
	colUnit: "unit", colContainer: "container", colPodUID: "pod_uid",
	colTraceID: "trace_id", colSpanID: "span_id", colFlags: "flags",

	"source_namespace", "source_workload", "source_kind", "source_pod",
	"source_service", "source_node", "source_zone", "source_container",
	"destination_namespace", "destination_workload", "destination_kind", "destination_pod",
	"destination_service", "destination_node", "destination_zone", "destination_container",
}

// column is one column's bytes and, when reading, how far it was read.
type column struct {
	b   []byte
	at  int
	bad bool // a value was cut off or longer than 64 bits
}

func (c *column) put(v uint64) {
	if v < 0x80 {
		c.b = append(c.b, byte(v))
		return
	}
	c.putLong(v)
}

func (c *column) putLong(v uint64) { c.b = binary.AppendUvarint(c.b, v) }

// zero tells whether all of count values are 0. Such a column isn't sent.
func (c *column) zero(count int) bool {
	if len(c.b) > count { // none at all is a column this frame doesn't have
		return false
	}
	for _, v := range c.b {
		if v != 0 {
			return false
		}
	}
	return true
}

func (c *column) next() uint64 {
	if c.at < len(c.b) {
		if v := c.b[c.at]; v < 0x80 {
			c.at++
			return uint64(v)
		}
	}
	return c.nextLong()
}

func (c *column) nextLong() uint64 {
	if c.at < len(c.b) {
		if v, n := binary.Uvarint(c.b[c.at:]); n > 0 {
			c.at += n
			return v
		}
	}
	c.bad = true
	return 0
}

// pass skips n bytes and returns where they begin.
func (c *column) pass(n int) int {
	if n > len(c.b)-c.at {
		c.bad = true
		return c.at
	}
	c.at += n
	return c.at - n
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
