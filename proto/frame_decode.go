package proto

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

var (
	errAddr  = errors.New("an address is not of 4 or 16 bytes")
	errID    = errors.New("a trace id is not of 16 bytes or a span id not of 8")
	errNetNS = errors.New("column netns holds what is not an inode")
)

// decoder is the memory that decoding uses again.
type decoder struct {
	columns [numColumns]column
	values  values   // of columns that weren't sent: 0
	dict    []string // index 0 is ""
	lens    []int
	buf     []byte
	kept    [MaxFrameEvents]bool
	err     error // of a value that no limit of its column tells
}

// Decode decodes a message of weir.raw.> or weir.enriched.* into f and uses the
// memory of its Events and Loss again. It skips keys and columns it doesn't
// know, and refuses a higher version, more than MaxFrameEvents, and columns that
// are cut off or too long. The strings of one frame share memory: to keep one
// for long, clone it. After an error f has no events.
func (f *Frame) Decode(b []byte) error { return f.DecodeWhere(b, 0, nil) }

// DecodeWhere is Decode for the events that keep wants, in their order; a nil
// keep wants all. keep is called for each event with only those fields set whose
// columns are named, and with what the frame says of all its events. If it wants
// none the other columns are passed over, and mistakes in them aren't seen.
func (f *Frame) DecodeWhere(b []byte, columns Columns, keep func(*Frame, *Event) bool) error {
	if f.dec == nil {
		f.dec = new(decoder)
	}
	d := f.dec
	d.columns = [numColumns]column{}
	d.dict = append(d.dict[:0], "")
	d.err = nil
	count, err := f.decode(b, d)
	if err == nil {
		err = f.takeEvents(count, columns, keep)
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
	agent := f.Agent // its memory is used again, if there is one in this frame
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
		case "agent":
			f.Agent = agent
			r.into(&f.Agent)
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
func (f *Frame) takeEvents(count int, columns Columns, keep func(*Frame, *Event) bool) error {
	d := f.dec
	for i := range d.columns { // before memory for the events is made
		if b := d.columns[i].b; b != nil && len(b) < count {
			return fmt.Errorf("column %s has %d bytes for %d events", columnNames[i], len(b), count)
		}
	}
	f.Events = f.Events[:0]
	wanted := count
	if keep != nil {
		var err error
		if wanted, err = f.choose(count, columns, keep); err != nil || wanted == 0 {
			return err
		}
	}
	traces, spans := d.columns[colTraceID].hex(), d.columns[colSpanID].hex()
	d.values = values{}
	f.Events = slices.Grow(f.Events, wanted)[:wanted]
	at := 0
	var endNS, netns int64 // of the event before
	for first := 0; first < count; first += strip {
		n := min(strip, count-first)
		if err := d.takeStrip(n, allColumns, f.Enriched); err != nil {
			return err
		}
		for i := range n {
			endNS += unzigzag(d.values[colEnd][i])
			netns += unzigzag(d.values[colNetNS][i])
			if netns < 0 || netns > math.MaxUint32 {
				d.err = errNetNS
			}
			trace, span := d.id(colTraceID, traces, 16), d.id(colSpanID, spans, 8)
			if keep != nil && !d.kept[first+i] {
				continue
			}
			e := &f.Events[at]
			at++
			e.EndNS, e.NetNS = endNS, uint32(netns)
			d.takeExchange(e, i)
			d.takeSocket(e, i)
			e.TraceID, e.SpanID = trace, span
			if f.Enriched {
				d.takeEndpoint(colSource, &e.From, i)
				d.takeEndpoint(colDestination, &e.To, i)
			} else {
				e.From, e.To = Endpoint{}, Endpoint{}
			}
		}
	}
	if d.err != nil {
		return d.err
	}
	for i := range d.columns {
		if c := &d.columns[i]; c.at != len(c.b) && (i < colSource || f.Enriched) {
			return fmt.Errorf("column %s has %d bytes, its values end at %d", columnNames[i], len(c.b), c.at)
		}
	}
	return nil
}

// choose marks the events that keep wants, and counts them. It reads no more
// columns than keep looks at, and they can be read again.
func (f *Frame) choose(count int, columns Columns, keep func(*Frame, *Event) bool) (wanted int, err error) {
	d := f.dec
	d.values = values{}
	exchange, socket := columns&exchangeColumns != 0, columns&socketColumns != 0
	source, destination := f.Enriched && columns&sourceColumns != 0, f.Enriched && columns&destinationColumns != 0
	var e Event
	var endNS int64
	for first := 0; first < count; first += strip {
		n := min(strip, count-first)
		if err := d.takeStrip(n, columns, f.Enriched); err != nil {
			return 0, err
		}
		for i := range n {
			endNS += unzigzag(d.values[colEnd][i])
			e.EndNS = endNS
			if exchange {
				d.takeExchange(&e, i)
			}
			if socket {
				d.takeSocket(&e, i)
			}
			if source {
				d.takeEndpoint(colSource, &e.From, i)
			}
			if destination {
				d.takeEndpoint(colDestination, &e.To, i)
			}
			d.kept[first+i] = keep(f, &e)
			if d.kept[first+i] {
				wanted++
			}
		}
	}
	for i := range d.columns {
		d.columns[i].at = 0
	}
	return wanted, d.err
}

// takeStrip reads the next n values of the columns that are wanted and were sent.
func (d *decoder) takeStrip(n int, columns Columns, enriched bool) error {
	for i := range d.columns {
		c := &d.columns[i]
		if c.b == nil || !columns.has(i) || i == colTraceID || i == colSpanID || i >= colSource && !enriched {
			continue
		}
		largest, ok := c.take(d.values[i][:n])
		if !ok {
			return fmt.Errorf("column %s ends early or holds a value of more than 64 bits", columnNames[i])
		}
		if limit := d.limit(i); largest > limit {
			return fmt.Errorf("column %s holds %d, at most %d is allowed", columnNames[i], largest, limit)
		}
	}
	return nil
}

// limit is the largest value that a column may hold.
func (d *decoder) limit(column int) uint64 {
	switch column {
	case colSide:
		return math.MaxUint8
	case colEnd, colNetNS, colRequestBytes, colResponseBytes:
		return math.MaxUint64
	case colWait, colProcessing, colTransfer:
		return math.MaxInt64
	case colSourcePort, colDestinationPort, colPeerPort:
		return math.MaxUint16
	case colStatus, colPID, colFlags:
		return math.MaxUint32
	}
	return uint64(len(d.dict) - 1)
}

func (d *decoder) takeExchange(e *Event, i int) {
	v := &d.values
	e.Side = Side(v[colSide][i])
	e.Protocol = d.dict[v[colProtocol][i]]
	e.WaitNS = int64(v[colWait][i])
	e.ProcessingNS = int64(v[colProcessing][i])
	e.TransferNS = int64(v[colTransfer][i])
	e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
	e.RequestBytes = v[colRequestBytes][i]
	e.ResponseBytes = v[colResponseBytes][i]
	e.Method = d.dict[v[colMethod][i]]
	e.Route = d.dict[v[colRoute][i]]
	e.Status = uint32(v[colStatus][i])
	e.Error = d.dict[v[colError][i]]
	e.Flags = uint32(v[colFlags][i])
}

func (d *decoder) takeSocket(e *Event, i int) {
	v := &d.values
	e.Source = netip.AddrPortFrom(d.addr(v[colSourceAddr][i]), uint16(v[colSourcePort][i]))
	e.Destination = netip.AddrPortFrom(d.addr(v[colDestinationAddr][i]), uint16(v[colDestinationPort][i]))
	e.Peer = netip.AddrPortFrom(d.addr(v[colPeerAddr][i]), uint16(v[colPeerPort][i]))
	e.ServerName = d.dict[v[colServerName][i]]
	e.Process.PID = uint32(v[colPID][i])
	e.Process.Name = d.dict[v[colProcess][i]]
	e.Process.Unit = d.dict[v[colUnit][i]]
	e.Process.Container = d.dict[v[colContainer][i]]
	e.Process.ContainerName = d.dict[v[colContainerName][i]]
	e.Process.PodUID = d.dict[v[colPodUID][i]]
}

func (d *decoder) takeEndpoint(first int, p *Endpoint, i int) {
	v := d.values[first : first+8]
	p.Namespace = d.dict[v[0][i]]
	p.Workload = d.dict[v[1][i]]
	p.Kind = d.dict[v[2][i]]
	p.Pod = d.dict[v[3][i]]
	p.Service = d.dict[v[4][i]]
	p.Node = d.dict[v[5][i]]
	p.Zone = d.dict[v[6][i]]
	p.Container = d.dict[v[7][i]]
}

// addr is the address that an entry of the dict holds.
func (d *decoder) addr(index uint64) netip.Addr {
	switch s := d.dict[index]; len(s) {
	case 0:
	case 4:
		return netip.AddrFrom4([4]byte{s[0], s[1], s[2], s[3]})
	case 16:
		return netip.AddrFrom16([16]byte([]byte(s)))
	default:
		d.err = errAddr
	}
	return netip.Addr{}
}

// hex is a whole column of ids in hex, lengths included, and id takes the next
// one out of it: so all ids of a frame share one allocation. It is empty if no
// event has one.
func (c *column) hex() string {
	for _, v := range c.b {
		if v != 0 {
			return hex.EncodeToString(c.b)
		}
	}
	return ""
}

func (d *decoder) id(column int, all string, size int) string {
	c := &d.columns[column]
	if c.b == nil {
		return ""
	}
	if c.at < len(c.b) && c.b[c.at] == 0 {
		c.at++
		return ""
	}
	from := c.at + 1
	c.at = from + size
	if c.at > len(c.b) || int(c.b[from-1]) != size {
		d.err = errID
		return ""
	}
	return all[2*from : 2*c.at]
}
