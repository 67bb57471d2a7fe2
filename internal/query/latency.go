package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Early is how much earlier than an interval its messages may have been
// stored: the clock of a node may be ahead of the stream's by this much.
const Early = 30 * time.Second

// Options say what to read from WEIR_LATENCY.
type Options struct {
	Interval  Interval // widened to whole windows
	Selection Selection
	By        By
	Wait      time.Duration // how long to wait until the interval is complete; 0 takes what is there
	Now       time.Time     // when the question was asked
}

// Result is the rows of an interval and how far they can be trusted.
type Result struct {
	Interval Interval // whole windows
	Rows     []*Row
	Losses   []proto.Loss // noticed in the interval, whatever workload they hit

	// Missing says why the rows are not complete: "" if they are.
	Missing string

	since, until int64 // the part of the interval that was measured
}

// Covered is how much of the interval was measured so far: what rates are over.
func (r *Result) Covered() time.Duration { return time.Duration(r.until - r.since) }

// Until is the time before which everything in the rows is counted, at most the
// interval's end.
func (r *Result) Until() time.Time { return time.Unix(0, r.until) }

// Lost is how many exchanges are known to be lost in the interval, at most:
// a lost kernel record may have been an exchange.
func (r *Result) Lost() uint64 {
	var n uint64
	for _, l := range r.Losses {
		n += l.Count
	}
	return n
}

// Latency reads an interval. It waits, for Options.Wait at most, until every
// partition has counted what ended before the interval's end or, if that lies
// ahead, before now; [Result].Missing says if it hasn't.
func Latency(ctx context.Context, c *bus.Conn, o Options) (*Result, error) {
	m, err := newMerge(ctx, c, o)
	if err != nil {
		return nil, err
	}
	if o.Now.Sub(m.interval.From()) > longAgo {
		if err := m.readRollups(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.read(ctx, true, func() bool { return false }); err != nil {
		return nil, err
	}
	need := min(m.interval.ToNS, o.Now.UnixNano())
	if o.Wait > 0 && !m.progress.covers(ctx, c, need) {
		waiting, cancel := context.WithTimeout(ctx, o.Wait)
		defer cancel()
		err := m.read(waiting, false, func() bool { return m.progress.covers(waiting, c, need) })
		if err != nil && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
	r := m.result(o.Now)
	if !m.progress.covers(ctx, c, need) {
		r.Missing = m.missing()
	}
	return r, nil
}

// Latencies calls take for every message with windows of an interval, in the
// order of the stream. The message holds those windows only.
func Latencies(ctx context.Context, c *bus.Conn, interval Interval, take func(*bus.Message, *proto.Latency) error) error {
	interval = interval.Windows()
	for msg, err := range c.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{proto.SubjectsLatency}, StartTime: interval.From().Add(-Early), StopAtEnd: true,
	}) {
		if err != nil {
			return err
		}
		latency, err := proto.DecodeLatency(msg.Data)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", msg.Sequence, proto.StreamLatency, err)
		}
		latency.Points = slices.DeleteFunc(latency.Points, func(p proto.Point) bool { return !interval.Contains(p.StartNS) })
		if len(latency.Points) == 0 {
			continue
		}
		if err := take(msg, latency); err != nil {
			return err
		}
	}
	return nil
}

// Watch calls show with the rows of the last span, once at the start and then
// after every commit, until ctx ends or show fails.
func Watch(ctx context.Context, c *bus.Conn, o Options, span time.Duration, show func(*Result) error) error {
	o.Interval = Between(o.Now.Add(-span), o.Now)
	m, err := newMerge(ctx, c, o)
	if err != nil {
		return err
	}
	m.sliding = true
	m.interval.ToNS = 1<<63 - 1
	var shown error
	render := func() bool {
		now := time.Now()
		whole := m.interval
		m.forget(Between(now.Add(-span), now).Windows())
		shown = show(m.result(now))
		m.interval.ToNS = whole.ToNS
		return shown != nil
	}
	if err := m.read(ctx, true, func() bool { return false }); err != nil {
		return err
	}
	if render() {
		return shown
	}
	if err := m.read(ctx, false, render); err != nil {
		return err
	}
	return shown
}

// merge collects the deltas of an interval as they are read.
type merge struct {
	conn     *bus.Conn
	options  Options
	interval Interval
	stream   bus.StreamInfo
	progress *Progress
	next     uint64 // stream sequence to go on from

	sliding bool             // keep windows apart, so that old ones can go
	tables  map[int64]*Table // by window's start if sliding, else all in 0
	losses  []proto.Loss
	oldest  int64 // before it deltas have expired
	began   int64 // when measuring began, if that is still known, else 0
}

