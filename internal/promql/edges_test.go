package promql

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// rough is a source with windows of all widths: latencies over so many powers of
// two that histograms become coarser, and some that come coarser.
type rough struct {
	edges []int64
	rows  map[int]*query.Row
}

func newRough() *rough {
	r := rand.New(rand.NewPCG(1, 2))
	out := &rough{[]int64{1_800_000_000e9}, map[int]*query.Row{}}
	for i := range 200 {
		width := []time.Duration{5 * time.Minute, time.Minute, 10 * time.Second}[i/67]
		out.edges = append(out.edges, out.edges[i]+int64(width))
		if r.IntN(4) == 0 {
			continue
		}
		row := new(query.Row)
		for range 1 + r.IntN(100) {
			row.Hist.Record(int64(math.Exp(r.NormFloat64()*float64(i)/20+15)) * r.Int64N(20) / 19)
		}
		if r.IntN(20) == 0 {
			row.Hist.Downscale(3)
		}
		out.rows[i] = row
	}
	return out
}

func (r *rough) Select(_ context.Context, ask Ask) (*Answer, error) {
	s := &Series{Key: query.Key{Workload: "cart", Side: proto.SideServer, Protocol: "http"}}
	ask.Wanted(&s.Key)
	for i := range r.edges {
		if r.rows[i] != nil {
			s.Windows = append(s.Windows, i)
		}
	}
	s.Read = func(n int, wait, _ bool) *histogram.Histogram { return histogramOf(r.rows[s.Windows[n]], wait) }
	return &Answer{Edges: r.edges, Series: []*Series{s}}, nil
}

// samples are those of all series of a metric, by labels and time.
func (r *rough) samples(t *testing.T, metric string, hints storage.SelectHints) map[string][]sample {
	q, err := (&queryable{r, maxSeries, lookback}).Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	hints.Start, hints.End = r.edges[0]/1e6, r.edges[len(r.edges)-1]/1e6
	set := q.Select(t.Context(), true, &hints, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
	out := map[string][]sample{}
	for set.Next() {
		name := set.At().Labels().String()
		for it := set.At().Iterator(nil); ; {
			var s sample
			switch it.Next() {
			case chunkenc.ValFloat:
				s.at, s.f = it.At()
			case chunkenc.ValFloatHistogram:
				s.at, s.h = it.AtFloatHistogram(nil)
			}
			if s.at == 0 {
				break
			}
			out[name] = append(out[name], s)
		}
	}
	return out
}

type sample struct {
	at int64
	f  float64
	h  *promhist.FloatHistogram
}

// Between true samples, which stay what they are, counters only rise, in each
// bucket, and samples are so near that any range has two.
func TestCut(t *testing.T) {
	source := newRough()
	for _, metric := range []string{"duration_seconds", "wait_duration_seconds", "duration_seconds_count", "duration_seconds_sum", "duration_seconds_bucket"} {
		metric := "http_server_request_" + metric
		truly := source.samples(t, metric, storage.SelectHints{})
		for _, over := range []time.Duration{20 * time.Second, 70 * time.Second, 9 * time.Minute} {
			cut := source.samples(t, metric, storage.SelectHints{Func: "rate", Range: over.Milliseconds()})
			if len(cut) != len(truly) || len(cut) == 0 {
				t.Fatalf("%d series, want %d", len(cut), len(truly))
			}
			for name, all := range cut {
				at, of := 0, fmt.Sprint(name, " for ", over)
				for i, s := range all {
					if s.at == truly[name][at].at {
						if want := truly[name][at]; s.f != want.f || s.h != nil && !s.h.Equals(want.h) {
							t.Fatalf("%s: %v, want %v", of, s, want)
						}
						at++
					}
					if i > 0 {
						rises(t, of, all[i-1], s)
						if 2*(s.at-all[i-1].at) > over.Milliseconds() {
							t.Fatalf("%s: %d ms apart", of, s.at-all[i-1].at)
						}
					}
				}
				if at != len(truly[name]) {
					t.Errorf("%s: %d true samples, want %d", of, at, len(truly[name]))
				}
			}
		}
	}
}

// A sum that the querier works out is the engine's, and as fine, at any time
// within a window.
func TestSumsWithinWindows(t *testing.T) {
	source := newRough()
	engine := New(source, 1)
	for _, over := range []string{"19s", "70s", "9m"} {
		ask := func(rate string) prom.Matrix {
			r, err := engine.Range(t.Context(), "sum("+rate+"(http_server_request_duration_seconds["+over+"]))",
				time.Unix(0, source.edges[0]), time.Unix(0, source.edges[len(source.edges)-1]), 7*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return r.Value.(prom.Matrix)
		}
		got, want := ask("rate")[0].Histograms, ask("1 * rate")[0].Histograms
		if len(got) != len(want) {
			t.Fatalf("%d points, want %d", len(got), len(want))
		}
		for i, p := range got {
			a, b := p.H.Copy().Compact(0), want[i].H.Copy().Compact(0)
			if p.T != want[i].T || a.Schema != b.Schema || math.Abs(a.Count-b.Count) > 1e-9*b.Count || !slices.Equal(a.PositiveSpans, b.PositiveSpans) {
				t.Fatalf("over %s: %v at %d, want %v", over, a, p.T, b)
			}
		}
	}
}

func rises(t *testing.T, of string, a, b sample) {
	t.Helper()
	if b.f < a.f {
		t.Fatalf("%s falls from %v to %v", of, a.f, b.f)
	}
	if b.h == nil {
		return
	}
	if b.h.CounterResetHint != promhist.NotCounterReset {
		t.Fatalf("%s has hint %v", of, b.h.CounterResetHint)
	}
	later := b.h.Copy()
	later.CounterResetHint = promhist.UnknownCounterReset
	if later.Sum < a.h.Sum || later.DetectReset(a.h) {
		t.Fatalf("%s falls from %v to %v", of, a.h, b.h)
	}
}

func TestParts(t *testing.T) {
	for _, tt := range []struct {
		width, over time.Duration
		want        int64
	}{
		{10 * time.Second, 20 * time.Second, 1},
		{10 * time.Second, 19 * time.Second, 2},
		{10 * time.Second, 1250 * time.Millisecond, 16},
		{10 * time.Second, 1249 * time.Millisecond, 0}, // 312.5 ms
		{time.Minute, time.Minute, 2},
		{5 * time.Minute, time.Minute, 16},
		{5 * time.Minute, 18750 * time.Millisecond, 32},
		{5 * time.Minute, 18 * time.Second, 0},
	} {
		if got := parts(tt.width.Milliseconds(), tt.over.Milliseconds()); got != tt.want {
			t.Errorf("%s for %s: %d, want %d", tt.width, tt.over, got, tt.want)
		}
	}
	if edges := cut([]int64{0, 8e6, 10e6}, 4); !slices.Equal(edges, []edge{{0, 0, 0}, {2, 0, 0.25}, {4, 0, 0.5}, {6, 0, 0.75}, {8, 1, 0}, {10, 2, 0}}) {
		t.Error(edges)
	}
}
