package aggregator

import (
	"time"

	"github.com/weirstream/weir/proto"
)

const (
	lateness      = int64(2 * time.Second)  // a window is committed this long after its end
	heardWithin   = int64(10 * time.Second) // nodes not heard from for longer hold no watermark back
	maxBehind     = int64(30 * time.Second) // nor do watermarks further behind the log's clock
	maxAhead      = int64(30 * time.Second) // of event times, before the log's clock
	rememberNodes = int64(24 * time.Hour)
	maxNodes      = 4096 // in a commit record of less than 512 KiB
)

// state is a partition as the log defines it: it depends on the messages read
// and their timestamps in the stream, never on a clock of this machine.
type state struct {
	m         *metrics
	partition uint32
	cluster   string

	seq       uint64 // number of the last commit
	position  proto.Position
	logNS     int64 // the log's clock: newest stream timestamp read
	watermark int64
	through   int64 // windows that end up to here have been committed
	nodes     map[string]proto.NodeMark

	batch *batch
	dirty bool // something was read since the last commit
}

func newState(partition uint32, m *metrics) *state {
	return &state{
		m: m, partition: partition, nodes: make(map[string]proto.NodeMark),
		position: proto.Position{Seq: 1}, batch: newBatch(proto.WindowNS, proto.LatencySubject),
	}
}

// resume continues after a commit record.
func (s *state) resume(c *proto.Commit) {
	s.cluster, s.seq, s.position = c.Cluster, c.Seq, c.Position
	s.logNS, s.watermark = c.LogNS, c.WatermarkNS
	s.through = committedThrough(s.watermark)
	for node, mark := range c.Nodes {
		s.nodes[node] = mark
	}
}

// committedThrough is the end of the last window that a watermark completes.
func committedThrough(watermark int64) int64 { return windowStart(watermark - lateness) }

// due tells whether a window is complete that was not at the last commit.
func (s *state) due() bool { return committedThrough(s.watermark) > s.through }

// take counts what is new of a frame, which the stream stored as message seq
// at storedNS. It returns false if the batch is full first: then commit, and
// take the same frame again.
func (s *state) take(f *proto.Frame, seq uint64, storedNS int64) bool {
	s.logNS, s.dirty = max(s.logNS, storedNS), true
	mark, known := s.nodes[f.Node]
	isNew, done, gap := compare(f, &mark, known)
	if !isNew {
		s.batch.duplicate++
		s.m.duplicates.Inc()
		s.position = proto.Position{Seq: seq + 1}
		return true
	}
	if s.batch.full() {
		return false
	}
	s.cluster = f.Cluster
	s.batch.symbols.startFrame()
	if done == 0 {
		s.takeLoss(f, gap)
	}
	lossy := gap > 0 || len(f.Loss) > 0
	for i := done; i < len(f.Events); i++ {
		if i > done && s.batch.full() {
			s.nodes[f.Node] = proto.NodeMark{
				Epoch: f.Epoch.Number, EpochID: f.Epoch.ID, Seq: f.Seq - 1, Events: f.Before + uint64(i),
				WatermarkNS: mark.WatermarkNS, SeenNS: s.logNS,
			}
			s.position = proto.Position{Seq: seq, Index: uint32(i)}
			return false
		}
		s.count(&f.Events[i], lossy)
	}
	s.nodes[f.Node] = proto.NodeMark{
		Epoch: f.Epoch.Number, EpochID: f.Epoch.ID, Seq: f.Seq, Events: f.Before + uint64(len(f.Events)),
		WatermarkNS: min(f.WatermarkNS, s.logNS+maxAhead), SeenNS: s.logNS,
	}
	s.position = proto.Position{Seq: seq + 1}
	s.advance()
	return true
}

// skip passes over a message that can't be read. The frame's number is missed
// when the node's next one comes.
func (s *state) skip(seq uint64, storedNS int64) {
	s.logNS, s.dirty = max(s.logNS, storedNS), true
	s.position = proto.Position{Seq: seq + 1}
}

// record makes the commit record of what was read.
func (s *state) record(epoch proto.Epoch, inputCreated time.Time, messages int, idle bool) *proto.Commit {
	s.forget()
	return &proto.Commit{
		V:              proto.LatencyVersion,
		Cluster:        s.cluster,
		Partition:      s.partition,
		Epoch:          epoch.Number,
		EpochID:        epoch.ID,
		Seq:            s.seq + 1,
		Position:       s.position,
		InputCreatedNS: inputCreated.UnixNano(),
		LogNS:          s.logNS,
		WatermarkNS:    s.watermark,
		Idle:           idle,
		Messages:       messages,
		Events:         s.batch.events,
		Duplicates:     s.batch.duplicate,
		Nodes:          s.nodes,
		Loss:           s.batch.losses,
	}
}

// committed begins the next batch.
func (s *state) committed() {
	s.seq++
	s.through = committedThrough(s.watermark)
	s.batch.reset()
	s.dirty = false
}

// compare tells whether a frame is new to a node's mark, how many of its first
// events are counted already (a commit may end within a frame), and how many
// events of frames before it were missed.
func compare(f *proto.Frame, mark *proto.NodeMark, known bool) (isNew bool, done int, gap uint64) {
	switch {
	case !known || f.Epoch.Number > mark.Epoch:
		return true, 0, f.Before
	case f.Epoch.Number < mark.Epoch || f.Epoch.ID != mark.EpochID || f.Seq <= mark.Seq:
		return false, 0, 0
	case f.Before < mark.Events:
		return true, int(min(mark.Events-f.Before, uint64(len(f.Events)))), 0
	}
	return true, 0, f.Before - mark.Events
}

// takeLoss adds what the frame reports, and what expired before it.
func (s *state) takeLoss(f *proto.Frame, gap uint64) {
	for _, l := range f.Loss {
		if l.Node == "" {
			l.Node = f.Node
		}
		s.batch.addLoss(l)
	}
	if gap > 0 {
		s.m.gaps.Inc()
		s.m.expired.Add(float64(gap))
		s.batch.addLoss(proto.Loss{
			Node: f.Node, StartNS: s.logNS, Reason: proto.LossExpired, Unit: proto.UnitExchanges, Count: gap,
		})
	}
}

func (s *state) count(e *proto.Event, lossy bool) {
	end := e.EndNS
	if end > s.logNS+maxAhead {
		end = s.logNS + maxAhead
		s.m.clamped.Inc()
	}
	if end < s.through {
		s.m.late.Inc()
	}
	s.batch.add(e, end, lossy)
}

// advance moves the watermark to the least of the nodes heard from. It never
// goes back.
func (s *state) advance() {
	least, any := int64(0), false
	for _, mark := range s.nodes {
		if mark.SeenNS < s.logNS-heardWithin || mark.WatermarkNS < s.logNS-maxBehind {
			continue
		}
		if !any || mark.WatermarkNS < least {
			least, any = mark.WatermarkNS, true
		}
	}
	if any {
		s.watermark = max(s.watermark, least)
	}
}

// forget drops nodes that were silent for a day, and if there are still too
// many, those silent for longest.
func (s *state) forget() {
	for node, mark := range s.nodes {
		if mark.SeenNS < s.logNS-rememberNodes {
			delete(s.nodes, node)
		}
	}
	for len(s.nodes) > maxNodes {
		oldest, at := "", int64(0)
		for node, mark := range s.nodes {
			if oldest == "" || mark.SeenNS < at || mark.SeenNS == at && node < oldest {
				oldest, at = node, mark.SeenNS
			}
		}
		delete(s.nodes, oldest)
		s.m.forgotten.Inc()
	}
}
