package history

import (
	"slices"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	cellOverhead = 64   // bytes of a map's entry and an allocation's rounding
	hotBytes     = 2048 // of a row that isn't packed, about
	hotWindows   = 3    // of a level: those that deltas come for
)

// level keeps the past in windows of one width. Those that were added to last
// are ready to be added to, the others are packed.
type level struct {
	step    int64 // nanoseconds, a multiple of proto.WindowNS
	windows map[int64]*window
	hot     []int64 // starts of the windows that aren't packed, the last one added to last
	bytes   int
}

// window is what is known of [start, start+step): a row a series, packed or not.
type window struct {
	rows   map[uint32]*query.Row // without keys
	cells  map[uint32][]byte
	losses map[lossKey]uint64
	bytes  int
}

type lossKey struct{ node, reason, unit string }

func newLevel(step int64) *level { return &level{step: step, windows: map[int64]*window{}} }

func (l *level) floor(ns int64) int64 { return query.Floor(ns, l.step) }

func (l *level) window(ns int64) *window {
	start := l.floor(ns)
	w := l.windows[start]
	if w == nil {
		w = &window{cells: map[uint32][]byte{}}
		l.windows[start] = w
	}
	return w
}

// add adds a delta of a series.
func (l *level) add(id uint32, p *proto.Point) {
	w := l.warm(p.StartNS)
	row := w.rows[id]
	if row == nil {
		row = new(query.Row)
		grown := hotBytes
		if cell, packed := w.cells[id]; packed {
			row = new(unpacker).unpack(cell)
			delete(w.cells, id)
			grown -= len(cell) + cellOverhead
		}
		w.rows[id] = row
		w.grow(l, grown)
	}
	row.AddPoint(p)
}

func (w *window) grow(l *level, by int) {
	w.bytes += by
	l.bytes += by
}

// warm is the window of a time, ready to be added to.
func (l *level) warm(ns int64) *window {
	w, start := l.window(ns), l.floor(ns)
	if n := len(l.hot); n > 0 && l.hot[n-1] == start {
		return w
	}
	l.hot = append(slices.DeleteFunc(l.hot, func(s int64) bool { return s == start }), start)
	if w.rows == nil {
		w.rows = map[uint32]*query.Row{}
	}
	if len(l.hot) > hotWindows {
		l.packOldest()
	}
	return w
}

func (l *level) packOldest() {
	w := l.windows[l.hot[0]]
	l.hot = l.hot[1:]
	if w == nil {
		return // it was dropped
	}
	for id, row := range w.rows {
		cell := slices.Clip(pack(nil, row))
		w.cells[id] = cell
		w.grow(l, len(cell)+cellOverhead-hotBytes)
	}
	w.rows = nil
}

// packAll is for a level that nothing is added to any more.
func (l *level) packAll() {
	for len(l.hot) > 0 {
		l.packOldest()
	}
}

// each calls show for every series of a window that is wanted, nil for all; the
// row is valid until it returns, and without a key.
func (w *window) each(u *unpacker, wanted func(id uint32) bool, show func(id uint32, row *query.Row)) {
	for id, row := range w.rows {
		if wanted == nil || wanted(id) {
			show(id, row)
		}
	}
	for id, cell := range w.cells {
		if wanted == nil || wanted(id) {
			show(id, u.unpack(cell))
		}
	}
}

func (l *level) lose(loss proto.Loss) {
	w := l.window(loss.StartNS)
	if w.losses == nil {
		w.losses = map[lossKey]uint64{}
	}
	key := lossKey{loss.Node, loss.Reason, loss.Unit}
	if w.losses[key] == 0 {
		w.grow(l, cellOverhead)
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
