package aggregator

import (
	"cmp"
	"slices"
	"unsafe"

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

	cacheSlots = 512
)

// batch is everything read since the last commit.
type batch struct {
	series    map[seriesKey]*series
	workloads map[[3]string]struct{}
	losses    []proto.Loss
	events    uint64
	duplicate uint64
	bytes     int

	// The series of the events of one frame, by where their strings are: the
	// strings of a frame are each there once, and nearly all series come
	// many times in it.
	cache [cacheSlots]cacheSlot
	free  []*series
}

type cacheSlot struct {
	key seriesKey
	s   *series
}

func newBatch() *batch {
	return &batch{series: make(map[seriesKey]*series), workloads: make(map[[3]string]struct{})}
}

// full tells whether what is there should be committed before more is added.
func (b *batch) full() bool {
	return b.bytes > fullBytes || len(b.workloads) >= fullWorkloads || len(b.losses) >= fullLosses
}

// startFrame forgets where the strings of the last frame were.
func (b *batch) startFrame() { clear(b.cache[:]) }

// add counts an event that ended at endNS.
func (b *batch) add(e *proto.Event, endNS int64, lossy bool) {
	var k seriesKey
	k.setKey(e, endNS)
	slot := &b.cache[k.place()%cacheSlots]
	if slot.s == nil || slot.key != k {
		slot.key, slot.s = k, b.get(&k)
	}
	s := slot.s
	s.add(e, endNS, lossy)
	if n := len(s.hist.Buckets) + len(s.wait.Buckets); n != s.buckets {
		b.bytes += (n - s.buckets) * bucketBytes
		s.buckets = n
	}
	b.events++
}

// place is equal for equal keys of a frame, and mostly different otherwise.
func (k *seriesKey) place() uint64 {
	const odd = 0x9e3779b97f4a7c15
	at := func(s string) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.StringData(s)))) }
	h := at(k.route)
	h = h*odd ^ at(k.method)
	h = h*odd ^ at(k.workload)
	h = h*odd ^ at(k.peer.Workload)
	h = h*odd ^ uint64(k.status)<<2 ^ uint64(k.side) ^ uint64(k.window)
	return h * odd >> 32
}

func (b *batch) get(k *seriesKey) *series {
	if s := b.series[*k]; s != nil {
		return s
	}
	s := new(series)
	if n := len(b.free); n > 0 {
		s, b.free = b.free[n-1], b.free[:n-1]
	}
	s.key = k.clone()
	b.series[s.key] = s
	b.bytes += pointBytes + s.key.stringBytes()
	w := [3]string{s.key.namespace, s.key.workload, s.key.kind}
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
	clear(b.cache[:])
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
		k := &all[0].key
		l := head
		l.V, l.Namespace, l.Workload, l.WorkloadKind = proto.LatencyVersion, k.namespace, k.workload, k.kind
		n := 0
		for n < len(all) && all[n].key.namespace == k.namespace && all[n].key.workload == k.workload && all[n].key.kind == k.kind {
			l.Points = append(l.Points, all[n].point())
			n++
		}
		all = all[n:]
		messages, err := proto.SplitLatency(&l)
		if err != nil {
			return nil, err
		}
		for _, data := range messages {
			parts = append(parts, bus.Part{Subject: proto.LatencySubject(l.Namespace, l.Workload), Data: data})
		}
	}
	return parts, nil
}

func compareSeries(x, y *series) int {
	a, b := &x.key, &y.key
	return cmp.Or(
		cmp.Compare(a.namespace, b.namespace),
		cmp.Compare(a.workload, b.workload),
		cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.window, b.window),
		cmp.Compare(a.side, b.side),
		cmp.Compare(a.route, b.route),
		cmp.Compare(a.method, b.method),
		cmp.Compare(a.status, b.status),
		cmp.Compare(a.errorType, b.errorType),
		cmp.Compare(a.peer.Namespace, b.peer.Namespace),
		cmp.Compare(a.peer.Workload, b.peer.Workload),
		cmp.Compare(a.peer.WorkloadKind, b.peer.WorkloadKind),
		cmp.Compare(a.peer.Service, b.peer.Service),
	)
}
