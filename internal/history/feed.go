package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	// recent is what is read first, so that the page shows something at once.
	recent   = 10 * time.Minute
	tryAgain = time.Second
	lookAt   = time.Minute // how often the stream's first message is looked at
)

// Run reads until ctx ends. When the stream goes away or is made anew it
// begins again.
func (c *History) Run(ctx context.Context) error {
	for {
		err := c.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var wrong *query.UnreadableError
		if errors.As(err, &wrong) {
			c.leaveOut(wrong)
			err = nil
		} else {
			c.log.Warn("reading_again", "stream", proto.StreamLatency, "error", err)
		}
		c.reset()
		c.say(err)
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

// leaveOut reads a roll-up no more that has a message that can't be read. What it
// holds is read from WEIR_LATENCY, which is exact and takes longer; what is older
// than that is missing, and the history begins later.
func (c *History) leaveOut(wrong *query.UnreadableError) {
	c.undecodable.Add(1)
	c.log.Warn("rollup_left_out", "stream", wrong.Stream, "error", wrong)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leftOut[wrong.Stream] = true
}

// lastRollup is the newest commit of a roll-up, nil if there is none or it is left out.
func (c *History) lastRollup(ctx context.Context, what proto.Rollup) (*query.Rollup, error) {
	c.mu.RLock()
	leftOut := c.leftOut[what.Stream]
	c.mu.RUnlock()
	if leftOut {
		return nil, nil
	}
	return query.LastRollup(ctx, c.bus, what)
}

// say notes why nothing can be read.
func (c *History) say(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem = ""; err != nil {
		c.problem = err.Error()
	}
	c.notify()
}

func (c *History) read(ctx context.Context) error {
	partitions, err := c.bus.Partitions(ctx)
	if err != nil {
		return err
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	last, err := c.bus.LastMessages(ctx, proto.StreamLatency, proto.SubjectsCommit)
	if err != nil {
		return err
	}
	now := c.now()
	began, err := query.Began(ctx, c.bus, c.stream, proto.SubjectsLatency)
	if err != nil {
		return err
	}
	cut, end, err := c.split(ctx, now)
	if err != nil {
		return err
	}
	c.begin(partitions, last, began)
	next, since, err := c.recent(ctx, cut)
	if err != nil {
		return err
	}
	c.recentRead(since.Add(query.Early).UnixNano())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.follow(ctx, next) })
	c.mu.Lock()
	c.rolledUp = end != nil
	c.mu.Unlock()
	if end != nil {
		g.Go(func() error { return c.rollups(ctx, now, end) })
		g.Go(func() error { return c.history(ctx, now.Add(-widths[0].keep-query.Early), cut, finest) })
	} else {
		g.Go(func() error { return c.history(ctx, now.Add(-Kept-query.Early), cut, allLevels) })
	}
	g.Go(func() error {
		for {
			select {
			case <-time.After(lookAt):
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := c.look(ctx); err != nil && ctx.Err() == nil {
				c.log.Debug("stream_not_seen", "error", err) // who follows it finds out what that means
			}
		}
	})
	return g.Wait()
}

// begin starts with the newest commit records. All else is read later.
func (c *History) begin(partitions int, commits []bus.Message, began int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress, c.loading, c.problem = query.NewProgress(partitions), 0, ""
	if began > 0 {
		c.first = min(c.first, began)
	}
	for _, m := range commits {
		if commit, err := proto.DecodeCommit(m.Data); err == nil {
			c.progress.Saw(commit, m.Time)
			c.newest = m.Time
		}
	}
	c.notify()
}

// look finds out where the streams begin now.
func (c *History) look(ctx context.Context) error {
	info, err := c.bus.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return err
	}
	oldest := [2]int64{info.Oldest(), info.Oldest()}
	for i, what := range []proto.Rollup{proto.Minutes, proto.HalfHours} {
		last, err := c.lastRollup(ctx, what)
		if err != nil || last == nil {
			break // what isn't rolled up is not to be found there
		}
		stream, err := c.bus.StreamInfo(ctx, what.Stream)
		if err != nil {
			break
		}
		for j := i; j < len(oldest); j++ {
			oldest[j] = min(oldest[j], max(stream.Oldest(), last.Record.SinceNS))
		}
	}
	c.mu.Lock()
	c.stream, c.oldest = info, oldest
	c.mu.Unlock()
	return nil
}

var subjects = []string{proto.SubjectsLatency, proto.SubjectsCommit}

// split is where what is followed begins, about ten minutes ago: a sequence of
// WEIR_LATENCY. If it is the position of a commit of minutes, that is end, and
// the history before is in the minutes up to it.
func (c *History) split(ctx context.Context, now time.Time) (cut uint64, end *query.Rollup, err error) {
	if cut, err = c.firstAfter(ctx, now.Add(-recent)); err != nil {
		return 0, nil, err
	}
	last, err := c.lastRollup(ctx, proto.Minutes)
	if err != nil || last == nil || last.Record.Position.Seq < cut {
		return cut, nil, err // they are far behind
	}
	err = query.Rollups(ctx, c.bus, proto.Minutes, proto.Minutes.Commit, now.Add(-recent), proto.Position{}, func(r *query.Rollup) bool {
		if r.Sequence > last.Record.AnewAfter && r.Record.Position.Seq >= cut {
			end = r
		}
		return end == nil && r.Sequence < last.Sequence
	})
	if end == nil {
		end = last
	}
	end.Record.AnewAfter = last.Record.AnewAfter
	return end.Record.Position.Seq, end, err
}

// rollups reads the sums of what WEIR_LATENCY holds, up to a commit of minutes:
// the half hours, so that 24 hours are there at once, then all minutes.
func (c *History) rollups(ctx context.Context, now time.Time, end *query.Rollup) error {
	started, since := c.now(), now.Add(-Kept-query.Early)
	took := func() string { return c.now().Sub(started).Round(time.Millisecond).String() }
	void := end.Record.AnewAfter
	minutes := func(from proto.Position, levels part, taken func(*query.Rollup)) error {
		return query.Rollups(ctx, c.bus, proto.Minutes, proto.Minutes.Subjects, since, from, func(r *query.Rollup) bool {
			if r.Sequence > void {
				c.takeRollup(r, levels)
				taken(r)
			}
			return r.Sequence < end.Sequence
		})
	}
	levels := coarser
	last, err := c.lastRollup(ctx, proto.HalfHours)
	if err != nil {
		return err
	}
	if last != nil && last.Record.Position.Seq > void+1 {
		var from proto.Position
		long := now.Add(-c.keep(coarsest.first) - query.Early)
		err := query.Rollups(ctx, c.bus, proto.HalfHours, proto.HalfHours.Subjects, long, from, func(r *query.Rollup) bool {
			if r.Record.Position.Seq > end.Sequence+1 {
				return false
			}
			if r.Sequence > last.Record.AnewAfter {
				from = r.Record.Position
				c.takeRollup(r, coarsest)
			}
			return r.Sequence < last.Sequence
		})
		if err == nil && from.Seq <= end.Sequence {
			err = minutes(from, coarsest, func(*query.Rollup) {})
		}
		if err != nil {
			return err
		}
		levels = middle
		c.mu.Lock()
		c.halfHours = true
		c.mu.Unlock()
		c.historyRead(coarsest)
		c.log.Info("half_hours_read", "took", took())
	}
	commits := 0
	err = minutes(proto.Position{}, levels, func(r *query.Rollup) {
		if commits++; commits%16 == 0 {
			c.progressed(max(0, float64(r.Record.LogNS-now.Add(-Kept).UnixNano())/float64(Kept)))
		}
	})
	if err != nil {
		return err
	}
	c.historyRead(levels)
	c.log.Info("minutes_read", "commits", commits, "took", took())
	return nil
}

// firstAfter is the sequence of the first message stored at a time or later;
// one above the last if there is none.
func (c *History) firstAfter(ctx context.Context, at time.Time) (uint64, error) {
	info, err := c.bus.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return 0, err
	}
	m, err := c.bus.FirstMessage(ctx, bus.ReadConfig{Stream: proto.StreamLatency, Subjects: subjects, StartTime: at})
	if m == nil {
		return info.LastSeq + 1, err
	}
	return m.Sequence, nil
}

