package promql

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// NewBeside is [New] with series that are somewhere else, such as those that
// rules record: both may be in one expression.
func NewBeside(source Source, others storage.Queryable, atOnce int) *Engine {
	own := &queryable{source, maxSeries, lookback}
	e := over(beside{own, others}, summing{newParser()}, atOnce, subqueryStep)
	e.own, e.others = own, others
	return e
}

// ownNames are all names of Weir's own metrics.
var ownNames = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{lostName: true}
	for _, side := range []proto.Side{proto.SideServer, proto.SideClient} {
		k := query.Key{Side: side, Protocol: "http"}
		for _, f := range formsOf(&k) {
			all[f.name(&k)] = true
		}
	}
	return all
})

// Owns reports whether a name is that of one of Weir's own metrics.
func Owns(name string) bool { return ownNames()[name] }

// beside is Weir's own metrics and other series, of which none has their names.
type beside struct{ own, others storage.Queryable }

func (b beside) Querier(mint, maxt int64) (storage.Querier, error) {
	own, err := b.own.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	others, err := b.others.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	both := storage.NewMergeQuerier([]storage.Querier{own, others}, nil, storage.ChainedSeriesMerge)
	return besideQuerier{both, own, others}, nil
}

type besideQuerier struct {
	storage.Querier // of both

	own, others storage.Querier
}

// Select asks only those for the others that may have what is asked for.
func (q besideQuerier) Select(ctx context.Context, ordered bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if len(matchers) == 1 && matchers[0].Name == sumLabel {
		return q.own.Select(ctx, ordered, hints, matchers...)
	}
	if name := nameOf(matchers); name != "" {
		if Owns(name) {
			return q.own.Select(ctx, ordered, hints, matchers...)
		}
		return q.others.Select(ctx, ordered, hints, matchers...)
	}
	return q.Querier.Select(ctx, ordered, hints, matchers...)
}

// nameOf is the one metric that matchers allow, "" if they may allow several.
func nameOf(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// otherSeries are the labels of the others that match.
func (e *Engine) otherSeries(ctx context.Context, i query.Interval, matchers []*labels.Matcher) (all []labels.Labels, warnings []string, err error) {
	if e.others == nil || Owns(nameOf(matchers)) {
		return nil, nil, nil
	}
	mint, maxt := i.FromNS/int64(time.Millisecond), i.ToNS/int64(time.Millisecond)
	q, err := e.others.Querier(mint, maxt)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt, Func: "series"}, matchers...)
	for set.Next() {
		if all = append(all, set.At().Labels()); len(all) > maxSeries {
			return nil, nil, tooManySeries(maxSeries)
		}
	}
	if mint > 0 { // where everything is asked for, it is no surprise that it begins somewhere
		for _, w := range set.Warnings() {
			warnings = append(warnings, w.Error())
		}
	}
	return all, warnings, set.Err()
}

// Recorded is what a metric is that rules record.
var Recorded = Metadata{"unknown", "Recorded by a rule.", ""}
