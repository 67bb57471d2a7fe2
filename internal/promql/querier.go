package promql

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
)

const (
	// samplesInRange is how many samples a range such as [5m] should have: windows
	// are as wide as that allows. More make a rate no better, only slower.
	samplesInRange = 20
	// fewInRange it has where more would make over longWindows windows.
	fewInRange  = 5
	longWindows = 400
)

// width is how wide windows may be for samples from start to end, milliseconds.
func width(h *storage.SelectHints) int64 {
	if h.Range == 0 {
		return h.Step
	}
	return max(h.Range/samplesInRange, min(h.Range/fewInRange, (h.End-h.Start)/longWindows))
}

// differences are the functions of a range for which a counter's start doesn't matter.
var differences = []string{"rate", "increase", "irate", "delta", "idelta", "deriv", "resets", "changes"}

// bucketsNamed reports whether classic buckets may be asked for, of which each is
// a counter.
func bucketsNamed(matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return strings.HasSuffix(m.Value, suffixes[bucket])
		}
	}
	return true
}

// queryable shows a source as Prometheus's storage.
type queryable struct {
	source   Source
	series   int // at most, of a selector
	lookback time.Duration
}

// Querier is for one query.
func (q *queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	return q.querier(interval(mint, maxt)), nil
}

func (q *queryable) querier(i query.Interval) *querier {
	return &querier{queryable: q, interval: i}
}

// interval is of milliseconds, which may be as far away as they like.
func interval(mint, maxt int64) query.Interval {
	const far = math.MaxInt64 / int64(time.Millisecond)
	ns := func(ms int64) int64 { return max(-far, min(far, ms)) * int64(time.Millisecond) }
	return query.Interval{FromNS: ns(mint), ToNS: ns(maxt)}
}

type querier struct {
	OnlySeries
	*queryable
	interval query.Interval
}

// OnlySeries is of a [storage.Querier] what the engine never asks for, but for
// its end: see [Names].
type OnlySeries struct{}

// Close implements [storage.Querier].
func (OnlySeries) Close() error { return nil }

