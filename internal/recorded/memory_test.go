package recorded

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/proto"
)

type sample struct {
	t int64
	f float64
	h *histogram.FloatHistogram
}

// same says how samples differ, if they do. Numbers are compared by their bits:
// a stale marker is one of many that are none.
func same(got, want []sample) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d samples, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.t != w.t || math.Float64bits(g.f) != math.Float64bits(w.f) || (g.h == nil) != (w.h == nil) || g.h != nil && !g.h.Copy().Compact(0).Equals(w.h.Copy().Compact(0)) {
			return fmt.Errorf("sample %d is %+v, want %+v", i, g, w)
		}
	}
	return nil
}

func read(t *testing.T, m storage.Queryable, from, to int64, matchers ...*labels.Matcher) map[string][]sample {
	t.Helper()
	q, err := m.Querier(from, to)
	if err != nil {
		t.Fatal(err)
	}
	set := q.Select(t.Context(), true, nil, matchers...)
	out := map[string][]sample{}
	last := labels.EmptyLabels()
	for set.Next() {
		l := set.At().Labels()
		if labels.Compare(last, l) >= 0 {
			t.Errorf("%s comes after %s", l, last)
		}
		last = l
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			s := sample{t: it.AtT()}
			if kind == chunkenc.ValFloat {
				_, s.f = it.At()
			} else {
				_, s.h = it.AtFloatHistogram(nil)
			}
			out[l.String()] = append(out[l.String()], s)
		}
		if it.Err() != nil {
			t.Error(it.Err())
		}
	}
	if set.Err() != nil {
		t.Error(set.Err())
	}
	return out
}

func name(n string) *labels.Matcher { return labels.MustNewMatcher(labels.MatchEqual, "__name__", n) }

func randomHistogram() *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{Schema: 5, Sum: rand.Float64(), CounterResetHint: histogram.GaugeType}
	for range 1 + rand.N(4) {
		h.PositiveSpans = append(h.PositiveSpans, histogram.Span{Offset: int32(rand.N(30)) + 1, Length: 2})
		for range 2 {
			n := rand.Float64() + 0.1
			h.PositiveBuckets = append(h.PositiveBuckets, n)
			h.Count += n
		}
	}
	return h
}

