package export

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// clock is a time that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// delta is a message of one request.
func delta(workload string, at time.Time) *proto.Latency {
	var h histogram.Histogram
	h.Record(int64(time.Millisecond))
	return &proto.Latency{Namespace: "host", Workload: workload, Points: []proto.Point{{
		StartNS: at.UnixNano(), WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer, Hist: h,
	}}}
}

// counts are what a scrape shows, by workload.
func counts(t *table) map[string]uint64 { return countsTo(t, scraper("a")) }

func scraper(name string) viewer { return viewer{scrapes, name} }

func countsTo(t *table, to viewer) map[string]uint64 {
	out := map[string]uint64{}
	for _, f := range t.families(to) {
		if f.GetName() != "http_server_request_duration_seconds" {
			continue
		}
		for _, m := range f.Metric {
			key := overflowLabel
			for _, l := range m.Label {
				if l.GetName() == "workload" {
					key = l.GetValue()
				}
			}
			out[key] += m.Histogram.GetSampleCount()
		}
	}
	return out
}

// Over the bound nothing is lost, it is only no longer told apart.
func TestOverflow(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	table := newTable(3, c.now)
	for i := range 10 {
		for range 2 {
			table.add(delta(fmt.Sprint("w", i), c.Time))
		}
	}
	counts(table)
	if got := fmt.Sprint(counts(table)); got != "map["+overflowLabel+":14 w0:2 w1:2 w2:2]" {
		t.Error(got)
	}
	if series, overflowed := table.size(); series != 4 || overflowed != 14 {
		t.Errorf("%d series, %d deltas over the bound", series, overflowed)
	}
}

// A series is shown at zero first. One that stops is forgotten, and begins
// again at zero, later than it was last shown.
func TestBeginning(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	table := newTable(10, c.now)
	created := func() time.Time { return table.families(scraper("a"))[0].Metric[0].Histogram.CreatedTimestamp.AsTime() }
	window := c.Add(20 * time.Second)
	c.Time = window.Add(13 * time.Second)
	for want := range uint64(3) {
		if want < 2 {
			table.add(delta("cart", window))
		}
		if n := counts(table)["cart"]; n != min(want*2, 2) {
			t.Errorf("scrape %d shows %d requests", want+1, n)
		}
	}
	if !created().Equal(window) {
		t.Errorf("created at %v, want the window's start %v", created(), window)
	}
	last := c.Add(keptIdle)
	c.Time = last.Add(-time.Second)
	if n := counts(table)["cart"]; n != 2 {
		t.Errorf("before its time it shows %d", n)
	}
	c.Time = last.Add(sweepEach)
	if n := len(table.families(scraper("a"))); n != 0 {
		t.Errorf("%d families after their time", n)
	}
	table.add(delta("cart", window)) // late
	if n := counts(table)["cart"]; n != 0 {
		t.Errorf("it comes back at %d", n)
	}
	if !created().Equal(c.Time) {
		t.Errorf("it came back at %v, created %v", c.Time, created())
	}
}

// Each of several scrapers that take turns sees a series' zero; one that is seen
// after another has come again doesn't, since it may be known from elsewhere.
func TestTurnsOfScrapers(t *testing.T) {
	clock := &clock{time.Unix(1e9, 0)}
	table := newTable(10, clock.now)
	table.add(delta("cart", clock.Time))
	for i, c := range []struct {
		to   viewer
		want uint64
	}{{scraper("a"), 0}, {scraper("b"), 0}, {scraper("a"), 1}, {scraper("b"), 1}, {scraper("c"), 1}, {scraper("b"), 1}} {
		if n := countsTo(table, c.to)["cart"]; n != c.want {
			t.Errorf("scrape %d, by %s, shows %d, want %d", i+1, c.to.who, n, c.want)
		}
	}
	table.add(delta("payment", clock.Time))
	for _, want := range []uint64{0, 0, 0, 1} { // from another address each time
		if n := countsTo(table, scraper(clock.String()))["payment"]; n != want {
			t.Errorf("after %s a new one sees %d, want %d", clock.Sub(time.Unix(1e9, 0)), n, want)
		}
		clock.Time = clock.Add(zeroTime / 3)
	}
	table.add(delta("stock", clock.Time))
	for i := range maxViewers + 1 {
		want := uint64(0)
		if i == maxViewers {
			want = 1
		}
		if n := countsTo(table, scraper(fmt.Sprint(i)))["stock"]; n != want {
			t.Errorf("scraper %d sees %d, want %d", i+1, n, want)
		}
	}
}

// Names that aren't text make no second series and no answer that can't be read.
func TestBytes(t *testing.T) {
	table := newTable(10, time.Now)
	table.add(delta("a\xff", time.Now()))
	table.add(delta("a\xff", time.Now()))
	counts(table)
	if got := counts(table); len(got) != 1 || got["a�"] != 2 {
		t.Error(got)
	}
	b := newPoints(0)
	hostile := delta("a\xff", time.Now())
	hostile.Points[0].Exemplars = []proto.Exemplar{{TraceID: "\xff"}, {TraceID: "0123456789abcdef0123456789abcdef", SpanID: "\xff"}}
	table.add(hostile)
	for _, f := range table.families(scraper("a")) {
		if _, err := protobuf.Marshal(f); err != nil {
			t.Error(err)
		}
	}
	hostile.Cluster, hostile.Points[0].Metric = "\xff", "\xff.x"
	b.addDelta(hostile, &hostile.Points[0])
	for _, r := range append(table.requests(), request{b.data, 1}) {
		if _, err := protobuf.Marshal(r.Message); err != nil {
			t.Error(err)
		}
	}
}

// Classic buckets never fall, also when the native ones become coarser.
func TestRising(t *testing.T) {
	s := newSum()
	last := make([]uint64, len(bounds))
	for i := range 60 {
		var h histogram.Histogram
		h.Record(int64(1) << i)
		h.Record(int64(float64(time.Second) / 1e5 * float64(i)))
		s.add(&h)
		for b := range bounds {
			if n := s.classic(b); n < last[b] || n > s.Count || b > 0 && n < s.classic(b-1) {
				t.Errorf("after %d: bucket %v has %d, had %d", i, bounds[b], n, last[b])
			}
			last[b] = s.classic(b)
		}
	}
	if s.Scale == histogram.RecordScale {
		t.Error("the scale didn't change")
	}
}

// A scrape of as many series as there can be: its time, its bytes, and what a
// series takes in memory.
func BenchmarkScrape(b *testing.B) {
	table := newTable(maxSeries, time.Now)
	r := rand.New(rand.NewPCG(1, 1))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range maxSeries {
		l := delta(fmt.Sprint("workload", i), time.Now())
		wait := new(histogram.Histogram)
		for range 1000 {
			l.Points[0].Hist.Record(int64(math.Exp(r.NormFloat64() + 15)))
			wait.Record(int64(math.Exp(r.NormFloat64() + 10)))
		}
		l.Points[0].Parts.Wait = wait
		table.add(l)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	table.families(scraper("a"))
	q := httptest.NewRequest("GET", "/metrics/latency", nil)
	q.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	q.Header.Set("Accept-Encoding", "gzip")
	b.ResetTimer()
	size := 0
	for range b.N {
		w := httptest.NewRecorder()
		table.ServeHTTP(w, q)
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes/scrape")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/maxSeries, "bytes/series")
}
