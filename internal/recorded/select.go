package recorded

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/weirstream/weir/internal/promql"
)

// Querier implements [storage.Queryable].
func (m *Memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{Memory: m, mint: mint, maxt: maxt}, nil
}

type querier struct {
	promql.OnlySeries
	*Memory
	mint, maxt int64
}

// Select gives the series that match and have samples in the time asked for.
// What is added later isn't in them, and nobody is held up while they are read.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	var out []storage.Series
	var warnings annotations.Annotations
	share := promql.NewShare(ctx, matchers)
	q.mu.RLock()
	defer q.mu.RUnlock()
	for _, all := range q.named(matchers) {
		for _, s := range all {
			if !labels.Selector(matchers).Matches(s.labels) {
				continue
			}
			chunks, bytes, err := s.within(mint, maxt)
			if err = cmp.Or(err, share.Hold(bytes)); err != nil {
				return storage.ErrSeriesSet(err)
			}
			if len(chunks) > 0 {
				out = append(out, &found{s.labels, chunks})
			}
		}
	}
	if len(out) > 0 && mint < q.begin {
		warnings.Add(fmt.Errorf("recorded series begin at %s: there was no memory for more",
			time.UnixMilli(q.begin).UTC().Format(time.RFC3339)))
	}
	slices.SortFunc(out, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return promql.SeriesSet(out, warnings)
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

// found is a series with some of its chunks.
type found struct {
	labels labels.Labels
	chunks []chunkenc.Iterable
}

func (f *found) Labels() labels.Labels { return f.labels }

func (f *found) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	return storage.ChainSampleIteratorFromIterables(it, f.chunks)
}
