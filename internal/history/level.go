package history

import (
	"maps"
	"slices"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	cellOverhead = 32   // bytes of a cell in a map
	lossOverhead = 128  // bytes of a loss in a map
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
// All packed rows of a window are in one piece of memory, those that were packed or
// moved at once in the order of their series: whoever reads some series' windows
// finds what it needs next beside what it has read, and the collector has a piece a
// window to look at.
type window struct {
	rows   map[uint32]*query.Row // without keys
	cells  map[uint32]cell
	packed []byte // what is in it stays as it is
	dead   int    // bytes of it that are in no cell
	losses map[lossKey]uint64
	bytes  int
}

// cell is where a packed row is.
type cell struct{ from, to uint32 }

func (w *window) cell(c cell) []byte { return w.packed[c.from:c.to:c.to] }

type lossKey struct{ node, reason, unit string }

func newLevel(step int64) *level { return &level{step: step, windows: map[int64]*window{}} }

func (l *level) floor(ns int64) int64 { return query.Floor(ns, l.step) }

func (l *level) window(ns int64) *window {
	start := l.floor(ns)
	w := l.windows[start]
	if w == nil {
		w = &window{cells: map[uint32]cell{}}
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
		if c, packed := w.cells[id]; packed {
			row = new(unpacker).unpack(w.cell(c))
			delete(w.cells, id)
			w.dead += int(c.to - c.from)
			grown -= cellOverhead
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
	held := cap(w.packed)
	if w.dead > len(w.packed)/2 {
		live := make([]byte, 0, len(w.packed)-w.dead)
		for _, id := range slices.Sorted(maps.Keys(w.cells)) {
			from := len(live)
			live = append(live, w.cell(w.cells[id])...)
			w.cells[id] = cell{uint32(from), uint32(len(live))}
		}
		w.packed, w.dead = live, 0
	}
	b, from := []byte(nil), len(w.packed)
	for _, id := range slices.Sorted(maps.Keys(w.rows)) {
		at := from + len(b)
		b = pack(b, w.rows[id])
		w.cells[id] = cell{uint32(at), uint32(from + len(b))}
		w.grow(l, cellOverhead-hotBytes)
	}
	w.packed = append(w.packed, b...)
	w.grow(l, cap(w.packed)-held)
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
	for id, c := range w.cells {
		if wanted == nil || wanted(id) {
			show(id, u.unpack(w.cell(c)))
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
		w.grow(l, lossOverhead)
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
