package alert

import (
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"sync"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// memory keeps series that rules record, and those of a test. It is safe for
// concurrent use.
type memory struct {
	limit int // of samples, a histogram counts as many as its memory

	mu      sync.RWMutex
	series  map[string]*recordedSeries
	samples int
}

type recordedSeries struct {
	labels labels.Labels
	points []point // in the order of their times
}

// point is a sample: a histogram, or else a number.
type point struct {
	t int64 // unix milliseconds
	f float64
	h *promhist.FloatHistogram
}

// size is how many numbers take as much memory.
func (p *point) size() int {
	if p.h == nil {
		return 1
	}
	return 8 + len(p.h.PositiveBuckets)/2
}

var errFull = errors.New("rules have recorded too much")

func newMemory(limit int) *memory { return &memory{limit: limit, series: map[string]*recordedSeries{}} }

// add adds a sample later than those that a series has; one that isn't changes nothing.
func (m *memory) add(of labels.Labels, p point) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := string(of.Bytes(nil))
	s := m.series[key]
	if s == nil {
		s = &recordedSeries{labels: of}
		m.series[key] = s
	}
	if n := len(s.points); n > 0 && s.points[n-1].t >= p.t {
		return nil
	}
	if m.samples >= m.limit {
		return errFull
	}
	s.points = append(s.points, p)
	m.samples += p.size()
	return nil
}

// stale ends a series: it has no value from a time on.
func (m *memory) stale(of labels.Labels, t int64) error {
	return m.add(of, point{t: t, f: math.Float64frombits(value.StaleNaN)})
}

// forget drops what is older than a time.
func (m *memory) forget(before int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range m.series {
		n := sort.Search(len(s.points), func(i int) bool { return s.points[i].t >= before })
		for _, p := range s.points[:n] {
			m.samples -= p.size()
		}
		if s.points = slices.Delete(s.points, 0, n); len(s.points) == 0 {
			delete(m.series, key)
		}
	}
}

// Querier implements [storage.Queryable].
func (m *memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &memoryQuerier{m, mint, maxt}, nil
}

type memoryQuerier struct {
	*memory
	mint, maxt int64
}

func (*memoryQuerier) Close() error { return nil }

// Select gives the series that match, and what they have of the time asked for.
func (q *memoryQuerier) Select(_ context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	q.mu.RLock()
	defer q.mu.RUnlock()
	out := &memorySet{at: -1}
	for _, s := range q.series {
		if !matches(s.labels, matchers) {
			continue
		}
		from := sort.Search(len(s.points), func(i int) bool { return s.points[i].t >= mint })
		to := sort.Search(len(s.points), func(i int) bool { return s.points[i].t > maxt })
		if from < to {
			out.series = append(out.series, seriesOf(s.labels, s.points[from:to]))
		}
	}
	slices.SortFunc(out.series, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return out
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

func seriesOf(l labels.Labels, points []point) storage.Series {
	s := promql.Series{Metric: l}
	for _, p := range points {
		if p.h != nil {
			s.Histograms = append(s.Histograms, promql.HPoint{T: p.t, H: p.h})
		} else {
			s.Floats = append(s.Floats, promql.FPoint{T: p.t, F: p.f})
		}
	}
	return promql.NewStorageSeries(s)
}

// LabelValues and LabelNames are what the engine never asks for.
func (*memoryQuerier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (*memoryQuerier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

type memorySet struct {
	series []storage.Series
	at     int
}

func (s *memorySet) Next() bool                      { s.at++; return s.at < len(s.series) }
func (s *memorySet) At() storage.Series              { return s.series[s.at] }
func (*memorySet) Err() error                        { return nil }
func (*memorySet) Warnings() annotations.Annotations { return nil }
