package export

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxSeries  = 10_000 // some 6 KiB each; more are counted together
	maxViewers = 16     // see a series at zero, and for no longer than:
	zeroTime   = 5 * time.Minute
	keptIdle   = time.Hour // a series that nothing is added to is forgotten then
	sweepEach  = time.Minute
)

var (
	bounds        = histogram.ClassicBounds()
	classicBounds = bucketLabels()
)

// bucketLabels are the values of le, as Prometheus writes them: 0.5, 1.0, +Inf.
func bucketLabels() (out []string) {
	for _, b := range bounds {
		le := strconv.FormatFloat(b, 'f', -1, 64)
		if !strings.Contains(le, ".") {
			le += ".0"
		}
		out = append(out, le)
	}
	return append(out, "+Inf")
}

// series is what was counted of one key since it began.
type series struct {
	query.Key
	cluster   string
	overflow  bool // it stands for all that found no room
	began     time.Time
	changed   time.Time
	shown     [ways]shown
	latency   sum
	wait      sum // server side only
	exemplars []proto.Exemplar
}

// way is one of those in which the sums are shown by Prometheus's rules.
type way int

const (
	scrapes way = iota
	federation
	ways
)

// viewer is who asks, as far as it can be told from others: an address, and the
// parameters of the request.
type viewer struct {
	way way
	who string
}

func viewerOf(way way, r *http.Request) viewer {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return viewer{way, host + "?" + r.URL.RawQuery}
}

// shown is who has seen a series at zero, and since when, until one of them comes
// again.
type shown struct {
	zero  []string
	since time.Time
	over  bool
}

// show is what a viewer is shown of a series: nothing yet the first time, so that
// it sees all of the increase. When one comes again everybody sees what there is:
// who is new then may be a known one with another address, to whom a zero would
// be a reset.
func (s *series) show(to viewer, now time.Time) (latency, wait *sum, exemplars []proto.Exemplar) {
	shown := &s.shown[to.way]
	if len(shown.zero) == 0 {
		shown.since = now
	}
	if shown.over || len(shown.zero) == maxViewers || slices.Contains(shown.zero, to.who) || now.Sub(shown.since) >= zeroTime {
		shown.zero, shown.over = nil, true
		return &s.latency, &s.wait, s.exemplars
	}
	shown.zero = append(shown.zero, to.who)
	empty := newSum()
	return &empty, &empty, nil
}

// sum is a histogram, and how many values are at or below each of the classic
// bounds. These are summed up by delta, so that they never fall.
type sum struct {
	histogram.Histogram
	below []float64
}

func newSum() sum { return sum{below: make([]float64, len(bounds))} }

func (s *sum) add(h *histogram.Histogram) {
	s.Merge(h)
	for i, bound := range bounds {
		s.below[i] += h.Below(bound)
	}
}

// table is all series. It is safe for concurrent use.
type table struct {
	limit int
	now   func() time.Time

	mu         sync.Mutex
	byKey      map[query.Key]*series
	all        []*series // in the order they came
	began      time.Time // nothing stored before is in it
	dropped    time.Time // when series were last forgotten
	swept      time.Time
	overflowed uint64 // deltas that went to an overflow series
}

func newTable(limit int, now func() time.Time) *table {
	t := &table{limit: limit, now: now}
	t.begin()
	return t
}

// begin forgets everything and counts from now on.
func (t *table) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byKey, t.all, t.began, t.swept = map[query.Key]*series{}, nil, t.now(), t.now()
}

// add counts the deltas of a message.
func (t *table) add(l *proto.Latency) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	for i := range l.Points {
		p := &l.Points[i]
		s := t.find(l, p)
		s.changed = t.now()
		s.latency.add(&p.Hist)
		if p.Parts.Wait != nil {
			s.wait.add(p.Parts.Wait)
		}
		s.exemplars = append(s.exemplars, p.Exemplars...)
		s.exemplars = slices.Clone(s.exemplars[max(0, len(s.exemplars)-proto.MaxExemplars):])
	}
}

// find is the series of a point. What finds no room is counted in one series
// for each metric.
func (t *table) find(l *proto.Latency, p *proto.Point) *series {
	key := query.NewKey(l, p)
	s := t.byKey[key]
	if s != nil {
		return s
	}
	overflow := len(t.all) >= t.limit
	if overflow {
		t.overflowed++
		key = query.Key{Protocol: key.Protocol, Side: key.Side}
		if s = t.byKey[key]; s != nil {
			return s
		}
	}
	s = &series{Key: key, cluster: strings.ToValidUTF8(l.Cluster, "�"), overflow: overflow, began: t.beganAt(p), latency: newSum(), wait: newSum()}
	t.byKey[key], t.all = s, append(t.all, s)
	return s
}

// beganAt is the start of a new series' first window, but not before what an
// earlier series of that name may have been shown at.
func (t *table) beganAt(p *proto.Point) time.Time {
	at := time.Unix(0, p.StartNS)
	for _, not := range []time.Time{t.began, t.dropped} {
		if at.Before(not) {
			at = not
		}
	}
	return at
}

// sweep forgets series that have stopped.
func (t *table) sweep() {
	now := t.now()
	if now.Sub(t.swept) < sweepEach {
		return
	}
	t.swept = now
	before := len(t.all)
	t.all = slices.DeleteFunc(t.all, func(s *series) bool {
		gone := now.Sub(s.changed) >= keptIdle
		if gone {
			delete(t.byKey, s.Key)
		}
		return gone
	})
	if len(t.all) < before {
		t.dropped = now
	}
}

// size is how many series there are, and how many deltas found no room.
func (t *table) size() (series int, overflowed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all), t.overflowed
}
