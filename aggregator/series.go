package aggregator

import (
	"strconv"
	"strings"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// seriesKey is what a delta is summed by: the window, the workload at the
// local end, and what tells its series apart. Strings are numbers of symbols.
type seriesKey struct {
	window int64 // start, unix nanoseconds
	side   uint32
	status uint32

	namespace, workload, kind                          uint32
	method, route, errorType                           uint32
	peerNamespace, peerWorkload, peerKind, peerService uint32
}

// key makes the key of an event that ended in a window.
func (t *symbols) key(e *proto.Event, window int64) seriesKey {
	here, there := &e.From, &e.To
	if e.Side == proto.SideServer {
		here, there = there, here
	}
	k := seriesKey{
		window: window, side: uint32(e.Side), status: e.Status,
		namespace: t.number(here.Namespace), workload: t.number(here.Workload), kind: t.number(here.Kind),
		method: t.number(e.Method), route: t.number(e.Route), errorType: t.number(e.Error),
		peerNamespace: t.number(there.Namespace),
	}
	if e.Side == proto.SideServer && there.Namespace == proto.NamespaceExternal {
		// Any number of addresses may call a server: they are one peer.
		// That depends on nothing but the event, as it must.
		return k
	}
	k.peerWorkload, k.peerKind, k.peerService = t.number(there.Workload), t.number(there.Kind), t.number(there.Service)
	return k
}

// pointKey makes the key of a delta.
func (t *symbols) pointKey(l *proto.Latency, p *proto.Point, window int64) seriesKey {
	status, _ := strconv.ParseUint(p.Attrs[proto.AttrStatus], 10, 32) // 0 if there was none
	k := seriesKey{
		window: window, side: uint32(p.Side), status: uint32(status),
		namespace: t.number(l.Namespace), workload: t.number(l.Workload), kind: t.number(l.WorkloadKind),
		method: t.number(p.Attrs[proto.AttrMethod]), route: t.number(p.Attrs[proto.AttrRoute]), errorType: t.number(p.Attrs[proto.AttrErrorType]),
	}
	if p.Peer != nil {
		k.peerNamespace, k.peerWorkload = t.number(p.Peer.Namespace), t.number(p.Peer.Workload)
		k.peerKind, k.peerService = t.number(p.Peer.WorkloadKind), t.number(p.Peer.Service)
	}
	return k
}

// labels are a key's strings.
type labels struct {
	namespace, workload, kind string
	method, route, errorType  string
	peer                      proto.Peer
}

func (t *symbols) labels(k *seriesKey) labels {
	return labels{
		namespace: t.names[k.namespace], workload: t.names[k.workload], kind: t.names[k.kind],
		method: t.names[k.method], route: t.names[k.route], errorType: t.names[k.errorType],
		peer: proto.Peer{
			Namespace: t.names[k.peerNamespace], Workload: t.names[k.peerWorkload],
			WorkloadKind: t.names[k.peerKind], Service: t.names[k.peerService],
		},
	}
}

// bytes is how long the strings of a point are together.
func (l *labels) bytes() int {
	return len(l.method) + len(l.route) + len(l.errorType) + len(l.peer.Namespace) +
		len(l.peer.Workload) + len(l.peer.WorkloadKind) + len(l.peer.Service)
}

func windowStart(ns int64) int64 { return floor(ns, proto.WindowNS) }

// floor is the last multiple of step that isn't after ns, also before 1970: a
// clock may be anywhere.
func floor(ns, step int64) int64 {
	r := ns % step
	if r < 0 {
		r += step
	}
	return ns - r
}

// isError tells whether the exchanges of the series failed, as OpenTelemetry
// says: the event gives a reason, or the status is an error at its side.
func (k *seriesKey) isError() bool {
	return k.errorType != 0 || k.status >= 500 || k.status >= 400 && k.side == uint32(proto.SideClient)
}

// series is the delta of one series.
type series struct {
	key     seriesKey
	labels  labels
	hist    histogram.Histogram
	wait    histogram.Histogram
	errors  uint64
	parts   [3]int64 // wait, processing, transfer
	lossy   bool
	buckets int // of both histograms, as counted in the batch's size

	exemplars []proto.Exemplar
}

func (s *series) add(e *proto.Event, endNS int64, lossy bool) {
	duration := e.DurationNS()
	s.hist.Record(duration)
	if s.key.isError() {
		s.errors++
	}
	s.parts[0] += e.WaitNS
	s.parts[1] += e.ProcessingNS
	s.parts[2] += e.TransferNS
	if e.Side == proto.SideServer && e.Flags&proto.FlagNoWait == 0 {
		s.wait.Record(e.WaitNS)
	}
	s.lossy = s.lossy || lossy
	if e.TraceID != "" {
		s.addExemplar(&proto.Exemplar{ValueNS: duration, TimeNS: endNS, TraceID: e.TraceID, SpanID: e.SpanID})
	}
}

// merge adds a delta.
func (s *series) merge(p *proto.Point) {
	s.hist.Merge(&p.Hist)
	if p.Parts.Wait != nil {
		s.wait.Merge(p.Parts.Wait)
	}
	s.errors += p.Errors
	s.parts[0] += p.Parts.WaitNS
	s.parts[1] += p.Parts.ProcessingNS
	s.parts[2] += p.Parts.TransferNS
	s.lossy = s.lossy || p.Lossy
	for i := range p.Exemplars {
		s.addExemplar(&p.Exemplars[i])
	}
}

// addExemplar keeps the largest, then the latest, then those of the smallest
// ids: a choice that does not depend on the order of events.
func (s *series) addExemplar(x *proto.Exemplar) {
	at := len(s.exemplars)
	for at > 0 && before(x, &s.exemplars[at-1]) {
		at--
	}
	if at == proto.MaxExemplars {
		return
	}
	if len(s.exemplars) < proto.MaxExemplars {
		s.exemplars = append(s.exemplars, proto.Exemplar{})
	}
	copy(s.exemplars[at+1:], s.exemplars[at:])
	s.exemplars[at] = *x
	s.exemplars[at].TraceID, s.exemplars[at].SpanID = strings.Clone(x.TraceID), strings.Clone(x.SpanID)
}

func before(a, b *proto.Exemplar) bool {
	if a.ValueNS != b.ValueNS {
		return a.ValueNS > b.ValueNS
	}
	if a.TimeNS != b.TimeNS {
		return a.TimeNS > b.TimeNS
	}
	if a.TraceID != b.TraceID {
		return a.TraceID < b.TraceID
	}
	return a.SpanID < b.SpanID
}

// reset empties the series and keeps its memory.
func (s *series) reset() {
	s.hist.Reset()
	s.wait.Reset()
	*s = series{hist: s.hist, wait: s.wait, exemplars: s.exemplars[:0]}
}

func (s *series) point(window int64) proto.Point {
	k := &s.key
	p := proto.Point{
		StartNS:   k.window,
		WindowNS:  window,
		Metric:    proto.MetricHTTPClient,
		Side:      proto.Side(k.side),
		Attrs:     s.attrs(),
		Errors:    s.errors,
		Hist:      s.hist,
		Parts:     proto.Parts{WaitNS: s.parts[0], ProcessingNS: s.parts[1], TransferNS: s.parts[2]},
		Lossy:     s.lossy,
		Exemplars: s.exemplars,
	}
	if p.Side == proto.SideServer {
		p.Metric = proto.MetricHTTPServer
		p.Parts.Wait = &s.wait
	}
	if s.labels.peer != (proto.Peer{}) {
		p.Peer = &s.labels.peer
	}
	return p
}

func (s *series) attrs() map[string]string {
	l := &s.labels
	attrs := make(map[string]string, 4)
	set := func(name, value string) {
		if value != "" {
			attrs[name] = value
		}
	}
	set(proto.AttrMethod, l.method)
	set(proto.AttrRoute, l.route)
	set(proto.AttrErrorType, l.errorType)
	if status := s.key.status; status != 0 {
		set(proto.AttrStatus, strconv.FormatUint(uint64(status), 10))
		if l.errorType == "" && s.key.isError() {
			set(proto.AttrErrorType, attrs[proto.AttrStatus])
		}
	}
	return attrs
}
