package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxSeries = 100_000 // then peers, and then operations, are merged

	kept = 24 * time.Hour
)

// widths are the levels: how wide their windows are and how long they are kept,
// so that any interval is a few hundred of them.
var widths = []struct{ step, keep time.Duration }{
	{10 * time.Second, time.Hour + 5*time.Minute},
	{time.Minute, 6*time.Hour + 15*time.Minute},
	{5 * time.Minute, kept + 15*time.Minute},
	{30 * time.Minute, kept + 45*time.Minute}, // what the others hold, but read sooner
}

// cache is the last 24 hours of WEIR_LATENCY, each delta in every level that
// still has its window. It is safe for concurrent use.
type cache struct {
	limit int // bytes of all levels
	now   func() time.Time

	mu       sync.RWMutex
	series   []query.Key
	ids      map[query.Key]uint32
	levels   []*level
	since    []int64 // by level: before it windows were dropped for room
	progress *query.Progress
	newest   time.Time // when the stream stored the last message read
	stream   bus.StreamInfo
	oldest   int64   // of a minute and more: before it windows have lost deltas to the streams' limits
	first    int64   // start of the earliest window seen in WEIR_LATENCY
	loaded   []int64 // by level: before it the history isn't read yet; 0 if all is
	loading  float64 // share of the history that was read
	problem  string  // why nothing can be read, "" if it can
	changed  chan struct{}
	changes  uint64
}

func newCache(limit int, now func() time.Time) *cache {
	c := &cache{limit: limit, now: now, changed: make(chan struct{})}
	c.reset()
	return c
}

// reset forgets everything: the stream is another one.
func (c *cache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.series, c.ids = nil, map[query.Key]uint32{}
	c.levels, c.since, c.loaded = nil, make([]int64, len(widths)), make([]int64, len(widths))
	for i, w := range widths {
		c.levels = append(c.levels, newLevel(int64(w.step)))
		c.loaded[i] = c.now().UnixNano()
	}
	c.progress, c.first, c.loading = query.NewProgress(0), 1<<63-1, 0
	c.notify()
}

// notify wakes who waits for changes. The lock is held.
func (c *cache) notify() {
	c.changes++
	close(c.changed)
	c.changed = make(chan struct{})
}

// change is closed when there is something new.
func (c *cache) change() (<-chan struct{}, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed, c.changes
}

// part is some of the levels: from the first, and before the end.
type part struct{ first, end int }

var (
	allLevels = part{0, len(widths)}
	finest    = part{0, 1}
	coarser   = part{1, len(widths)} // of a minute and more
	middle    = part{1, 3}           // of minutes
	coarsest  = part{3, len(widths)}
)

