package aggregator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// What makes a batch full. Sizes are upper bounds of the encoded ones, so a
// batch that is not full always fits.
const (
	fullBytes     = 6 << 20 // of proto.MaxBatchBytes; the rest is heads and the record
	fullWorkloads = 900     // of proto.MaxBatchMsgs; the rest is for workloads that need several
	fullLosses    = 2048

	pointBytes    = 1300 // keys and numbers of a point and its four exemplars, but its buckets and strings
	bucketBytes   = 5    // a count of less than 2^32
	workloadBytes = 512 + 3*proto.MaxStringBytes
)

// batch is everything read since the last commit.
type batch struct {
	window  int64 // how wide windows are, nanoseconds
	subject func(namespace, workload string) string

	series    map[seriesKey]*series
	workloads map[[3]uint32]struct{}
	losses    []proto.Loss
	events    uint64
	duplicate uint64
	bytes     int

	symbols *symbols
	free    []*series
}

func newBatch(window int64, subject func(namespace, workload string) string) *batch {
	return &batch{
		window: window, subject: subject,
		series: make(map[seriesKey]*series), workloads: make(map[[3]uint32]struct{}), symbols: newSymbols(),
	}
}

// full tells whether what is there should be committed before more is added.
func (b *batch) full() bool {
	return b.bytes > fullBytes || len(b.workloads) >= fullWorkloads || len(b.losses) >= fullLosses
}

// add counts an event that ended at endNS.
func (b *batch) add(e *proto.Event, endNS int64, lossy bool) {
	s := b.of(b.symbols.key(e, floor(endNS, b.window)))
	s.add(e, endNS, lossy)
	b.grown(s)
	b.events++
}

// addPoint adds a workload's delta of narrower windows.
func (b *batch) addPoint(l *proto.Latency, p *proto.Point) {
	s := b.of(b.symbols.pointKey(l, p, floor(p.StartNS, b.window)))
	s.merge(p)
	b.grown(s)
	b.events += p.Hist.Count
}

// grown counts buckets that a series got.
func (b *batch) grown(s *series) {
	if n := len(s.hist.Buckets) + len(s.wait.Buckets); n != s.buckets {
		b.bytes += (n - s.buckets) * bucketBytes
		s.buckets = n
	}
}

// of is the series of a key.
func (b *batch) of(k seriesKey) *series {
	if s := b.series[k]; s != nil {
		return s
	}
	return b.newSeries(&k)
}

func (b *batch) newSeries(k *seriesKey) *series {
	s := new(series)
	if n := len(b.free); n > 0 {
		s, b.free = b.free[n-1], b.free[:n-1]
	}
	s.key, s.labels = *k, b.symbols.labels(k)
	b.series[*k] = s
	b.bytes += pointBytes + s.labels.bytes()
	w := [3]uint32{k.namespace, k.workload, k.kind}
	if _, ok := b.workloads[w]; !ok {
		b.workloads[w] = struct{}{}
		b.bytes += workloadBytes
	}
	return s
}

// addLoss adds what a frame reports, or a gap. Over the bound losses of the
// same node and reason become one.
func (b *batch) addLoss(l proto.Loss) {
	if l.Count == 0 || l.Reason == "" {
		return
	}
	if len(b.losses) >= fullLosses {
		for i := range b.losses {
			if o := &b.losses[i]; o.Node == l.Node && o.Reason == l.Reason && o.Unit == l.Unit {
				o.Count += l.Count
				o.StartNS = min(o.StartNS, l.StartNS)
				return
			}
		}
	}
	b.losses = append(b.losses, l)
}

// reset empties the batch and keeps its memory.
func (b *batch) reset() {
	for _, s := range b.series {
		s.reset()
		b.free = append(b.free, s)
	}
	clear(b.series)
	clear(b.workloads)
	b.symbols.reset()
	b.losses, b.events, b.duplicate, b.bytes = nil, 0, 0, 0
}

// encode makes the latency messages. head has what all of them share.
// The same batch gives the same bytes.
func (b *batch) encode(head proto.Latency) ([]bus.Part, error) {
	all := make([]*series, 0, len(b.series))
	for _, s := range b.series {
		all = append(all, s)
	}
	slices.SortFunc(all, compareSeries)
	var parts []bus.Part
	for len(all) > 0 {
		first := all[0]
		l := head
		l.V = proto.LatencyVersion
		l.Namespace, l.Workload, l.WorkloadKind = first.labels.namespace, first.labels.workload, first.labels.kind
		n := 0
		for n < len(all) && all[n].sameWorkload(first) {
			l.Points = append(l.Points, all[n].point(b.window))
			n++
		}
		all = all[n:]
		messages, err := proto.SplitLatency(&l)
		if err != nil {
			return nil, err
		}
		for _, data := range messages {
			parts = append(parts, bus.Part{Subject: b.subject(l.Namespace, l.Workload), Data: data})
		}
	}
	return parts, nil
}

func (s *series) sameWorkload(o *series) bool {
	return s.key.namespace == o.key.namespace && s.key.workload == o.key.workload && s.key.kind == o.key.kind
}

func compareSeries(x, y *series) int {
	a, b := &x.labels, &y.labels
	return cmp.Or(
		strings.Compare(a.namespace, b.namespace),
		strings.Compare(a.workload, b.workload),
		strings.Compare(a.kind, b.kind),
		cmp.Compare(x.key.window, y.key.window),
		cmp.Compare(x.key.side, y.key.side),
		strings.Compare(a.route, b.route),
		strings.Compare(a.method, b.method),
		cmp.Compare(x.key.status, y.key.status),
		strings.Compare(a.errorType, b.errorType),
		strings.Compare(a.peer.Namespace, b.peer.Namespace),
		strings.Compare(a.peer.Workload, b.peer.Workload),
		strings.Compare(a.peer.WorkloadKind, b.peer.WorkloadKind),
		strings.Compare(a.peer.Service, b.peer.Service),
	)
}
