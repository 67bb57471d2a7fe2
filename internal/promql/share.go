package promql

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/query"
)

const (
	seriesBytes = 512 // of a series with its key or labels
	rowBytes    = 448 // of a row without buckets, and where it is found
	edgeBytes   = 24
	stepBytes   = 256 // of a step, or of an edge, of a sum, planned and worked out, without buckets
)

// Share is what one selector, or one sum, holds of the memory that all of a query
// have together.
type Share struct {
	of   fmt.Stringer // the selector or the sum
	held int          // bytes
	all  *pool
}

// pool is the memory of all selectors and sums of a query.
type pool struct{ held, most int } // bytes

type poolKey struct{}

// sharing is the context of a query whose selectors and sums hold so many bytes at
// most.
func sharing(ctx context.Context, most int) context.Context {
	return context.WithValue(ctx, poolKey{}, &pool{most: most})
}

// free gives back all that the query of a context holds.
func free(ctx context.Context) {
	if all, is := ctx.Value(poolKey{}).(*pool); is {
		all.held = 0
	}
}

// NewShare is a selector's share of the memory of the query that a context is of;
// nil if it is of none.
func NewShare(ctx context.Context, m []*labels.Matcher) *Share {
	return newShare(ctx, &parser.VectorSelector{LabelMatchers: m})
}

func newShare(ctx context.Context, of fmt.Stringer) *Share {
	if all, is := ctx.Value(poolKey{}).(*pool); is {
		return &Share{of: of, all: all}
	}
	return nil
}

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
