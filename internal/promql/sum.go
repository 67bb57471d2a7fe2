package promql

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// sumLabel is the label of a selector that stands for a sum of rates of native
// histograms, or for a quantile of it: {__weir_sum__="sum by (workload) (rate(…[5m]))"}.
// The querier works it out series by series, where the engine would hold the rate of
// every series at every step before it adds any up, and every sum before it takes
// a quantile of one.
const sumLabel = "__weir_sum__"

// summing is a parser that leaves such sums to the querier.
type summing struct{ parser.Parser }

func (p summing) ParseExpr(text string) (parser.Expr, error) {
	e, err := p.Parser.ParseExpr(text)
	if err != nil {
		return e, err
	}
	return leave(e), nil
}

// leave puts selectors in the place of sums. Those in subqueries stay: the times
// of their steps are the engine's.
func leave(e parser.Expr) parser.Expr {
	switch n := e.(type) {
	case *parser.ParenExpr:
		n.Expr = leave(n.Expr)
	case *parser.UnaryExpr:
		n.Expr = leave(n.Expr)
	case *parser.BinaryExpr:
		n.LHS, n.RHS = leave(n.LHS), leave(n.RHS)
	case *parser.Call:
		if s := sumOf(n); s != nil {
			return s.selector(n)
		}
		for i, arg := range n.Args {
			if !slices.Contains(looking, n.Func.Name) || sumOf(unwrap(arg)) == nil {
				n.Args[i] = leave(arg)
			}
		}
	case *parser.AggregateExpr:
		if s := sumOf(n); s != nil {
			return s.selector(n)
		}
		n.Expr = leave(n.Expr)
	}
	return e
}

// looking are the functions for which it matters whether their argument is a
// selector; absent_over_time has no sum.
var looking = []string{"absent", "timestamp"}

func unwrap(e parser.Expr) parser.Expr {
	for {
		p, is := e.(*parser.ParenExpr)
		if !is {
			return e
		}
		e = p.Expr
	}
}

// sumExpr is sum by (…) (rate(selector[…])), or histogram_quantile(0.99, …) of it.
type sumExpr struct {
	*parser.AggregateExpr
	quantile float64 // NaN for the sum itself
	function string  // rate or increase
	over     time.Duration
	of       *parser.VectorSelector
}

// selector stands for the sum, which is an expression's.
func (s *sumExpr) selector(e parser.Expr) *parser.VectorSelector {
	return &parser.VectorSelector{
		LabelMatchers:  []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, sumLabel, e.String())},
		OriginalOffset: s.of.OriginalOffset, PosRange: e.PositionRange(),
	}
}

// sumOf is nil if an expression isn't a sum that the querier can work out, or a
// quantile of one.
func sumOf(e parser.Expr) *sumExpr {
	if call, is := e.(*parser.Call); is && call.Func.Name == "histogram_quantile" {
		q, is := unwrap(call.Args[0]).(*parser.NumberLiteral)
		s := sumOf(unwrap(call.Args[1]))
		if !is || !(q.Val >= 0 && q.Val <= 1) || s == nil || !math.IsNaN(s.quantile) { // the engine warns of other quantiles
			return nil
		}
		s.quantile = q.Val
		return s
	}
	n, is := e.(*parser.AggregateExpr)
	if !is || n.Op != parser.SUM {
		return nil
	}
	call, is := unwrap(n.Expr).(*parser.Call)
	if !is || call.Func.Name != "rate" && call.Func.Name != "increase" {
		return nil
	}
	m, is := unwrap(call.Args[0]).(*parser.MatrixSelector)
	if !is || m.RangeExpr != nil {
		return nil
	}
	v := m.VectorSelector.(*parser.VectorSelector)
	if v.OriginalOffsetExpr != nil || v.Timestamp != nil || v.StartOrEnd != 0 || v.Anchored || v.Smoothed {
		return nil
	}
	for _, x := range v.LabelMatchers {
		if x.Name == model.MetricNameLabel && x.Type == labels.MatchEqual && Metrics()[x.Value].Type == "histogram" {
			return &sumExpr{n, math.NaN(), call.Func.Name, m.Range, v}
		}
	}
	return nil
}

// sum works a sum out at the steps that hints are for: a series a group.
func (q *querier) sum(ctx context.Context, text string, hints storage.SelectHints) storage.SeriesSet {
	e, err := Parse(text)
	s := sumOf(e)
	if err == nil && s == nil {
		err = fmt.Errorf("%s: only a sum of rates of a native histogram can be here", sumLabel)
	}
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	first := hints.Start + q.lookback.Milliseconds() - 1 // the engine looks back from its first step
	if hints.Step > 0 && (hints.End-first)/hints.Step > maxPoints {
		return storage.ErrSeriesSet(tooManyPoints()) // in a subquery of somebody who knows this label
	}
	hints.Start, hints.Range, hints.Func = first-s.over.Milliseconds()+1, s.over.Milliseconds(), s.function
	share := newShare(ctx, e)
	found, warnings, err := q.read(ctx, &hints, share, s.of.LabelMatchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	out := &seriesSet{at: -1, warnings: warnings}
	if len(found) == 0 {
		return out
	}
	plan, err := newRates(ctx, s, share, found[0].edges, first, hints.End, hints.Step)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	groups := map[string]*group{}
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, one := range found {
		b.Reset(one.labels)
		if s.Without {
			b.Del(s.Grouping...)
		} else {
			b.Keep(s.Grouping...)
		}
		of := b.Del(model.MetricNameLabel).Labels()
		key := of.String()
		g := groups[key]
		if g == nil {
			g = &group{labels: of, rates: plan}
			groups[key] = g
			plan.groups++
			out.series = append(out.series, g)
		}
		g.series = append(g.series, one)
	}
	return out
}
