package promql

import (
	"context"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
)

// Source has the deltas of some history.
type Source interface {
	// Select gives the series that are asked for. They are read by one
	// goroutine, after Select has returned.
	Select(ctx context.Context, ask Ask) (*Answer, error)
}

// Ask is what a selector of an expression needs.
type Ask struct {
	Interval query.Interval        // samples are wanted of (FromNS, ToNS]
	WidthNS  int64                 // windows needn't be narrower than this, nanoseconds
	Wanted   func(*query.Key) bool // which series; it is called once for each
	Losses   bool                  // losses are wanted too
	Share    *Share                // told what the answer holds besides what is there anyway

	// Differences says that only differences between samples matter, and how much
	// there was before the first, since nothing is extrapolated to below zero: a
	// source may leave the buckets out of Base if they cost it much.
	Differences bool
}

// Answer is history cut into windows: window i is [Edges[i], Edges[i+1]).
type Answer struct {
	Edges   []int64 // unix nanoseconds, rising; the last is until when all is counted
	Series  []*Series
	Losses  []*Losses
	Missing string // why it doesn't begin where it was asked to, "" if it does
}

// Series is the deltas of one key.
type Series struct {
	Key     query.Key
	Base    *query.Row // the sum of the history before Edges[0]; nil if there is none
	Windows []int      // that have a delta, rising

	// Read gives the latencies, or the waits, of Windows[n]; without their buckets
	// unless these are wanted. They are valid until the next call for any series
	// of the answer.
	Read func(n int, wait, buckets bool) *histogram.Histogram
	// Sparse gives the same for who only adds up; nil if Read has to do.
	Sparse func(n int, wait bool) *Sparse
}

// Sparse is a histogram with the buckets that aren't empty.
type Sparse struct {
	histogram.Histogram // without buckets
	Filled              []Bucket
}

// Bucket is one of a histogram's.
type Bucket struct {
	Index int32 // as in histogram.Histogram.Offset
	Count uint64
}

// sparse makes it of Read if there is nothing better.
func (s *Series) sparse(n int, wait bool) *Sparse {
	if s.Sparse != nil {
		return s.Sparse(n, wait)
	}
	return sparse(s.Read(n, wait, true))
}

func sparse(h *histogram.Histogram) *Sparse {
	out := &Sparse{Histogram: *h}
	out.Buckets = nil
	for i, count := range h.Buckets {
		if count > 0 {
			out.Filled = append(out.Filled, Bucket{h.Offset + int32(i), count})
		}
	}
	return out
}

// Losses is exchanges, or records that may have been exchanges, known to be lost.
type Losses struct {
	Node, Reason, Unit string
	Base               uint64   // before Edges[0]
	Counts             []uint64 // by window
}