// take takes a message of WEIR_LATENCY in. Live ones are shown at once.
func (c *cache) take(m *bus.Message, to part, live bool) error {
	if m.Sequence == 1 { // the stream was empty when it was looked at
		c.mu.Lock()
		c.stream.FirstSeq, c.stream.FirstTime = 1, m.Time
		c.mu.Unlock()
	}
	if strings.HasPrefix(m.Subject, "weir.commit.") {
		commit, err := proto.DecodeCommit(m.Data)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.progress.Saw(commit, m.Time)
		c.lose(commit, to)
		if live {
			c.newest = m.Time
			c.trim()
			c.notify()
		}
		return nil
	}
	latency, err := proto.DecodeLatency(m.Data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range latency.Points {
		c.first = min(c.first, latency.Points[i].StartNS)
	}
	c.add(latency, to)
	return nil
}

// takeRollup takes a commit of a roll-up in.
func (c *cache) takeRollup(r *query.Rollup, to part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose(r.Record, to)
	for _, l := range r.Messages {
		c.add(l, to)
		if c.stream.FirstSeq > 1 { // else when measuring began is known to the window
			for i := range l.Points {
				c.first = min(c.first, l.Points[i].StartNS)
			}
		}
	}
}

func (c *cache) add(l *proto.Latency, to part) {
	for n := range l.Points {
		p := &l.Points[n]
		id := c.id(query.NewKey(l, p))
		for i := to.first; i < to.end; i++ {
			if c.wanted(i, p.StartNS) {
				c.levels[i].add(id, p)
			}
		}
	}
}

func (c *cache) lose(commit *proto.Commit, to part) {
	for _, l := range commit.Loss {
		for i := to.first; i < to.end; i++ {
			if c.wanted(i, l.StartNS) {
				c.levels[i].lose(l)
			}
		}
	}
}

// wanted reports whether a level still keeps a time.
func (c *cache) wanted(level int, ns int64) bool {
	l := c.levels[level]
	return l.floor(ns) >= max(c.since[level], l.floor(c.now().Add(-widths[level].keep).UnixNano()))
}

// id numbers a series. Over the bound what tells apart the most goes first.
func (c *cache) id(key query.Key) uint32 {
	for _, by := range []query.By{query.ByAll, {Operation: true}, {}} {
		key = key.By(by)
		if id, known := c.ids[key]; known {
			return id
		}
		if len(c.series) < maxSeries {
			break
		}
	}
	id := uint32(len(c.series))
	c.series = append(c.series, key)
	c.ids[key] = id
	return id
}

// trim forgets what is too old, and the oldest of the finest windows while
// there is too much. Five minutes of each level stay.
func (c *cache) trim() {
	now, bytes := c.now(), 0
	for i, l := range c.levels {
		l.dropBefore(now.Add(-widths[i].keep).UnixNano())
		bytes += l.bytes
	}
	for i, l := range c.levels {
		for bytes > c.limit && int64(len(l.windows))*l.step > int64(5*time.Minute) {
			before := l.bytes
			c.since[i] = l.dropOldest()
			bytes -= before - l.bytes
		}
	}
}

// covered is the time from which on a level is whole.
func (c *cache) covered(level int) int64 {
	l := c.levels[level]
	from := max(c.loaded[level], c.since[level], l.floor(c.now().Add(-widths[level].keep).UnixNano())+l.step)
	if level == 0 {
		return max(from, c.stream.Oldest())
	}
	return max(from, c.oldest)
}

// complete is the end of the last window that everything is counted of.
func (c *cache) complete() int64 {
	now := c.now().UnixNano()
	// 0 is before the first agent has promised anything.
	if until, idle := c.progress.Until(); !idle && until > 0 {
		now = min(now, until-int64(query.Settled))
	}
	return query.Floor(now, proto.WindowNS)
}

// counted is the time before which everything is counted: what rates are over
// where it lies within a window.
func (c *cache) counted() int64 {
	now := c.now().UnixNano()
	if until, idle := c.progress.Until(); !idle && until > 0 {
		now = min(now, until)
	}
	return now
}

// began is when measuring began, if that is still known, else 0, as
// [query.Began] says.
func (c *cache) began() int64 {
	if c.stream.FirstSeq > 1 || c.stream.FirstTime.IsZero() {
		return 0
	}
	return min(c.first, query.Floor(c.stream.FirstTime.Add(-query.Settled).UnixNano()-proto.WindowNS, proto.WindowNS))
}

// tally is what is in an interval, if the levels of minutes know.
type tally struct {
	known          bool
	requests, lost uint64
}

// count counts an interval of whole windows of five minutes.
func (c *cache) count(i query.Interval) (n tally) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var u unpacker
	for at := middle.first; at < middle.end && !n.known; at++ {
		if n.known = c.covered(at) <= i.FromNS; n.known {
			s := c.cut(c.levels[at], i)
			n.lost = s.lost()
			for _, w := range s.windows {
				if w != nil {
					w.each(&u, nil, func(_ uint32, row *query.Row) { n.requests += row.Hist.Count })
				}
			}
		}
	}
	return n
}

