package history

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxSeries = 100_000 // then peers, and then operations, are merged

	// Kept is how long windows of five minutes are kept.
	Kept = 24 * time.Hour
)

// widths are the levels: how wide their windows are and how long they are kept,
// so that any interval is a few hundred of them.
var widths = []struct{ step, keep time.Duration }{
	{10 * time.Second, time.Hour + 5*time.Minute},
	{time.Minute, 6*time.Hour + 15*time.Minute},
	{5 * time.Minute, Kept + 15*time.Minute},
	{30 * time.Minute, 45 * time.Minute}, // and Config.Keep
}

// Config is what a history needs.
type Config struct {
	Bus   *bus.Conn
	Bytes int           // bound on memory; over it the oldest of the finest windows go
	Keep  time.Duration // how long windows of half an hour are kept; 0 means Kept
	Now   func() time.Time
}

// History is what WEIR_LATENCY and its roll-ups have held of late, each delta in
// every level that still has its window. It is safe for concurrent use.
type History struct {
	bus     *bus.Conn
	limit   int // bytes of all levels
	long    time.Duration
	now     func() time.Time
	details *details
	log     *slog.Logger

	undecodable atomic.Uint64

	mu                  sync.RWMutex
	series              []query.Key
	ids                 map[query.Key]uint32
	levels              []*level
	since               []int64 // by level: before it windows were dropped for room
	progress            *query.Progress
	newest              time.Time // when the stream stored the last message read
	stream              bus.StreamInfo
	oldest              [2]int64        // of minutes, of half hours: before it windows have lost deltas to the streams' limits
	rolledUp, halfHours bool            // what is read of the roll-ups
	leftOut             map[string]bool // streams of roll-ups that can't be read
	first               int64           // start of the earliest window seen in WEIR_LATENCY
	loaded              []int64         // by level: before it the history isn't read yet; 0 if all is
	loading             float64         // share of the history that was read
	problem             string          // why nothing can be read, "" if it can
	changed             chan struct{}
	changes             uint64
}

// New is an empty history: [History.Run] fills it.
func New(cfg Config, log *slog.Logger) *History {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &History{
		bus: cfg.Bus, limit: cfg.Bytes, long: max(cfg.Keep, Kept), now: cfg.Now, log: log, changed: make(chan struct{}), leftOut: map[string]bool{},
	}
	c.details = newDetails(cfg.Bus, c)
	c.reset()
	return c
}

// keep is how long a level's windows are kept.
func (c *History) keep(level int) time.Duration {
	if level == coarsest.first {
		return c.long + widths[level].keep
	}
	return widths[level].keep
}

// reset forgets everything: the stream is another one.
func (c *History) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.series, c.ids = nil, map[query.Key]uint32{}
	c.levels, c.since, c.loaded = nil, make([]int64, len(widths)), make([]int64, len(widths))
	for i, w := range widths {
		c.levels = append(c.levels, newLevel(int64(w.step)))
		c.loaded[i] = c.now().UnixNano()
	}
	c.progress, c.first, c.loading = query.NewProgress(0), 1<<63-1, 0
	c.rolledUp, c.halfHours = false, false
	c.notify()
}

// notify wakes who waits for changes. The lock is held.
func (c *History) notify() {
	c.changes++
	close(c.changed)
	c.changed = make(chan struct{})
}

