package proto

import (
	"errors"
	"fmt"
	"math"

	"github.com/weirstream/weir/histogram"
)

// Limits of latency messages and commit records besides those in event.go.
const (
	maxPoints = 4096 // of a message
	maxAttrs  = 64   // of a point or exemplar
	maxLosses = 4096 // of a frame or commit
	maxNodes  = 8192 // of a commit: above what MaxMessageBytes has room for
)

// DecodeLatency decodes a message of weir.latency.>. It refuses what is longer
// than MaxMessageBytes, of a higher version, or holds a histogram or string
// that can't be; it skips keys it doesn't know.
func DecodeLatency(b []byte) (*Latency, error) {
	l := new(Latency)
	r := newReader(b)
	for key := range r.fields {
		switch string(key) {
		case "v":
			l.V = r.version(LatencyVersion)
		case "cluster":
			l.Cluster = r.string()
		case "namespace":
			l.Namespace = r.string()
		case "workload":
			l.Workload = r.string()
		case "workload_kind":
			l.WorkloadKind = r.string()
		case "partition":
			l.Partition = r.uint32(math.MaxUint32)
		case "commit":
			l.Commit = r.uint()
		case "watermark_ns":
			l.WatermarkNS = r.int()
		case "points":
			l.Points = nil
			for i := range r.array(maxPoints) {
				p := r.point()
				if r.err == nil {
					r.check(p.check())
				}
				if r.err != nil {
					return nil, fmt.Errorf("decode latency: point %d: %w", i, r.err)
				}
				l.Points = append(l.Points, p)
			}
		default:
			r.skip()
		}
	}
	if l.V == 0 {
		r.fail(errNoVersion)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode latency: %w", err)
	}
	return l, nil
}

var errNoVersion = errors.New("has no version")

func newReader(b []byte) *reader {
	r := &reader{b: b}
	if len(b) > MaxMessageBytes {
		r.fail(fmt.Errorf("message of %d bytes, at most %d are allowed", len(b), MaxMessageBytes))
	}
	return r
}

// version reads a version and refuses one that is newer than known.
func (r *reader) version(known int) int {
	v := r.uint()
	if v == 0 || v > uint64(known) {
		r.fail(fmt.Errorf("version %d is not one this program reads, up to %d: update it", v, known))
		return 0
	}
	return int(v)
}

func (r *reader) check(err error) {
	if err != nil {
		r.fail(err)
	}
}

func checkString(s string) error {
	if len(s) > MaxStringBytes {
		return fmt.Errorf("string of %d bytes, at most %d are allowed", len(s), MaxStringBytes)
	}
	return nil
}

// Validate says what is wrong with a point: what an encoder and a decoder refuse.
func (p *Point) Validate() error { return p.check() }

// check is what an encoder and a decoder refuse of a point.
func (p *Point) check() error {
	switch {
	case p.WindowNS <= 0:
		return fmt.Errorf("window of %d ns", p.WindowNS)
	case p.Metric == "":
		return errors.New("no metric")
	case p.Hist.Count == 0:
		return errors.New("no values")
	case p.Errors > p.Hist.Count:
		return fmt.Errorf("%d errors of %d values", p.Errors, p.Hist.Count)
	case len(p.Exemplars) > MaxExemplars:
		return fmt.Errorf("%d exemplars, at most %d are allowed", len(p.Exemplars), MaxExemplars)
	}
	if err := p.Hist.Validate(); err != nil {
		return err
	}
	if w := p.Parts.Wait; w != nil {
		if err := w.Validate(); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
	}
	if err := checkString(p.Metric); err != nil {
		return err
	}
	if p.Peer != nil {
		for _, s := range []string{p.Peer.Namespace, p.Peer.Workload, p.Peer.WorkloadKind, p.Peer.Service} {
			if err := checkString(s); err != nil {
				return err
			}
		}
	}
	for _, e := range p.Exemplars {
		if err := errors.Join(checkAttrs(e.Attrs), checkString(e.TraceID), checkString(e.SpanID)); err != nil {
			return err
		}
	}
	return checkAttrs(p.Attrs)
}