// recent reads from a sequence on what there is. It returns where to go on, and
// when the first of it was stored.
func (c *History) recent(ctx context.Context, from uint64) (next uint64, since time.Time, err error) {
	next, since = from, c.now()
	for m, err := range c.bus.Messages(ctx, bus.ReadConfig{Stream: proto.StreamLatency, Subjects: subjects, StartSeq: from, StopAtEnd: true}) {
		if err != nil {
			return 0, since, err
		}
		c.tryTake(m, allLevels, true)
		next = m.Sequence + 1
		if m.Time.Before(since) {
			since = m.Time
		}
	}
	return next, since, nil
}

// recentRead says that what lies after a time is read.
func (c *History) recentRead(after int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.loaded {
		c.loaded[i] = after
	}
	c.notify()
}

// follow reads from a sequence on, for ever.
func (c *History) follow(ctx context.Context, from uint64) error {
	for m, err := range c.bus.Messages(ctx, bus.ReadConfig{Stream: proto.StreamLatency, Subjects: subjects, StartSeq: from}) {
		if err != nil {
			return err
		}
		c.tryTake(m, allLevels, true)
	}
	return nil
}

// history reads what was stored from a time on, up to a sequence.
func (c *History) history(ctx context.Context, from time.Time, to uint64, levels part) error {
	started := c.now()
	var first, read uint64
	for m, err := range c.bus.Messages(ctx, bus.ReadConfig{Stream: proto.StreamLatency, Subjects: subjects, StartTime: from, StopAtEnd: true}) {
		if err != nil {
			return err
		}
		if m.Sequence >= to {
			break
		}
		if first == 0 {
			first = m.Sequence
		}
		c.tryTake(m, levels, false)
		if read++; read%1024 == 0 && levels == allLevels {
			c.progressed(float64(m.Sequence-first) / float64(to-first))
		}
	}
	c.historyRead(levels)
	c.log.Info("history_read", "messages", read, "took", c.now().Sub(started).Round(time.Millisecond).String())
	return nil
}

func (c *History) progressed(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loading = share
	c.trim()
	c.notify()
}

func (c *History) historyRead(levels part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := levels.first; i < levels.end; i++ {
		c.loaded[i] = 0
	}
	if slices.Max(c.loaded) == 0 {
		c.loading = 1
	}
	c.trim()
	c.notify()
}

// tryTake counts what can't be read instead of stopping: the rest can.
func (c *History) tryTake(m *bus.Message, to part, live bool) {
	if err := c.take(m, to, live); err != nil {
		c.undecodable.Add(1)
		c.log.Debug("message_skipped", "error", fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamLatency, err))
	}
}
