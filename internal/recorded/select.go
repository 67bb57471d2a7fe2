package recorded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// Querier implements [storage.Queryable].
func (m *Memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{m, mint, maxt}, nil
}

type querier struct {
	*Memory
	mint, maxt int64
}

func (*querier) Close() error { return nil }

// Select gives the series that match and have samples in the time asked for.
// What is added later isn't in them, and nobody is held up while they are read.
func (q *querier) Select(_ context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	out := &seriesSet{at: -1}
	q.mu.RLock()
	defer q.mu.RUnlock()
	for _, all := range q.named(matchers) {
		for _, s := range all {
			if !matches(s.labels, matchers) {
				continue
			}
			chunks, err := s.within(mint, maxt)
			if err != nil {
				return storage.ErrSeriesSet(err)
			}
			if len(chunks) > 0 {
				out.series = append(out.series, &found{s.labels, chunks})
			}
		}
	}
	if len(out.series) > 0 && mint < q.begin {
		out.warnings.Add(fmt.Errorf("recorded series begin at %s: there was no memory for more",
			time.UnixMilli(q.begin).UTC().Format(time.RFC3339)))
	}
	slices.SortFunc(out.series, func(a, b *found) int { return labels.Compare(a.labels, b.labels) })
	return out
}

// named are the series among which those are that match.
func (m *Memory) named(matchers []*labels.Matcher) map[string]map[string]*series {
	for _, x := range matchers {
		if x.Name == model.MetricNameLabel && x.Type == labels.MatchEqual {
			return map[string]map[string]*series{x.Value: m.names[x.Value]}
		}
	}
	return m.names
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// LabelValues and LabelNames are what the engine never asks for.
func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

type seriesSet struct {
	series   []*found
	at       int
	warnings annotations.Annotations
}

func (s *seriesSet) Next() bool {
	s.at++
	return s.at < len(s.series)
}

func (s *seriesSet) At() storage.Series                { return s.series[s.at] }
func (*seriesSet) Err() error                          { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return s.warnings }

// found is a series with some of its chunks.
type found struct {
	labels labels.Labels
	chunks []chunkenc.Iterable
}

func (f *found) Labels() labels.Labels { return f.labels }

func (f *found) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	return storage.ChainSampleIteratorFromIterables(it, f.chunks)
}
