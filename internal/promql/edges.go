package promql

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// evenly are the functions for which counters rise evenly within a window that is
// too wide for their range.
var evenly = []string{"rate", "increase", "irate"}

// maxParts is how many parts a window is cut into at most.
const maxParts = 32

// edge is where samples are: at an edge of an answer, or within a window of it
// that is cut into parts.
type edge struct {
	at     int64   // unix milliseconds
	window int     // the one that begins here, or that this is within
	part   float64 // of that window that has gone by, below 1
}

// parts is how many equal parts of a window, of whole milliseconds, are no longer
// than half a range: any range of that length has two samples then. It is a power
// of two, so that parts of numbers of requests add up without an error; 0 if there
// would have to be too many.
func parts(width, over int64) int64 {
	for n := int64(1); n <= maxParts && width%n == 0; n *= 2 {
		if 2*width <= n*over {
			return n
		}
	}
	return 0
}

// cut makes edges of an answer's, unix nanoseconds, for ranges of some
// milliseconds; 0 leaves the windows whole.
func cut(ns []int64, over int64) (out []edge) {
	for i, from := range ns {
		from /= int64(time.Millisecond)
		out = append(out, edge{at: from, window: i})
		if over == 0 || i == len(ns)-1 {
			continue
		}
		width := ns[i+1]/int64(time.Millisecond) - from
		n := parts(width, over)
		for j := int64(1); j < n; j++ {
			out = append(out, edge{from + j*(width/n), i, float64(j) / float64(n)})
		}
	}
	return out
}

// firstEdge is where a series' first sample is.
func firstEdge(edges []edge, s *Series) int {
	if s.Base != nil {
		return 0
	}
	return sort.Search(len(edges), func(i int) bool { return edges[i].window >= s.Windows[0] })
}

// cuts is the range that windows are cut for, milliseconds, 0 for none.
func cuts(h *storage.SelectHints) int64 {
	if slices.Contains(evenly, h.Func) {
		return h.Range
	}
	return 0
}

// wide is windows that are too wide for a range.
type wide struct{ until, width int64 } // unix and nanoseconds

func (w *wide) String() string {
	return fmt.Sprintf("until %s windows are up to %s wide", time.Unix(0, w.until).UTC().Format(time.RFC3339), duration(time.Duration(w.width)))
}

// truly is the shortest range that always has two true samples.
func (w *wide) truly() string { return duration(2 * time.Duration(w.width)) }

// tooWide says of which part of the past windows are too wide for a range, and
// what is done about it.
func tooWide(ns []int64, h *storage.SelectHints) (w annotations.Annotations) {
	var whole, even wide
	for i := range len(ns) - 1 {
		width, kind := ns[i+1]-ns[i], &even
		n := parts(width/int64(time.Millisecond), h.Range)
		if n == 0 || cuts(h) == 0 {
			kind = &whole
		}
		if n != 1 {
			kind.until, kind.width = ns[i+1], max(kind.width, width)
		}
	}
	over := duration(time.Duration(h.Range) * time.Millisecond)
	if whole.width > 0 {
		w.Add(fmt.Errorf("%s, too wide for [%s]: use a range of at least [%s] there", &whole, over, whole.truly()))
	}
	if even.width > 0 {
		w.Add(fmt.Errorf("%w: %s, too wide for [%s]: requests are taken to be spread evenly over each; a range of at least [%s] needs no such guess",
			annotations.PromQLInfo, &even, over, even.truly()))
	}
	return w
}
