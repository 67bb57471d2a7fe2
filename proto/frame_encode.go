package proto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

// FrameVersion is the version of frames.
const FrameVersion = 1

// ErrFrameTooLarge is what [Frame.Append] returns for a frame of more than
// MaxMessageBytes. Half its events will fit.
var ErrFrameTooLarge = errors.New("frame is too large")

// encoder is the memory that encoding uses again.
type encoder struct {
	columns [numColumns]column
	values  values
	dict    dictWriter
	zeros   [MaxFrameEvents]byte
}

// Append appends the encoded frame to dst. It fails with ErrFrameTooLarge, or on
// events that break the contract of [Event]: strings over MaxStringBytes,
// durations that are negative or don't add up, ids that aren't hex. The frame
// keeps its scratch memory, so encode many with the same one.
func (f *Frame) Append(dst []byte) ([]byte, error) {
	b, err := f.AppendHead(dst, len(f.Events))
	if err == nil {
		b, err = f.AppendEvents(b)
	}
	if err == nil && len(b)-len(dst) > MaxMessageBytes {
		err = fmt.Errorf("encode frame: %w: %d bytes", ErrFrameTooLarge, len(b)-len(dst))
	}
	if err != nil {
		return dst, err
	}
	return b, nil
}

// AppendHead appends all of the encoded frame but its events, of which there
// are count. With what [Frame.AppendEvents] gave behind it, it is the frame: a
// writer may encode events before it knows the frame's number.
func (f *Frame) AppendHead(dst []byte, count int) ([]byte, error) {
	for _, s := range []string{f.Cluster, f.Node, f.Agent, f.Epoch.ID} {
		if err := checkString(s); err != nil {
			return dst, fmt.Errorf("encode frame: %w", err)
		}
	}
	b, err := f.appendHeader(dst, count)
	if err != nil {
		return dst, fmt.Errorf("encode frame: %w", err)
	}
	return b, nil
}

// AppendEvents appends the encoded events, the second part of a frame.
func (f *Frame) AppendEvents(dst []byte) ([]byte, error) {
	if len(f.Events) > MaxFrameEvents {
		return dst, fmt.Errorf("encode frame: %d events, at most %d are allowed", len(f.Events), MaxFrameEvents)
	}
	if f.enc == nil {
		f.enc = new(encoder)
	}
	if err := f.enc.putEvents(f.Events, f.Enriched); err != nil {
		return dst, fmt.Errorf("encode frame: %w", err)
	}
	return f.enc.appendColumns(f.enc.appendDict(dst)), nil
}

func (f *Frame) appendHeader(b []byte, count int) ([]byte, error) {
	keys := 14
	if f.Agent != "" {
		keys++
	}
	b = appendMap(b, keys)
	b = appendUint(appendString(b, "v"), FrameVersion)
	b = appendString(appendString(b, "cluster"), f.Cluster)
	b = appendString(appendString(b, "node"), f.Node)
	if f.Agent != "" {
		b = appendString(appendString(b, "agent"), f.Agent)
	}
	b = appendUint(appendString(b, "partition"), uint64(f.Partition))
	b = appendUint(appendString(b, "epoch"), f.Epoch.Number)
	b = appendString(appendString(b, "epoch_id"), f.Epoch.ID)
	b = appendUint(appendString(b, "seq"), f.Seq)
	b = appendUint(appendString(b, "before"), f.Before)
	b = appendInt(appendString(b, "watermark_ns"), f.WatermarkNS)
	b = appendBool(appendString(b, "enriched"), f.Enriched)
	b = appendUint(appendString(b, "count"), uint64(count))
	return appendLoss(appendString(b, "loss"), f.Loss)
}

func (enc *encoder) appendDict(b []byte) []byte {
	b = appendArray(appendString(b, "dict"), int(enc.dict.n))
	return append(b, enc.dict.b...)
}

// appendColumns leaves out the columns that are all zero.
func (enc *encoder) appendColumns(b []byte) []byte {
	n := 0
	for i := range enc.columns {
		c := &enc.columns[i]
		if n := len(c.b); n <= MaxFrameEvents && bytes.Equal(c.b, enc.zeros[:n]) {
			c.b = c.b[:0]
		}
		if len(c.b) > 0 {
			n++
		}
	}
	b = appendMap(appendString(b, "columns"), n)
	for i := range enc.columns {
		if c := &enc.columns[i]; len(c.b) > 0 {
			b = appendBin(appendString(b, columnNames[i]), c.b)
		}
	}
	return b
}

