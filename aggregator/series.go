package aggregator

import (
	"strconv"
	"strings"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// seriesKey is what a delta is summed by: the window, the workload at the
// local end, and what tells its series apart.
type seriesKey struct {
	window int64 // start, unix nanoseconds
	status uint32
	side   proto.Side

	namespace, workload, kind string
	method, route, errorType  string
	peer                      proto.Peer
}

// setKey makes the key of an event that ended at endNS.
func (k *seriesKey) setKey(e *proto.Event, endNS int64) {
	here, there := &e.From, &e.To
	if e.Side == proto.SideServer {
		here, there = there, here
	}
	k.window = windowStart(endNS)
	k.side, k.status = e.Side, e.Status
	k.namespace, k.workload, k.kind = here.Namespace, here.Workload, here.Kind
	k.method, k.route, k.errorType = e.Method, e.Route, e.Error
	k.peer = proto.Peer{Namespace: there.Namespace, Workload: there.Workload, WorkloadKind: there.Kind, Service: there.Service}
	if e.Side == proto.SideServer && there.Namespace == proto.NamespaceExternal {
		// Any number of addresses may call a server: they are one peer.
		// It depends on nothing but the event, as it must.
		k.peer = proto.Peer{Namespace: proto.NamespaceExternal}
	}
}

func (k *seriesKey) clone() seriesKey {
	c := *k
	for _, s := range []*string{
		&c.namespace, &c.workload, &c.kind, &c.method, &c.route, &c.errorType,
		&c.peer.Namespace, &c.peer.Workload, &c.peer.WorkloadKind, &c.peer.Service,
	} {
		*s = strings.Clone(*s)
	}
	return c
}

// stringBytes is how long the key's strings are together.
func (k *seriesKey) stringBytes() int {
	return len(k.method) + len(k.route) + len(k.errorType) + len(k.peer.Namespace) +
		len(k.peer.Workload) + len(k.peer.WorkloadKind) + len(k.peer.Service)
}

func windowStart(ns int64) int64 {
	w := ns / proto.WindowNS
	if ns%proto.WindowNS < 0 {
		w-- // before 1970: a clock may be anywhere
	}
	return w * proto.WindowNS
}

// isError tells whether the exchanges of the series failed, as OpenTelemetry
// says: the event gives a reason, or the status is an error at its side.
func (k *seriesKey) isError() bool {
	return k.errorType != "" || k.status >= 500 || k.status >= 400 && k.side == proto.SideClient
}

// series is the delta of one series.
type series struct {
	key     seriesKey
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
		s.addExemplar(e, duration, endNS)
	}
}

// addExemplar keeps the largest, then the latest, then those of the smallest
// ids: a choice that does not depend on the order of events.
func (s *series) addExemplar(e *proto.Event, duration, endNS int64) {
	x := proto.Exemplar{ValueNS: duration, TimeNS: endNS, TraceID: e.TraceID, SpanID: e.SpanID}
	at := len(s.exemplars)
	for at > 0 && before(&x, &s.exemplars[at-1]) {
		at--
	}
	if at == proto.MaxExemplars {
		return
	}
	x.TraceID, x.SpanID = strings.Clone(x.TraceID), strings.Clone(x.SpanID)
	if len(s.exemplars) < proto.MaxExemplars {
		s.exemplars = append(s.exemplars, proto.Exemplar{})
	}
	copy(s.exemplars[at+1:], s.exemplars[at:])
	s.exemplars[at] = x
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

func (s *series) point() proto.Point {
	k := &s.key
	p := proto.Point{
		StartNS:   k.window,
		WindowNS:  proto.WindowNS,
		Metric:    proto.MetricHTTPClient,
		Side:      k.side,
		Attrs:     k.attrs(),
		Errors:    s.errors,
		Hist:      s.hist,
		Parts:     proto.Parts{WaitNS: s.parts[0], ProcessingNS: s.parts[1], TransferNS: s.parts[2]},
		Lossy:     s.lossy,
		Exemplars: s.exemplars,
	}
	if k.side == proto.SideServer {
		p.Metric = proto.MetricHTTPServer
		p.Parts.Wait = &s.wait
	}
	if k.peer != (proto.Peer{}) {
		p.Peer = &k.peer
	}
	return p
}

func (k *seriesKey) attrs() map[string]string {
	attrs := make(map[string]string, 4)
	set := func(name, value string) {
		if value != "" {
			attrs[name] = value
		}
	}
	set(proto.AttrMethod, k.method)
	set(proto.AttrRoute, k.route)
	set(proto.AttrErrorType, k.errorType)
	if k.status != 0 {
		set(proto.AttrStatus, strconv.FormatUint(uint64(k.status), 10))
		if k.errorType == "" && k.isError() {
			set(proto.AttrErrorType, attrs[proto.AttrStatus])
		}
	}
	return attrs
}
