package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/prometheus/promql"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// At each edge of any answer a counter is what was counted before it, whichever
// levels its windows come from.
func TestHistory(t *testing.T) {
	now := time.Unix(1_800_000_007, 0)
	c := empty(1<<30, now)
	clear(c.loaded)
	before := map[int64]uint64{} // the counter at the start of each window
	sum := uint64(0)
	random := rand.New(rand.NewPCG(1, 2))
	first := query.Floor(now.Add(-10*time.Hour).UnixNano(), proto.WindowNS)
	for at := first; at <= now.UnixNano(); at += proto.WindowNS {
		before[at] = sum
		if n := random.IntN(5); n > 0 {
			l := delta("cart", "/carts", time.Unix(0, at))
			for range n {
				l.Points[0].Hist.Record(5e6)
			}
			sum += l.Points[0].Hist.Count
			c.add(l, allLevels)
		}
	}
	end := query.Floor(now.UnixNano(), proto.WindowNS)
	for range 300 {
		from := now.Add(-time.Duration(random.Int64N(int64(11 * time.Hour))))
		ask := promql.Ask{
			Interval:    query.Between(from, from.Add(time.Duration(random.Int64N(int64(11*time.Hour))))),
			WidthNS:     []int64{0, int64(15 * time.Second), int64(time.Minute), int64(time.Hour)}[random.IntN(4)],
			Wanted:      func(*query.Key) bool { return true },
			Differences: random.IntN(2) == 0,
		}
		a, err := c.Select(t.Context(), ask)
		if err != nil || a.Missing != "" {
			t.Fatal(err, a.Missing)
		}
		last, upTo := a.Edges[len(a.Edges)-1], min(ask.Interval.ToNS, end)
		if a.Edges[0] > ask.Interval.FromNS || last > upTo || upTo-last >= int64(5*time.Minute) || !slices.IsSorted(a.Edges) {
			t.Fatalf("%+v has edges %v", ask.Interval, a.Edges)
		}
		if len(a.Series) == 0 {
			continue // before anything was counted
		}
		s, n, counter := a.Series[0], 0, uint64(0)
		if s.Base != nil {
			counter = s.Base.Hist.Count
			for _, h := range []*histogram.Histogram{&s.Base.Hist, &s.Base.Wait} {
				if h.SumNS != int64(h.Count)*5e6 {
					t.Fatalf("%+v: %d requests before took %d ns", ask, h.Count, h.SumNS)
				}
				if h.Count > 0 && h.Scale != histogram.RecordScale {
					t.Fatalf("%+v: scale %d, want %d: quantiles would be coarse", ask, h.Scale, histogram.RecordScale)
				}
			}
		}
		for i, edge := range a.Edges {
			if want, known := before[edge]; known && counter != want {
				t.Fatalf("%+v: %d at %d, want %d", ask, counter, edge, want)
			}
			if n < len(s.Windows) && s.Windows[n] == i {
				counter += s.Read(n, false, false).Count
				n++
			}
		}
	}
}

// Rates are as fine as the histograms, also where the counter was there before.
func TestRatesAreFine(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	engine := promql.New(filled(1, 3, now), 1)
	for _, expr := range []string{
		"rate(http_server_request_duration_seconds[1h])",
		"sum(rate(http_server_request_duration_seconds[1h]))",
	} {
		r, err := engine.Instant(t.Context(), expr, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Value.(prom.Vector) {
			if s.H.Schema != histogram.RecordScale {
				t.Errorf("%s has schema %d", expr, s.H.Schema)
			}
		}
	}
}

// What adds only the buckets that aren't empty adds the same.
func TestSparse(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, l := range messages(now, 30) {
		for i := range l.Points {
			row := new(query.Row)
			row.AddPoint(&l.Points[i])
			cell, u := pack(nil, row), new(unpacker)
			for _, wait := range []bool{false, true} {
				want := u.unpackOne(cell, wait, true).Clone()
				s := u.unpackSparse(cell, wait)
				got := s.Histogram
				got.Buckets = make([]uint64, len(want.Buckets))
				for _, b := range s.Filled {
					got.Buckets[b.Index-got.Offset] = b.Count
				}
				if !got.Equal(want) {
					t.Fatalf("%+v, want %+v", got, want)
				}
			}
		}
	}
}

// What all selectors of a query hold has one bound: many that are each far below it
// are refused together, in whichever form.
func TestMemoryOfQueries(t *testing.T) {
	const selectors = 12
	now := time.Unix(1_800_000_000, 0)
	engine := promql.New(filled(10, 20, now), 1).Holding(4 << 20)
	for _, expr := range []string{
		"sum(rate(http_server_request_duration_seconds[1h] offset %dm))",
		"sum(rate(http_server_request_duration_seconds_count[1h] offset %dm))",
		"max(http_server_request_duration_seconds_count offset %dm)",
		"max(histogram_count(http_server_request_duration_seconds offset %dm))",
	} {
		var all []string
		for n := range selectors {
			one := fmt.Sprintf(expr, n)
			if _, err := engine.Instant(t.Context(), one, now); err != nil {
				t.Errorf("%s: %v", one, err)
			}
			all = append(all, one)
		}
		var limit *promql.LimitError
		_, err := engine.Instant(t.Context(), strings.Join(all, " + "), now)
		if !errors.As(err, &limit) || !strings.Contains(limit.Reason, "more than 4 MiB of memory together, the limit: ") ||
			!strings.Contains(limit.Reason, "http_server_request_duration_seconds") {
			t.Errorf("%d times %s: %v", selectors, expr, err)
		}
	}
}

// A range shorter than the windows of a day ago has a value at each step of the day.
func TestShortRanges(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	engine := promql.New(filled(1, 2, now), 1)
	for _, over := range []string{"20s", "1m", "2m"} {
		for _, expr := range []string{
			"rate(http_server_request_duration_seconds_count[%s])",
			"increase(http_server_request_duration_seconds[%s])",
			"sum(irate(http_server_request_duration_seconds_sum[%s]))",
			"sum by (workload) (rate(http_server_request_duration_seconds[%s]))",
		} {
			expr := fmt.Sprintf(expr, over)
			for _, end := range []time.Time{now, now.Add(-7*time.Hour - 123*time.Second)} {
				from, step := now.Add(-23*time.Hour-50*time.Minute), 37*time.Second
				r, err := engine.Range(t.Context(), expr, from, end, step)
				if err != nil || len(r.Value.(prom.Matrix)) == 0 || len(r.Warnings) > 0 || len(r.Infos) != 1 {
					t.Fatalf("%s: %+v %v", expr, r, err)
				}
				for _, s := range r.Value.(prom.Matrix) {
					if got, want := len(s.Floats)+len(s.Histograms), int(end.Sub(from)/step)+1; got != want {
						t.Errorf("%s until %s has %d points, want %d", expr, end, got, want)
					}
				}
			}
		}
	}
}
