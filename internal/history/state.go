package history

import (
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// State is how much a history holds and how far it goes.
type State struct {
	Change   uint64    // another number: there is something new
	Complete int64     // everything that ended before it is counted, unix nanoseconds
	Idle     bool      // there is nothing to count
	Newest   time.Time // when the stream stored the last message read; zero if nothing was ever counted
	Problem  string    // why nothing can be read, "" if it can
	Loaded   float64   // share of the past that was read
	Since    int64     // the past goes back to here, unix nanoseconds
	Series   int
	Bytes    int
	Limit    int
	Levels   []LevelState
}

// LevelState is how much there is in windows of one width.
type LevelState struct {
	Step    time.Duration
	Since   int64 // whole from then on, unix nanoseconds; 0 if it is empty
	Windows int
	Bytes   int
}

// State says how much there is.
func (c *History) State() State {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, idle := c.progress.Until()
	s := State{
		Change: c.changes, Complete: c.complete(), Idle: idle, Newest: c.newest, Problem: c.problem, Loaded: c.loading,
		Since:  max(c.covered(coarsest.first), min(c.first, c.now().UnixNano())),
		Series: len(c.series), Limit: c.limit,
	}
	for i, l := range c.levels {
		of := LevelState{Step: time.Duration(l.step), Windows: len(l.windows), Bytes: l.bytes}
		if len(l.windows) > 0 {
			of.Since = max(c.covered(i), c.first)
		}
		s.Bytes += l.bytes
		s.Levels = append(s.Levels, of)
	}
	return s
}

// LostSince is what is known to be lost of windows that begin at a time or later,
// by reason and unit.
func (c *History) LostSince(at time.Time) []proto.Loss {
	c.mu.RLock()
	defer c.mu.RUnlock()
	sums := map[[2]string]uint64{}
	for start, w := range c.levels[0].windows {
		if start >= at.UnixNano() {
			for key, n := range w.losses {
				sums[[2]string{key.reason, key.unit}] += n
			}
		}
	}
	var out []proto.Loss
	for key, n := range sums {
		out = append(out, proto.Loss{Reason: key[0], Unit: key[1], Count: n})
	}
	return out
}

// Complete is the end of the newest window that everything is counted of, unix
// nanoseconds.
func (c *History) Complete() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.complete()
}

// Foreign is how many messages were passed over that none of Weir's writers put
// there, if it reads by another connection than this one.
func (c *History) Foreign(other *bus.Conn) uint64 {
	if c.bus == other {
		return 0
	}
	return c.bus.Stats().Foreign
}

// Undecodable is how many messages could not be read.
func (c *History) Undecodable() uint64 { return c.undecodable.Load() }