// Changed is closed when there is something new; the number is then another.
func (c *History) Changed() (<-chan struct{}, uint64) {
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
func (c *History) take(m *bus.Message, to part, live bool) error {
	if m.Sequence == 1 { // the stream was empty when it was looked at
		c.mu.Lock()
		c.stream.FirstSeq, c.stream.FirstTime = 1, m.Time
		c.mu.Unlock()
	}
	if proto.IsCommit(m.Subject) {
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
func (c *History) takeRollup(r *query.Rollup, to part) {
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

func (c *History) add(l *proto.Latency, to part) {
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

func (c *History) lose(commit *proto.Commit, to part) {
	for _, l := range commit.Loss {
		for i := to.first; i < to.end; i++ {
			if c.wanted(i, l.StartNS) {
				c.levels[i].lose(l)
			}
		}
	}
}

// wanted reports whether a level still keeps a time.
func (c *History) wanted(level int, ns int64) bool {
	l := c.levels[level]
	return l.floor(ns) >= max(c.since[level], l.floor(c.now().Add(-c.keep(level)).UnixNano()))
}

// id numbers a series. Over the bound what tells apart the most goes first.
func (c *History) id(key query.Key) uint32 {
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
func (c *History) trim() {
	now, bytes := c.now(), 0
	for i, l := range c.levels {
		l.dropBefore(now.Add(-c.keep(i)).UnixNano())
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
func (c *History) covered(level int) int64 {
	l := c.levels[level]
	from := max(c.loaded[level], c.since[level], l.floor(c.now().Add(-c.keep(level)).UnixNano())+l.step)
	switch {
	case level == 0 || !c.rolledUp:
		return max(from, c.stream.Oldest())
	case level == coarsest.first && c.halfHours:
		return max(from, c.oldest[1])
	}
	return max(from, c.oldest[0])
}

// complete is the end of the last window that everything is counted of.
func (c *History) complete() int64 {
	now := c.now().UnixNano()
	// 0 is before the first agent has promised anything.
	if until, idle := c.progress.Until(); !idle && until > 0 {
		now = min(now, until-int64(query.Settled))
	}
	return query.Floor(now, proto.WindowNS)
}

// counted is the time before which everything is counted: what rates are over
// where it lies within a window.
func (c *History) counted() int64 {
	now := c.now().UnixNano()
	if until, idle := c.progress.Until(); !idle && until > 0 {
		now = min(now, until)
	}
	return now
}

// began is when measuring began, if that is still known, else 0, as
// [query.Began] says.
func (c *History) began() int64 {
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
func (c *History) count(i query.Interval) (n tally) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var u unpacker
	for at := middle.first; at < middle.end && !n.known; at++ {
		if n.known = c.covered(at) <= i.FromNS; n.known {
			s := c.cut(c.levels[at], i)
			n.lost = s.Lost()
			for _, w := range s.windows {
				if w != nil {
					w.each(&u, nil, func(_ uint32, row *query.Row) { n.requests += row.Hist.Count })
				}
			}
		}
	}
	return n
}

// Span is an interval of whole windows of one width.
type Span struct {
	query.Interval
	Step    int64
	Since   int64 // the part that was measured, what rates are over
	Until   int64
	windows []*window // in order; nil where nothing happened
	series  []query.Key
	Missing string // why it isn't whole, "" if it is
}

// Len is the number of windows.
func (s *Span) Len() int { return len(s.windows) }

// Covers is how long was measured.
func (s *Span) Covers() time.Duration { return time.Duration(max(0, s.Until-s.Since)) }

// Within is the part of window i that was measured.
func (s *Span) Within(i int) time.Duration {
	start := s.FromNS + int64(i)*s.Step
	return time.Duration(max(0, min(start+s.Step, s.Until)-max(start, s.Since)))
}

// Table adds up what is wanted of windows from to to.
func (s *Span) Table(by query.By, from, to int, wanted func(*query.Key) bool) *query.Table {
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

// Lost is how many exchanges are known to be lost, at most: a lost kernel
// record may have been an exchange.
func (s *Span) Lost() (n uint64) {
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

// Show calls show with an interval: in the finest windows that are whole and not
// too many. Nothing changes meanwhile. What is short and long ago is read from
// the stream again.
func (c *History) Show(ctx context.Context, i query.Interval, show func(*Span)) error {
	c.mu.RLock()
	level, fine := c.pick(i)
	c.mu.RUnlock()
	if fine && i.ToNS-i.FromNS <= int64(maxDetail) && c.bus.Connected() {
		l, err := c.details.level(ctx, i)
		if err == nil {
			c.detailed(l, i, show)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
	c.view(level, i, show)
	return nil
}

// pick chooses the level for an interval: the finest that is whole and not too
// long. fine reports whether the interval deserves finer windows than those.
func (c *History) pick(i query.Interval) (level int, fine bool) {
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
func (c *History) view(level int, i query.Interval, show func(*Span)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.cut(c.levels[level], i)
	if from := c.covered(level); from > s.FromNS+int64(time.Minute) { // the first minute of 24 hours always goes
		switch {
		case c.problem != "":
			s.Missing = c.problem
		case c.loaded[level] > s.FromNS:
			s.Missing = fmt.Sprintf("history is still being read: %.0f %%", 100*c.loading)
		case c.since[level] > s.FromNS:
			s.Missing = fmt.Sprintf("before %s there was no room in memory (%d MiB)", clock(from), c.limit>>20)
		default:
			s.Missing = fmt.Sprintf("older than %s has expired", clock(from))
		}
	}
	show(s)
}

// detailed calls show with an interval of a level of its own.
func (c *History) detailed(l *level, i query.Interval, show func(*Span)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.cut(l, i)
	if oldest := c.stream.Oldest(); s.FromNS < oldest {
		s.Missing = fmt.Sprintf("older than %s has expired", clock(oldest))
	}
	show(s)
}

// cut makes a Span of a level's windows. The lock is held.
func (c *History) cut(l *level, i query.Interval) *Span {
	s := &Span{Interval: query.Interval{FromNS: l.floor(i.FromNS), ToNS: l.floor(i.ToNS + l.step - 1)}, Step: l.step}
	s.series = slices.Clip(c.series)
	for start := s.FromNS; start < s.ToNS; start += l.step {
		s.windows = append(s.windows, l.windows[start])
	}
	s.Until = min(s.ToNS, c.counted())
	s.Since = max(s.FromNS, min(c.began(), s.Until))
	return s
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05Z") }
