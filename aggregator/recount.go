package aggregator

import (
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Recount counts frames into latency messages as an aggregator does, but into
// memory: a window's sums are those that the stream has, bit for bit. It knows
// of no loss, so nothing is lossy.
type Recount struct {
	clock int64
	nodes map[string]proto.NodeMark
	batch *batch
	head  proto.Latency
}

// NewRecount has counted nothing.
func NewRecount() *Recount {
	return &Recount{nodes: map[string]proto.NodeMark{}, batch: newBatch(proto.WindowNS, proto.LatencySubject), head: proto.Latency{Commit: 1}}
}

// Add counts a frame that a stream stored at a time, unless it has been counted.
// If the messages in memory are as many as a commit may have, it returns them.
func (r *Recount) Add(f *proto.Frame, storedNS int64) ([]bus.Part, error) {
	r.clock = max(r.clock, storedNS)
	mark, known := r.nodes[f.Node]
	isNew, _, _ := compare(f, &mark, known)
	if !isNew {
		return nil, nil
	}
	r.nodes[f.Node] = proto.NodeMark{Epoch: f.Epoch.Number, EpochID: f.Epoch.ID, Seq: f.Seq}
	r.head.Cluster, r.head.WatermarkNS = f.Cluster, max(r.head.WatermarkNS, f.WatermarkNS)
	r.batch.symbols.startFrame()
	for i := range f.Events {
		e := &f.Events[i]
		r.batch.add(e, min(e.EndNS, r.clock+maxAhead), false)
	}
	if r.batch.full() {
		return r.Flush()
	}
	return nil, nil
}

// Flush returns what is in memory.
func (r *Recount) Flush() ([]bus.Part, error) {
	parts, err := r.batch.encode(r.head)
	r.batch.reset()
	r.head.Commit++
	return parts, err
}
