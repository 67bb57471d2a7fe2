package promql

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/query"
)

// Version is the release of Prometheus that the engine comes from.
const Version = "3.16.0"

// ParseSelectors reads selectors such as {workload="cart"}; a mistake is a
// [*SyntaxError].
func ParseSelectors(texts []string) ([][]*labels.Matcher, error) {
	var out [][]*labels.Matcher
	for _, text := range texts {
		m, err := newParser().ParseMetricSelector(text)
		if err != nil {
			return nil, explain(err, text)
		}
		out = append(out, m)
	}
	return out, nil
}

// Names finds the series of an interval, and what their labels are.
type Names struct {
	engine  *Engine
	querier *querier
}

// Names looks in an interval.
func (e *Engine) Names(i query.Interval) Names { return Names{e, e.own.querier(i)} }

// Series are the labels of the series that match any of the selectors, or of all if
// there are none, in order. Warnings say what may be missing.
func (n Names) Series(ctx context.Context, selectors [][]*labels.Matcher) (all []labels.Labels, warnings []string, err error) {
	warnings, err = n.each(ctx, selectors, func(found []labels.Labels) int {
		all = append(all, found...)
		slices.SortFunc(all, labels.Compare)
		all = slices.CompactFunc(all, labels.Equal)
		return len(all)
	})
	return all, warnings, err
}

// LabelNames are the names of the labels of the series that match.
func (n Names) LabelNames(ctx context.Context, selectors [][]*labels.Matcher) (names, warnings []string, err error) {
	return n.strings(ctx, selectors, func(l labels.Labels, add func(string)) {
		l.Range(func(l labels.Label) { add(l.Name) })
	})
}

// LabelValues are the values that the series that match have of a label.
func (n Names) LabelValues(ctx context.Context, name string, selectors [][]*labels.Matcher) (values, warnings []string, err error) {
	return n.strings(ctx, selectors, func(l labels.Labels, add func(string)) {
		if v := l.Get(name); v != "" {
			add(v)
		}
	})
}

// strings are what the labels of all series that match have, in order and once.
func (n Names) strings(ctx context.Context, selectors [][]*labels.Matcher, of func(labels.Labels, func(string))) (out, warnings []string, err error) {
	seen := map[string]bool{}
	warnings, err = n.each(ctx, selectors, func(found []labels.Labels) int {
		for _, l := range found {
			of(l, func(v string) { seen[v] = true })
		}
		return len(seen)
	})
	return slices.Sorted(maps.Keys(seen)), warnings, err
}

// each shows what the selectors find, one after the other, within the time and the
// memory of one query; show tells how many series or strings it keeps by then.
func (n Names) each(ctx context.Context, selectors [][]*labels.Matcher, show func([]labels.Labels) int) (warnings []string, err error) {
	ctx, cancel := n.engine.within(ctx)
	defer cancel()
	if len(selectors) == 0 {
		selectors = [][]*labels.Matcher{nil}
	}
	for _, matchers := range selectors {
		found, more, err := n.find(ctx, matchers)
		if err == nil {
			free(ctx) // what is kept of it counts instead
			err = cmp.Or(NewShare(ctx, matchers).Hold(show(found)*seriesBytes), ctx.Err())
		}
		if err != nil {
			return nil, explain(err, "")
		}
		warnings = append(warnings, more...)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings), nil
}

// find gives the labels of the series that match.
func (n Names) find(ctx context.Context, matchers []*labels.Matcher) (all []labels.Labels, warnings []string, err error) {
	found, answer, err := n.querier.find(ctx, Ask{
		Interval: n.querier.interval, WidthNS: math.MaxInt64, Differences: true, Share: NewShare(ctx, matchers),
	}, 0, matchers)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range found {
		all = append(all, s.labels)
	}
	if answer.Missing != "" && n.querier.interval.FromNS > 0 {
		warnings = append(warnings, answer.Missing)
	}
	others, more, err := n.engine.otherSeries(ctx, n.querier.interval, matchers)
	return append(all, others...), append(warnings, more...), err
}

// Selectors are those of an expression.
type Selectors []*matching

// SelectorsOf finds them; a mistake is a [*SyntaxError].
func SelectorsOf(expr string) (Selectors, error) {
	e, err := Parse(expr)
	if err != nil {
		return nil, err
	}
	var out Selectors
	for _, matchers := range parser.ExtractSelectors(e) {
		out = append(out, newMatching(matchers))
	}
	return out, nil
}

// Labels are those of a series that matches, without le; false if it doesn't.
// Of several metrics that match it is the first.
func (s Selectors) Labels(k *query.Key) (labels.Labels, bool) {
	for _, m := range s {
		if m.wanted(k) {
			builder := labels.NewScratchBuilder(16)
			return labelsOf(&builder, m.forms(k)[0].name(k), "", k.Labels()), true
		}
	}
	return labels.EmptyLabels(), false
}