// span is an interval of whole windows of one width.
type span struct {
	query.Interval
	step    int64
	since   int64 // the part that was measured, what rates are over
	until   int64
	windows []*window // in order; nil where nothing happened
	series  []query.Key
	missing string // why it isn't whole, "" if it is
}

// covers is how long was measured.
func (s *span) covers() time.Duration { return time.Duration(max(0, s.until-s.since)) }

// within is the part of window i that was measured.
func (s *span) within(i int) time.Duration {
	start := s.FromNS + int64(i)*s.step
	return time.Duration(max(0, min(start+s.step, s.until)-max(start, s.since)))
}

// table adds up what is wanted of windows from to to.
func (s *span) table(by query.By, from, to int, wanted func(*query.Key) bool) *query.Table {
	t := query.NewTable(by)
	var u unpacker
	shown := func(id uint32) bool { return wanted == nil || wanted(&s.series[id]) }
	for _, w := range s.windows[from:to] {
		if w == nil {
			continue
		}
		w.each(&u, shown, func(id uint32, row *query.Row) {
			keyed := *row
			keyed.Key = s.series[id]
			t.AddRow(&keyed)
		})
	}
	return t
}

// lost is how many exchanges are known to be lost, at most: a lost kernel
// record may have been an exchange.
func (s *span) lost() (n uint64) {
	for _, w := range s.windows {
		if w != nil {
			for _, count := range w.losses {
				n += count
			}
		}
	}
	return n
}

const (
	maxColumns = 400 // windows that an answer has at most
	minColumns = 8   // of half an hour, where finer ones aren't read yet
)

// pick chooses the level for an interval: the finest that is whole and not too
// long. fine reports whether the interval deserves finer windows than those.
func (c *cache) pick(i query.Interval) (level int, fine bool) {
	length := i.ToNS - i.FromNS
	for n, l := range c.levels {
		if length/l.step <= maxColumns && c.covered(n) <= i.FromNS && (n < coarsest.first || length/l.step >= minColumns) {
			return n, length/l.step < 30 && n > 0
		}
	}
	for n, l := range c.levels {
		if length/l.step <= maxColumns {
			return n, length <= int64(maxDetail)
		}
	}
	return middle.end - 1, false
}

// view calls show with an interval. Nothing changes meanwhile.
func (c *cache) view(level int, i query.Interval, show func(*span)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.cut(c.levels[level], i)
	if from := c.covered(level); from > s.FromNS+int64(time.Minute) { // the first minute of 24 hours always goes
		switch {
		case c.problem != "":
			s.missing = c.problem
		case c.loaded[level] > s.FromNS:
			s.missing = fmt.Sprintf("history is still being read: %.0f %%", 100*c.loading)
		case c.since[level] > s.FromNS:
			s.missing = fmt.Sprintf("before %s there was no room in memory (%d MiB)", clock(from), c.limit>>20)
		default:
			s.missing = fmt.Sprintf("older than %s has expired", clock(from))
		}
	}
	show(s)
}

// detailed calls show with an interval of a level of its own.
func (c *cache) detailed(l *level, i query.Interval, show func(*span)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.cut(l, i)
	if oldest := c.stream.Oldest(); s.FromNS < oldest {
		s.missing = fmt.Sprintf("older than %s has expired", clock(oldest))
	}
	show(s)
}

// cut makes a span of a level's windows. The lock is held.
func (c *cache) cut(l *level, i query.Interval) *span {
	s := &span{Interval: query.Interval{FromNS: l.floor(i.FromNS), ToNS: l.floor(i.ToNS + l.step - 1)}, step: l.step}
	s.series = slices.Clip(c.series)
	for start := s.FromNS; start < s.ToNS; start += l.step {
		s.windows = append(s.windows, l.windows[start])
	}
	s.until = min(s.ToNS, c.counted())
	s.since = max(s.FromNS, min(c.began(), s.until))
	return s
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05Z") }
