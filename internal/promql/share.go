package promql

import "github.com/weirstream/weir/internal/query"

const (
	seriesBytes = 512 // of a series with its key or labels
	rowBytes    = 448 // of a row without buckets, and where it is found
	edgeBytes   = 24
	stepBytes   = 256 // of a step, or of an edge, of a sum, without buckets
)

// Share is what one selector, or one sum, holds of the memory that all of a query
// have together.
type Share struct {
	of   string // the selector or the sum
	held int    // bytes
	all  *pool
}

// pool is the memory of all selectors and sums of a query.
type pool struct{ held, most int } // bytes

// Hold counts bytes that are about to be held until the query ends, or that are
// given back if they are below 0. It is a [*LimitError] if the query holds too many.
// A share that is nil counts nothing.
func (s *Share) Hold(bytes int) error {
	if s == nil {
		return nil
	}
	s.held += bytes
	s.all.held += bytes
	if s.all.held > s.all.most {
		return tooMuch(s)
	}
	return nil
}

// RowBytes is how much memory a row takes, 0 if it is nil.
func RowBytes(r *query.Row) int {
	if r == nil {
		return 0
	}
	return rowBytes + 8*(cap(r.Hist.Buckets)+cap(r.Wait.Buckets))
}
