package gateway

import (
	"slices"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// cellOverhead is the bytes of a map's entry and an allocation's rounding.
const cellOverhead = 64

// level keeps the past in windows of one width.
type level struct {
	step    int64 // nanoseconds, a multiple of proto.WindowNS
	windows map[int64]*window
	bytes   int
}

// window is what is known of [start, start+step): a packed row a series.
type window struct {
	cells  map[uint32][]byte
	losses map[lossKey]uint64
	bytes  int
}

type lossKey struct{ node, reason, unit string }

func newLevel(step int64) *level { return &level{step: step, windows: map[int64]*window{}} }

func (l *level) floor(ns int64) int64 {
	return query.Floor(ns, l.step)
}

func (l *level) window(ns int64) *window {
	start := l.floor(ns)
	w := l.windows[start]
	if w == nil {
		w = &window{cells: map[uint32][]byte{}}
		l.windows[start] = w
	}
	return w
}

// add adds a delta of a series. packed is the delta, u is memory to work in.
func (l *level) add(id uint32, p *proto.Point, packed []byte, u *unpacker) {
	w := l.window(p.StartNS)
	cell := w.cells[id]
	var grown int
	if cell == nil {
		cell = slices.Clone(packed)
		grown = len(cell) + cellOverhead
	} else {
		row := u.unpack(cell)
		row.AddPoint(p)
		grown = -len(cell)
		cell = pack(make([]byte, 0, len(cell)+16), row)
		grown += len(cell)
	}
	w.cells[id] = cell
	w.bytes += grown
	l.bytes += grown
}

func (l *level) lose(loss proto.Loss) {
	w := l.window(loss.StartNS)
	if w.losses == nil {
		w.losses = map[lossKey]uint64{}
	}
	key := lossKey{loss.Node, loss.Reason, loss.Unit}
	if w.losses[key] == 0 {
		w.bytes += cellOverhead
		l.bytes += cellOverhead
	}
	w.losses[key] += loss.Count
}

// dropBefore forgets what ended before a time.
func (l *level) dropBefore(ns int64) {
	for start, w := range l.windows {
		if start+l.step <= ns {
			l.bytes -= w.bytes
			delete(l.windows, start)
		}
	}
}

// dropOldest forgets the oldest window and returns where the next begins.
func (l *level) dropOldest() int64 {
	oldest := int64(1<<63 - 1)
	for start := range l.windows {
		oldest = min(oldest, start)
	}
	l.dropBefore(oldest + l.step)
	return oldest + l.step
}