// LabelValues implements [storage.Querier].
func (OnlySeries) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// LabelNames implements [storage.Querier].
func (OnlySeries) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// Select gives the series whose labels match.
func (q *querier) Select(ctx context.Context, ordered bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if len(matchers) == 1 && matchers[0].Name == sumLabel {
		return q.sum(ctx, matchers[0].Value, *hints)
	}
	found, warnings, err := q.read(ctx, hints, NewShare(ctx, matchers), matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if ordered {
		slices.SortFunc(found, func(a, b *series) int { return labels.Compare(a.labels, b.labels) })
	}
	all := make([]storage.Series, len(found))
	for i, s := range found {
		all[i] = s
	}
	return SeriesSet(all, warnings)
}

// read gives what hints ask for of the series that match.
func (q *querier) read(ctx context.Context, hints *storage.SelectHints, share *Share, matchers []*labels.Matcher) ([]*series, annotations.Annotations, error) {
	asked, over := interval(hints.Start-1, hints.End), cuts(hints) // a source's intervals don't hold their start
	if over > 0 && parts(lookback.Milliseconds(), over) != 1 {
		asked.ToNS = max(asked.ToNS, asked.ToNS+int64(lookback)) // with the window that the end is within
	}
	found, answer, err := q.find(ctx, Ask{
		Interval:    asked,
		WidthNS:     width(hints) * int64(time.Millisecond),
		Differences: slices.Contains(differences, hints.Func) && !bucketsNamed(matchers),
		Share:       share,
	}, over, matchers)
	if err != nil {
		return nil, nil, err
	}
	var warnings annotations.Annotations
	if answer.Missing != "" {
		warnings.Add(errors.New(answer.Missing))
	}
	if hints.Range > 0 {
		warnings.Merge(tooWide(answer.Edges, hints))
	}
	return found, warnings, nil
}

// find gives the series that match, of all forms; windows are cut for ranges of
// some milliseconds, or for none.
func (q *querier) find(ctx context.Context, ask Ask, over int64, matchers []*labels.Matcher) ([]*series, *Answer, error) {
	m := newMatching(matchers)
	ask.Wanted, ask.Losses = m.wanted, m.metric(lostName)
	answer, err := q.source.Select(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	edges := cut(answer.Edges, over)
	widest := 0 // columns
	var out []*series
	columns := &columns{}
	builder := labels.NewScratchBuilder(16)
	for _, s := range answer.Series {
		own := s.Key.Labels()
		for _, f := range m.forms(&s.Key) {
			bounds := f.bounds()
			widest = max(widest, len(bounds))
			if err := ask.Share.Hold(len(bounds) * seriesBytes); err != nil {
				return nil, nil, err
			}
			for i, le := range bounds {
				out = append(out, &series{
					labels: labelsOf(&builder, f.name(&s.Key), le, own), edges: edges, of: s, form: f, bound: i, columns: columns,
				})
			}
		}
		if len(out) > q.series {
			return nil, nil, tooManySeries(q.series)
		}
	}
	if err := ask.Share.Hold((edgeBytes + 8*(widest+len(answer.Losses))) * len(edges)); err != nil {
		return nil, nil, err
	}
	for _, l := range answer.Losses {
		out = append(out, lossSeries(&builder, l, edges))
	}
	out = slices.DeleteFunc(out, func(s *series) bool { return !labels.Selector(matchers).Matches(s.labels) }) // le is only known here
	return out, answer, nil
}

// matching is what matchers say of keys and forms.
type matching struct {
	matchers []*labels.Matcher
	known    map[[2]string][]form // by protocol and side
}

func newMatching(matchers []*labels.Matcher) *matching {
	return &matching{matchers, map[[2]string][]form{}}
}

// metric reports whether the matchers allow a metric's name.
func (m *matching) metric(name string) bool {
	for _, x := range m.matchers {
		if x.Name == model.MetricNameLabel && !x.Matches(name) {
			return false
		}
	}
	return true
}

// forms are those of a key whose names match.
func (m *matching) forms(k *query.Key) []form {
	at := [2]string{k.Protocol, k.Side.String()}
	forms, known := m.known[at]
	if !known {
		forms = slices.DeleteFunc(formsOf(k), func(f form) bool { return !m.metric(f.name(k)) })
		m.known[at] = forms
	}
	return forms
}

// wanted reports whether a key may match: le isn't looked at.
func (m *matching) wanted(k *query.Key) bool {
	if len(m.forms(k)) == 0 {
		return false
	}
	own := k.Labels()
	for _, x := range m.matchers {
		if x.Name == model.MetricNameLabel || x.Name == labels.BucketLabel {
			continue
		}
		value := ""
		for _, l := range own {
			if l.Name == x.Name {
				value = l.Value
			}
		}
		if !x.Matches(value) {
			return false
		}
	}
	return true
}

// bounds are the values of le, as Prometheus writes them, or "" alone.
func (f form) bounds() []string {
	if f.kind != bucket {
		return []string{""}
	}
	var out []string
	for _, b := range histogram.ClassicBounds() {
		out = append(out, labels.FormatOpenMetricsFloat(b))
	}
	return append(out, "+Inf")
}

// series is one of Prometheus's.
type series struct {
	labels  labels.Labels
	edges   []edge
	of      *Series
	form    form
	bound   int // index in bounds
	columns *columns
	losses  []float64 // by edge, if that is what it is
}

func lossSeries(b *labels.ScratchBuilder, l *Losses, edges []edge) *series {
	values := make([]float64, len(edges))
	total := l.Base
	for i, e := range edges {
		if e.part > 0 {
			values[i] = float64(total) + e.part*float64(l.Counts[e.window])
			continue
		}
		if i > 0 {
			total += l.Counts[e.window-1]
		}
		values[i] = float64(total)
	}
	own := []query.Label{{Name: "node", Value: l.Node}, {Name: "reason", Value: l.Reason}, {Name: "unit", Value: l.Unit}}
	return &series{labels: labelsOf(b, lostName, "", own), edges: edges, losses: values}
}

func (s *series) Labels() labels.Labels { return s.labels }

func (s *series) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	switch {
	case s.losses != nil:
		return newNumbers(s.edges, 0, s.losses)
	case s.form.kind == native:
		return newHistograms(s.edges, s.of, s.form)
	}
	return newNumbers(s.edges, firstEdge(s.edges, s.of), s.columns.get(s))
}

// columns remembers the classic metrics of the series they were asked of last:
// the buckets of a series are read one after the other.
type columns struct {
	of   *Series
	form form
	all  []column
}

func (c *columns) get(s *series) []float64 {
	if c.of != s.of || c.form != s.form {
		c.of, c.form, c.all = s.of, s.form, nil
		switch s.form.kind {
		case count:
			c.all = []column{{of: func(h *histogram.Histogram) float64 { return float64(h.Count) }}}
		case sum:
			c.all = []column{{of: func(h *histogram.Histogram) float64 { return float64(h.SumNS) }}}
		case bucket:
			for _, bound := range append(histogram.ClassicBounds(), math.Inf(1)) {
				c.all = append(c.all, column{of: func(h *histogram.Histogram) float64 { return h.Below(bound) }})
			}
		}
		fill(c.all, s.edges, s.of, s.form)
		if s.form.kind == sum {
			for i := range c.all[0].values { // nanoseconds add up without an error
				c.all[0].values[i] /= 1e9
			}
		}
	}
	return c.all[s.bound].values
}

// SeriesSet is the answer of a [storage.Querier] that has all its series.
func SeriesSet(all []storage.Series, warnings annotations.Annotations) storage.SeriesSet {
	return &seriesSet{all, -1, warnings}
}

type seriesSet struct {
	series   []storage.Series
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
