package proto

import (
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
	dict    dictWriter
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
	for _, s := range []string{f.Cluster, f.Node, f.Epoch.ID} {
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
	return f.enc.appendColumns(f.enc.appendDict(dst), len(f.Events)), nil
}

func (f *Frame) appendHeader(b []byte, count int) ([]byte, error) {
	b = appendMap(b, 14)
	b = appendUint(appendString(b, "v"), FrameVersion)
	b = appendString(appendString(b, "cluster"), f.Cluster)
	b = appendString(appendString(b, "node"), f.Node)
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

func (enc *encoder) appendColumns(b []byte, count int) []byte {
	n := 0
	for i := range enc.columns {
		if !enc.columns[i].zero(count) {
			n++
		}
	}
	b = appendMap(appendString(b, "columns"), n)
	for i := range enc.columns {
		if c := &enc.columns[i]; !c.zero(count) {
			b = appendBin(appendString(b, columnNames[i]), c.b)
		}
	}
	return b
}

// putEvents fills the columns. Event by event: an event is too large for a pass
// over all of them per column to stay in the processor's cache.
func (enc *encoder) putEvents(events []Event, enriched bool) error {
	enc.dict.reset()
	for i := range enc.columns {
		enc.columns[i].b = enc.columns[i].b[:0]
	}
	var endNS, netns int64 // of the event before
	for i := range events {
		e := &events[i]
		if err := e.check(); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		enc.columns[colEnd].put(zigzag(e.EndNS - endNS))
		enc.columns[colNetNS].put(zigzag(int64(e.NetNS) - netns))
		endNS, netns = e.EndNS, int64(e.NetNS)
		enc.putExchange(e)
		enc.putSocket(e)
		if err := enc.putTrace(e); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if enriched {
			enc.putEndpoint(colSource, &e.From)
			enc.putEndpoint(colDestination, &e.To)
		}
	}
	return enc.dict.err
}

func (enc *encoder) putExchange(e *Event) {
	c, w := &enc.columns, &enc.dict
	c[colSide].put(uint64(e.Side))
	c[colProtocol].put(w.string(e.Protocol))
	c[colWait].put(uint64(e.WaitNS))
	c[colProcessing].put(uint64(e.ProcessingNS))
	c[colTransfer].put(uint64(e.TransferNS))
	c[colRequestBytes].put(e.RequestBytes)
	c[colResponseBytes].put(e.ResponseBytes)
	c[colMethod].put(w.string(e.Method))
	c[colRoute].put(w.string(e.Route))
	c[colStatus].put(uint64(e.Status))
	c[colError].put(w.string(e.Error))
	c[colFlags].put(uint64(e.Flags))
}

func (enc *encoder) putSocket(e *Event) {
	c, w := &enc.columns, &enc.dict
	c[colSourceAddr].put(w.addr(e.Source.Addr()))
	c[colSourcePort].put(uint64(e.Source.Port()))
	c[colDestinationAddr].put(w.addr(e.Destination.Addr()))
	c[colDestinationPort].put(uint64(e.Destination.Port()))
	c[colPeerAddr].put(w.addr(e.Peer.Addr()))
	c[colPeerPort].put(uint64(e.Peer.Port()))
	c[colPID].put(uint64(e.Process.PID))
	c[colProcess].put(w.string(e.Process.Name))
	c[colUnit].put(w.string(e.Process.Unit))
	c[colContainer].put(w.string(e.Process.Container))
	c[colPodUID].put(w.string(e.Process.PodUID))
}

// putTrace writes the ids as bytes behind their length: as strings they would
// each be an entry of the dict.
func (enc *encoder) putTrace(e *Event) (err error) {
	trace, span := &enc.columns[colTraceID], &enc.columns[colSpanID]
	if e.TraceID == "" && e.SpanID == "" {
		trace.put(0)
		span.put(0)
		return nil
	}
	if len(e.TraceID) != 0 && len(e.TraceID) != 32 || len(e.SpanID) != 0 && len(e.SpanID) != 16 {
		return fmt.Errorf("trace id %q, span id %q: not 32 and 16 hex digits", e.TraceID, e.SpanID)
	}
	trace.put(uint64(len(e.TraceID) / 2))
	if trace.b, err = hex.AppendDecode(trace.b, []byte(e.TraceID)); err != nil {
		return fmt.Errorf("trace id %q: %w", e.TraceID, err)
	}
	span.put(uint64(len(e.SpanID) / 2))
	if span.b, err = hex.AppendDecode(span.b, []byte(e.SpanID)); err != nil {
		return fmt.Errorf("span id %q: %w", e.SpanID, err)
	}
	return nil
}

func (enc *encoder) putEndpoint(first int, p *Endpoint) {
	c, w := enc.columns[first:first+8], &enc.dict
	c[0].put(w.string(p.Namespace))
	c[1].put(w.string(p.Workload))
	c[2].put(w.string(p.Kind))
	c[3].put(w.string(p.Pod))
	c[4].put(w.string(p.Service))
	c[5].put(w.string(p.Node))
	c[6].put(w.string(p.Zone))
	c[7].put(w.string(p.Container))
}

// check is what an encoder refuses of an event, besides malformed ids.
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