func newMerge(ctx context.Context, c *bus.Conn, o Options) (*merge, error) {
	info, err := c.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return nil, err
	}
	p, err := ReadProgress(ctx, c)
	if err != nil {
		return nil, err
	}
	began, err := Began(ctx, c, info, o.Selection.Subject())
	if err != nil {
		return nil, err
	}
	return &merge{
		conn: c, options: o, interval: o.Interval.Windows(), stream: info, progress: p,
		tables: map[int64]*Table{}, began: began, oldest: info.Oldest(),
	}, nil
}

// read goes on reading: to the end of the stream, or until a commit after
// which stop is true. A commit record is the last message of its batch.
func (m *merge) read(ctx context.Context, toEnd bool, stop func() bool) error {
	for msg, err := range m.conn.Messages(ctx, bus.ReadConfig{
		Stream:    proto.StreamLatency,
		Subjects:  []string{m.options.Selection.Subject(), proto.SubjectsCommit},
		StartSeq:  m.next,
		StartTime: m.interval.From().Add(-Early),
		StopAtEnd: toEnd,
	}) {
		if err != nil {
			return err
		}
		m.next = msg.Sequence + 1
		committed, err := m.add(msg)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", msg.Sequence, proto.StreamLatency, err)
		}
		if committed && stop() {
			return nil
		}
	}
	m.next = max(m.next, m.stream.LastSeq+1)
	return nil
}

// add takes a message in and reports whether it is a commit record.
func (m *merge) add(msg *bus.Message) (bool, error) {
	if proto.IsCommit(msg.Subject) {
		commit, err := proto.DecodeCommit(msg.Data)
		if err != nil {
			return false, err
		}
		m.progress.Saw(commit, msg.Time)
		m.lose(commit)
		return true, nil
	}
	latency, err := proto.DecodeLatency(msg.Data)
	if err != nil {
		return false, err
	}
	m.addPoints(latency, m.interval)
	return false, nil
}

// addPoints adds the deltas of an interval that are asked for.
func (m *merge) addPoints(l *proto.Latency, within Interval) {
	for i := range l.Points {
		if p := &l.Points[i]; within.Contains(p.StartNS) && m.options.Selection.covers(l, p) {
			m.table(p.StartNS).Add(l, p)
		}
	}
}

func (m *merge) lose(commit *proto.Commit) {
	for _, l := range commit.Loss {
		if m.interval.Contains(l.StartNS) {
			m.losses = append(m.losses, l)
		}
	}
}

func (m *merge) table(start int64) *Table {
	if !m.sliding {
		start = 0
	}
	t := m.tables[start]
	if t == nil {
		t = NewTable(m.options.By)
		m.tables[start] = t
	}
	return t
}

// forget moves on to a later interval and drops what lies before it.
func (m *merge) forget(to Interval) {
	m.interval = to
	for start := range m.tables {
		if start < to.FromNS {
			delete(m.tables, start)
		}
	}
	kept := m.losses[:0]
	for _, l := range m.losses {
		if l.StartNS >= to.FromNS {
			kept = append(kept, l)
		}
	}
	m.losses = kept
}

func (m *merge) result(now time.Time) *Result {
	all := NewTable(m.options.By)
	for start, t := range m.tables {
		if !m.sliding || m.interval.Contains(start) {
			all.Merge(t)
		}
	}
	r := &Result{Interval: m.interval, Rows: all.Rows(), Losses: m.losses}
	r.since, r.until = m.measured(now)
	if m.interval.FromNS < m.oldest {
		r.Missing = fmt.Sprintf("older than %s has expired", time.Unix(0, m.oldest).UTC().Format(time.TimeOnly))
	}
	return r
}

// measured is the part of the interval that was measured: it begins with the
// stream, and ends where the counting has come to.
func (m *merge) measured(now time.Time) (since, until int64) {
	since, until = m.interval.FromNS, min(m.interval.ToNS, now.UnixNano())
	if counted, idle := m.progress.Until(); !idle && counted > since {
		until = min(until, counted)
	}
	if m.began < until {
		since = max(since, m.began)
	}
	return since, until
}

// missing says what keeps the rows from being complete.
func (m *merge) missing() string {
	if len(m.progress.commits) == 0 {
		return "nothing has been counted yet"
	}
	until, idle := m.progress.Until()
	if idle {
		return "there is input that isn't counted yet"
	}
	return "counted until " + time.Unix(0, until).Add(-Settled).Format(time.TimeOnly)
}