// What goes in comes out, through messages too: numbers, histograms and ends in
// any order, chunk after chunk.
func TestSamples(t *testing.T) {
	m, again := NewMemory(1<<30), NewMemory(1<<30)
	want := map[string][]sample{}
	for n := range 5 {
		of := labels.FromStrings("__name__", "a", "n", fmt.Sprint(n))
		at := int64(0)
		histograms := false
		for range 2000 {
			at += 1 + rand.Int64N(60_000)
			if rand.N(50) == 0 {
				histograms = !histograms
			}
			s := Sample{Rule: "a", Labels: of, F: rand.NormFloat64()}
			switch {
			case rand.N(20) == 0:
				s.F = staleMarker
			case rand.N(20) == 0:
				s.F = math.NaN()
			case histograms:
				s.F, s.H = 0, randomHistogram()
			}
			want[of.String()] = append(want[of.String()], sample{at, s.F, s.H})
			if added, err := m.Add(of, at, s.F, s.H); err != nil || !added {
				t.Fatal(added, err)
			}
			if added, err := m.Add(of, at-rand.Int64N(2), 1e9, nil); err != nil || added { // the first counts
				t.Fatal(added, err)
			}
			messages, err := Encode("f;g", time.UnixMilli(at+7), 7*time.Millisecond, []Sample{s})
			if err != nil {
				t.Fatal(err)
			}
			for _, data := range messages {
				r, err := proto.DecodeRecorded(data)
				if err != nil {
					t.Fatal(err)
				}
				all, err := Samples(r)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range all {
					if _, err := again.Add(s.Labels, r.TimeNS/1e6, s.F, s.H); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	for what, memory := range map[string]*Memory{"memory": m, "memory after messages": again} {
		got := read(t, memory, 0, math.MaxInt64, name("a"))
		for key, w := range want {
			if err := same(got[key], w); err != nil {
				t.Errorf("%s: %s: %v", what, key, err)
			}
		}
		if len(got) != len(want) || len(read(t, memory, 0, math.MaxInt64, name("b"))) != 0 {
			t.Errorf("%s: %d series", what, len(got))
		}
	}
}

// What was asked for stays as it was while more is added.
func TestAddedWhileRead(t *testing.T) {
	m := NewMemory(1 << 30)
	of := labels.FromStrings("__name__", "a")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(50_000) {
			if _, err := m.Add(of, i+1, float64(i+1), nil); err != nil {
				t.Error(err)
			}
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		for i, s := range read(t, m, 0, math.MaxInt64, name("a"))[of.String()] {
			if s.t != int64(i+1) || s.f != float64(i+1) {
				t.Fatalf("sample %d is %+v", i, s)
			}
		}
	}
}

// What selectors find is part of the memory of their query.
func TestMemoryOfSelectors(t *testing.T) {
	m := NewMemory(1 << 30)
	const samples = 10_000
	for at := range int64(samples) {
		if _, err := m.Add(labels.FromStrings("__name__", "a"), at*30_000, rand.Float64(), nil); err != nil {
			t.Fatal(err)
		}
	}
	engine := promql.With(nil, m, 0).Holding(64 << 10)
	ask := func(n int) error {
		const one = "max_over_time(a[4d])"
		_, err := engine.Instant(t.Context(), strings.Repeat(one+" + ", n-1)+one, time.UnixMilli(samples*30_000))
		return err
	}
	if err := ask(1); err != nil {
		t.Error(err)
	}
	var limit *promql.LimitError
	if err := ask(100); !errors.As(err, &limit) || !strings.Contains(limit.Reason, `the limit: {__name__="a"} needs more`) {
		t.Error(err)
	}
}

// A memory that is full drops the oldest, and says where it begins; what doesn't
// fit even so is refused.
func TestBounded(t *testing.T) {
	const limit = 1 << 20
	m := NewMemory(limit)
	for at := range int64(2000) {
		for n := range 200 {
			if _, err := m.Add(labels.FromStrings("__name__", "a", "n", fmt.Sprint(n)), at*1000, rand.Float64(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if b := m.State().Bytes; b > limit*9/8 {
		t.Errorf("%d bytes", b)
	}
	q, _ := m.Querier(0, math.MaxInt64)
	set := q.Select(t.Context(), true, nil, name("a"))
	if len(set.Warnings()) != 1 {
		t.Error(set.Warnings())
	}
	for key, s := range read(t, m, 0, math.MaxInt64, name("a")) {
		if len(s) < 200 || s[len(s)-1].t != 1999_000 {
			t.Fatalf("%s has %d samples", key, len(s))
		}
	}
	var err error
	for n := 0; n < 10_000 && err == nil; n++ {
		_, err = m.Add(labels.FromStrings("__name__", "b", "n", fmt.Sprint(n)), 2000_000, 1, nil)
	}
	if !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	m.Forget(math.MaxInt64)
	if s := m.State(); s.Bytes != 0 || s.Series != 0 {
		t.Errorf("%+v after all was forgotten", s)
	}
}

// A sample for which room is made by dropping all that its series has is kept.
func TestRoomIsMadeOfTheSameSeries(t *testing.T) {
	m := NewMemory(100_000)
	old := labels.FromStrings("__name__", "old")
	at := int64(1)
	for i := -1; m.bytes < m.next; i++ {
		of := old
		if i >= 0 {
			of = labels.FromStrings("__name__", "new", "n", fmt.Sprint(i))
		}
		if _, err := m.Add(of, at, 1, nil); err != nil {
			t.Fatal(err)
		}
		at += 1000
	}
	if added, err := m.Add(old, at, 7, nil); err != nil || !added {
		t.Fatal(added, err)
	}
	if got := read(t, m, 0, at, name("old"))[old.String()]; len(got) != 1 || got[0].t != at {
		t.Errorf("there are %v", got)
	}
}