// putEvents fills the columns.
func (enc *encoder) putEvents(events []Event, enriched bool) error {
	enc.dict.reset()
	for i := range enc.columns {
		enc.columns[i].b = enc.columns[i].b[:0]
	}
	var endNS, netns int64 // of the event before
	for first := 0; first < len(events); first += strip {
		part := events[first:min(first+strip, len(events))]
		for i := range part {
			e := &part[i]
			if err := e.check(); err != nil {
				return fmt.Errorf("event %d: %w", first+i, err)
			}
			enc.values[colEnd][i] = zigzag(e.EndNS - endNS)
			enc.values[colNetNS][i] = zigzag(int64(e.NetNS) - netns)
			endNS, netns = e.EndNS, int64(e.NetNS)
			enc.putExchange(e, i)
			enc.putSocket(e, i)
			if enriched {
				enc.putEndpoint(colSource, &e.From, i)
				enc.putEndpoint(colDestination, &e.To, i)
			}
		}
		if err := enc.putIDs(part); err != nil {
			return err
		}
		for i := range enc.columns {
			if i < colTraceID || i >= colSource && enriched {
				enc.columns[i].put(enc.values[i][:len(part)])
			}
		}
	}
	return enc.dict.err
}

func (enc *encoder) putExchange(e *Event, i int) {
	i &= strip - 1 // is below strip: spares a check for every column
	v, d := &enc.values, &enc.dict
	v[colSide][i] = uint64(e.Side)
	v[colProtocol][i] = d.string(e.Protocol)
	v[colWait][i] = uint64(e.WaitNS)
	v[colProcessing][i] = uint64(e.ProcessingNS)
	v[colTransfer][i] = uint64(e.TransferNS)
	v[colRequestBytes][i] = e.RequestBytes
	v[colResponseBytes][i] = e.ResponseBytes
	v[colMethod][i] = d.string(e.Method)
	v[colRoute][i] = d.string(e.Route)
	v[colStatus][i] = uint64(e.Status)
	v[colError][i] = d.string(e.Error)
	v[colFlags][i] = uint64(e.Flags)
}

func (enc *encoder) putSocket(e *Event, i int) {
	i &= strip - 1 // is below strip: spares a check for every column
	v, d := &enc.values, &enc.dict
	v[colSourceAddr][i] = d.addr(e.Source.Addr())
	v[colSourcePort][i] = uint64(e.Source.Port())
	v[colDestinationAddr][i] = d.addr(e.Destination.Addr())
	v[colDestinationPort][i] = uint64(e.Destination.Port())
	v[colPeerAddr][i] = d.addr(e.Peer.Addr())
	v[colPeerPort][i] = uint64(e.Peer.Port())
	v[colServerName][i] = d.string(e.ServerName)
	v[colPID][i] = uint64(e.Process.PID)
	v[colProcess][i] = d.string(e.Process.Name)
	v[colUnit][i] = d.string(e.Process.Unit)
	v[colContainer][i] = d.string(e.Process.Container)
	v[colContainerName][i] = d.string(e.Process.ContainerName)
	v[colPodUID][i] = d.string(e.Process.PodUID)
}

func (enc *encoder) putEndpoint(first int, p *Endpoint, i int) {
	i &= strip - 1 // is below strip: spares a check for every column
	v, d := enc.values[first:first+8], &enc.dict
	v[0][i] = d.string(p.Namespace)
	v[1][i] = d.string(p.Workload)
	v[2][i] = d.string(p.Kind)
	v[3][i] = d.string(p.Pod)
	v[4][i] = d.string(p.Service)
	v[5][i] = d.string(p.Node)
	v[6][i] = d.string(p.Zone)
	v[7][i] = d.string(p.Container)
}

// putIDs appends the bytes of the events' ids behind their number: as strings,
// ids would each be an entry of the dict.
func (enc *encoder) putIDs(events []Event) error {
	trace, span := &enc.columns[colTraceID], &enc.columns[colSpanID]
	traced := false
	for i := range events {
		traced = traced || events[i].TraceID != "" || events[i].SpanID != ""
	}
	if !traced {
		trace.b = append(trace.b, enc.zeros[:len(events)]...)
		span.b = append(span.b, enc.zeros[:len(events)]...)
		return nil
	}
	for i := range events {
		e := &events[i]
		if !isID(e.TraceID, 32) || !isID(e.SpanID, 16) {
			return fmt.Errorf("trace id %q, span id %q: not 32 and 16 lower-case hex digits", e.TraceID, e.SpanID)
		}
		trace.putID(e.TraceID)
		span.putID(e.SpanID)
	}
	return nil
}

func (c *column) putID(id string) {
	c.b = append(c.b, byte(len(id)/2))
	if id != "" {
		c.b, _ = hex.AppendDecode(c.b, []byte(id)) // isID has seen that it is hex
	}
}

// check is what an encoder refuses of an event, besides long strings and ids.
func (e *Event) check() error {
	if e.WaitNS|e.ProcessingNS|e.TransferNS < 0 {
		return fmt.Errorf("negative duration: wait %d, processing %d, transfer %d ns", e.WaitNS, e.ProcessingNS, e.TransferNS)
	}
	if e.WaitNS+e.ProcessingNS+e.TransferNS != e.EndNS-e.StartNS {
		return fmt.Errorf("wait %d, processing %d and transfer %d ns are not its %d ns",
			e.WaitNS, e.ProcessingNS, e.TransferNS, e.EndNS-e.StartNS)
	}
	return nil
}

func isID(id string, digits int) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return id == "" || len(id) == digits
}
