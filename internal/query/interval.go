package query

import (
	"time"

	"github.com/weirstream/weir/proto"
)

// Interval is [FromNS, ToNS) of event time, unix nanoseconds.
type Interval struct {
	FromNS int64
	ToNS   int64
}

// Between is the interval from one time to another, not widened.
func Between(from, to time.Time) Interval {
	return Interval{FromNS: from.UnixNano(), ToNS: to.UnixNano()}
}

// Windows is the interval widened to the whole windows it touches: a histogram
// can't be cut.
func (i Interval) Windows() Interval {
	return Interval{FromNS: floor(i.FromNS), ToNS: floor(i.ToNS + proto.WindowNS - 1)}
}

// Contains reports whether a time or a window's start is in the interval.
func (i Interval) Contains(ns int64) bool { return ns >= i.FromNS && ns < i.ToNS }

// From is the start as a time.
func (i Interval) From() time.Time { return time.Unix(0, i.FromNS) }

// To is the end as a time.
func (i Interval) To() time.Time { return time.Unix(0, i.ToNS) }

// floor is the start of the window a time is in.
func floor(ns int64) int64 { return Floor(ns, proto.WindowNS) }

// Floor is the last multiple of step that isn't after ns, also before 1970.
func Floor(ns, step int64) int64 {
	r := ns % step
	if r < 0 {
		r += step
	}
	return ns - r
}
