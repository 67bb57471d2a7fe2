package proto

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// decoder is the memory that decoding uses again.
type decoder struct {
	columns [numColumns]column
	zeros   [MaxFrameEvents]byte // a column that wasn't sent
	dict    []string             // index 0 is ""
	lens    []int
	buf     []byte
	bad     bool // a value was outside its type, or an index outside the dict
}

// Decode decodes a message of weir.raw.> or weir.enriched.* into f and uses the
// memory of its Events and Loss again. It skips keys and columns it doesn't
// know, and refuses a higher version, more than MaxFrameEvents, and columns that
// are cut off or too long. The strings of one frame share memory: to keep one
// for long, clone it. After an error f has no events.
func (f *Frame) Decode(b []byte) error {
	if f.dec == nil {
		f.dec = new(decoder)
	}
	d := f.dec
	d.columns = [numColumns]column{}
	d.dict = append(d.dict[:0], "")
	d.bad = false
	count, err := f.decode(b, d)
	if err == nil {
		err = f.takeEvents(count)
	}
	if err != nil {
		f.Events = f.Events[:0]
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

// DecodeHeader decodes all but the events, and returns how many there are. It
// costs a fraction of Decode. f has no events after it.
func (f *Frame) DecodeHeader(b []byte) (count int, err error) {
	count, err = f.decode(b, nil)
	f.Events = f.Events[:0]
	if err != nil {
		return 0, fmt.Errorf("decode frame header: %w", err)
	}
	return count, nil
}

// decode reads the message; d takes the dict and the columns, nil skips them.
func (f *Frame) decode(b []byte, d *decoder) (count int, err error) {
	*f = Frame{
		Cluster: f.Cluster, Node: f.Node, Epoch: Epoch{ID: f.Epoch.ID},
		Loss: f.Loss[:0], Events: f.Events, enc: f.enc, dec: f.dec,
	}
	version := 0
	r := newReader(b)
	for key := range r.fields {
		switch string(key) {
		case "v":
			version = r.version(FrameVersion)
		case "cluster":
			r.into(&f.Cluster)
		case "node":
			r.into(&f.Node)
		case "partition":
			f.Partition = r.uint32(math.MaxUint32)
		case "epoch":
			f.Epoch.Number = r.uint()
		case "epoch_id":
			r.into(&f.Epoch.ID)
		case "seq":
			f.Seq = r.uint()
		case "before":
			f.Before = r.uint()
		case "watermark_ns":
			f.WatermarkNS = r.int()
		case "enriched":
			f.Enriched = r.bool()
		case "count":
			count = int(r.uint32(MaxFrameEvents))
		case "loss":
			f.Loss = r.loss(f.Loss[:0])
		case "dict":
			if d == nil {
				r.skip()
			} else {
				d.readDict(r)
			}
		case "columns":
			if d == nil {
				r.skip()
			} else {
				d.readColumns(r)
			}
		default:
			r.skip()
		}
	}
	if version == 0 {
		r.fail(errNoVersion)
	}
	return count, r.end()
}

func (d *decoder) readColumns(r *reader) {
	for key := range r.fields {
		if i := columnIndex(key); i >= 0 {
			d.columns[i] = column{b: r.bytes()}
		} else {
			r.skip()
		}
	}
}

func columnIndex(name []byte) int {
	for i := range columnNames {
		if columnNames[i] == string(name) {
			return i
		}
	}
	return -1
}

// takeEvents turns the columns into f.Events.
func (f *Frame) takeEvents(count int) error {
	d := f.dec
	for i := range d.columns {
		c := &d.columns[i]
		if c.b == nil { // a column that isn't sent is all zero
			c.b = d.zeros[:count]
		} else if len(c.b) < count { // before memory for the events is made
			return fmt.Errorf("column %s has %d bytes for %d events", columnNames[i], len(c.b), count)
		}
	}
	trace, span := d.columns[colTraceID].hex(), d.columns[colSpanID].hex()

	f.Events = slices.Grow(f.Events[:0], count)[:count]
	var endNS, netns int64
	for i := range f.Events {
		e := &f.Events[i]
		endNS += unzigzag(d.columns[colEnd].next())
		netns += unzigzag(d.columns[colNetNS].next())
		e.EndNS, e.NetNS = endNS, d.narrow32(uint64(netns))
		d.takeExchange(e)
		d.takeSocket(e)
		e.TraceID = d.columns[colTraceID].id(trace)
		e.SpanID = d.columns[colSpanID].id(span)
		if f.Enriched {
			d.takeEndpoint(colSource, &e.From)
			d.takeEndpoint(colDestination, &e.To)
		} else {
			e.From, e.To = Endpoint{}, Endpoint{}
		}
	}
	return d.finish(f.Enriched)
}

// finish tells whether the columns held what they should, no less and no more.
func (d *decoder) finish(enriched bool) error {
	read := numRaw
	if enriched {
		read = numColumns
	}
	for i := range d.columns[:read] {
		if c := &d.columns[i]; c.bad || c.at != len(c.b) {
			return fmt.Errorf("column %s: %d of its %d bytes are values", columnNames[i], c.at, len(c.b))
		}
	}
	if d.bad {
		return errors.New("a value is outside its type, or an index outside the dict")
	}
	return nil
}

func (d *decoder) takeExchange(e *Event) {
	c := &d.columns
	e.Side = Side(d.narrow(c[colSide].next(), math.MaxUint8))
	e.Protocol = d.text(&c[colProtocol])
	e.WaitNS = d.duration(&c[colWait])
	e.ProcessingNS = d.duration(&c[colProcessing])
	e.TransferNS = d.duration(&c[colTransfer])
	e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
	e.RequestBytes = c[colRequestBytes].next()
	e.ResponseBytes = c[colResponseBytes].next()
	e.Method = d.text(&c[colMethod])
	e.Route = d.text(&c[colRoute])
	e.Status = d.narrow32(c[colStatus].next())
	e.Error = d.text(&c[colError])
	e.Flags = d.narrow32(c[colFlags].next())
}

func (d *decoder) takeSocket(e *Event) {
	c := &d.columns
	e.Source = d.addrPort(&c[colSourceAddr], &c[colSourcePort])
	e.Destination = d.addrPort(&c[colDestinationAddr], &c[colDestinationPort])
	e.Peer = d.addrPort(&c[colPeerAddr], &c[colPeerPort])
	e.Process.PID = d.narrow32(c[colPID].next())
	e.Process.Name = d.text(&c[colProcess])
	e.Process.Unit = d.text(&c[colUnit])
	e.Process.Container = d.text(&c[colContainer])
	e.Process.PodUID = d.text(&c[colPodUID])
}

func (d *decoder) takeEndpoint(first int, p *Endpoint) {
	c := d.columns[first : first+8]
	p.Namespace = d.text(&c[0])
	p.Workload = d.text(&c[1])
	p.Kind = d.text(&c[2])
	p.Pod = d.text(&c[3])
	p.Service = d.text(&c[4])
	p.Node = d.text(&c[5])
	p.Zone = d.text(&c[6])
	p.Container = d.text(&c[7])
}

// text is the string whose index is the column's next value.
func (d *decoder) text(c *column) string {
	i := c.next()
	if i >= uint64(len(d.dict)) {
		d.bad = true
		return ""
	}
	return d.dict[i]
}

func (d *decoder) addrPort(addr, port *column) netip.AddrPort {
	a := d.addr(d.text(addr))
	return netip.AddrPortFrom(a, uint16(d.narrow(port.next(), math.MaxUint16)))
}

// addr is the address that an entry of the dict holds.
func (d *decoder) addr(s string) netip.Addr {
	switch len(s) {
	case 0:
	case 4:
		return netip.AddrFrom4([4]byte{s[0], s[1], s[2], s[3]})
	case 16:
		return netip.AddrFrom16([16]byte([]byte(s)))
	default:
		d.bad = true
	}
	return netip.Addr{}
}

func (d *decoder) duration(c *column) int64 { return int64(d.narrow(c.next(), math.MaxInt64)) }

func (d *decoder) narrow32(v uint64) uint32 { return uint32(d.narrow(v, math.MaxUint32)) }

func (d *decoder) narrow(v, limit uint64) uint64 {
	if v > limit {
		d.bad = true
		return 0
	}
	return v
}

// hex is the whole column in hex, lengths included; id takes its digits out of
// it. So all ids of a frame share one allocation.
func (c *column) hex() string {
	for _, v := range c.b {
		if v != 0 {
			return hex.EncodeToString(c.b)
		}
	}
	return ""
}

func (c *column) id(all string) string {
	n := int(min(c.next(), MaxStringBytes))
	if n == 0 {
		return ""
	}
	from := c.pass(n)
	if c.bad || len(all) < 2*(from+n) {
		return ""
	}
	return all[2*from : 2*(from+n)]
}