func checkAttrs(attrs map[string]string) error {
	if len(attrs) > maxAttrs {
		return fmt.Errorf("%d attributes, at most %d are allowed", len(attrs), maxAttrs)
	}
	for key, value := range attrs {
		if err := errors.Join(checkString(key), checkString(value)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) point() (p Point) {
	for key := range r.fields {
		switch string(key) {
		case "start_ns":
			p.StartNS = r.int()
		case "window_ns":
			p.WindowNS = r.int()
		case "metric":
			p.Metric = r.string()
		case "side":
			p.Side = ParseSide(string(r.text()))
		case "attrs":
			p.Attrs = r.attrs()
		case "peer":
			p.Peer = r.peer()
		case "errors":
			p.Errors = r.uint()
		case "parts":
			p.Parts = r.parts()
		case "lossy":
			p.Lossy = r.bool()
		case "exemplars":
			p.Exemplars = nil
			for range r.array(MaxExemplars) {
				p.Exemplars = append(p.Exemplars, r.exemplar())
			}
		default:
			r.histogramField(&p.Hist, key)
		}
	}
	p.Hist.Trim()
	return p
}

// ParseSide reads what [Side.String] prints; anything else is SideUnknown.
func ParseSide(s string) Side {
	switch s {
	case "server":
		return SideServer
	case "client":
		return SideClient
	}
	return SideUnknown
}

// histogramField reads one value of a map that holds a histogram, or skips it.
func (r *reader) histogramField(h *histogram.Histogram, key []byte) {
	switch string(key) {
	case "count":
		h.Count = r.uint()
	case "sum_ns":
		h.SumNS = r.int()
	case "min_ns":
		h.MinNS = r.int()
	case "max_ns":
		h.MaxNS = r.int()
	case "scale":
		h.Scale = r.int32()
	case "zero_count":
		h.ZeroCount = r.uint()
	case "offset":
		h.Offset = r.int32()
	case "buckets":
		h.Buckets = nil
		if n := r.array(histogram.MaxForeignBucket); n > 0 {
			h.Buckets = make([]uint64, n)
			r.uints(h.Buckets)
		}
	default:
		r.skip()
	}
}

func (r *reader) parts() (p Parts) {
	for key := range r.fields {
		switch string(key) {
		case "wait_ns":
			p.WaitNS = r.int()
		case "processing_ns":
			p.ProcessingNS = r.int()
		case "transfer_ns":
			p.TransferNS = r.int()
		case "wait":
			p.Wait = new(histogram.Histogram)
			for key := range r.fields {
				r.histogramField(p.Wait, key)
			}
			p.Wait.Trim()
		default:
			r.skip()
		}
	}
	return p
}

func (r *reader) peer() *Peer {
	p := new(Peer)
	for key := range r.fields {
		switch string(key) {
		case "namespace":
			p.Namespace = r.string()
		case "workload":
			p.Workload = r.string()
		case "workload_kind":
			p.WorkloadKind = r.string()
		case "service":
			p.Service = r.string()
		default:
			r.skip()
		}
	}
	return p
}

func (r *reader) exemplar() (e Exemplar) {
	for key := range r.fields {
		switch string(key) {
		case "value_ns":
			e.ValueNS = r.int()
		case "time_ns":
			e.TimeNS = r.int()
		case "trace_id":
			e.TraceID = r.string()
		case "span_id":
			e.SpanID = r.string()
		case "attrs":
			e.Attrs = r.attrs()
		default:
			r.skip()
		}
	}
	return e
}

// attrs reads a map of strings; an empty one is nil.
func (r *reader) attrs() map[string]string {
	var attrs map[string]string
	for key := range r.fields {
		if attrs == nil {
			attrs = make(map[string]string)
		}
		attrs[string(key)] = r.string()
		if len(attrs) > maxAttrs {
			r.check(checkAttrs(attrs))
		}
	}
	return attrs
}
