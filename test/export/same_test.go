package export_test

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/counted"
)

const (
	window = 10 * time.Second

	often   = "25ms" // at most 0.07 % of what is looked at lies after the last scrape
	windows = "10s"  // as far apart as Weir's own samples

	tolerance = 0.001
)

// call is requests of one kind, and how many there are in which window. Requests
// end from the 4th to the 7th second of a window, and in every other window there
// are none: at the edges of every second window all has been scraped.
type call struct {
	from, to int // front, cart, catalogue, payment, stock
	route    string
	status   uint32
	median   time.Duration
	counts   map[int]int
}

var calls = []call{
	{0, 1, "/cart", 200, 8 * time.Millisecond, map[int]int{0: 400, 2: 600, 4: 300}},
	{0, 1, "/cart", 500, 300 * time.Millisecond, map[int]int{0: 100, 2: 80, 4: 60}},
	{0, 2, "/items/{id}", 200, 2 * time.Millisecond, map[int]int{0: 300, 2: 200, 4: 400}},
	{1, 3, "/pay", 200, 60 * time.Millisecond, map[int]int{0: 200, 2: 400, 4: 120}},
	{1, 3, "/pay", 503, 2 * time.Second, map[int]int{0: 40, 2: 60, 4: 20}},
	{1, 4, "/stock/{id}", 200, 500 * time.Microsecond, map[int]int{0: 80, 2: 40, 4: 80}},
	{2, 4, "/new", 200, 20 * time.Millisecond, map[int]int{2: 240, 4: 100}}, // there is none of these before
}

// steady is as many in each window, all at once, at a time that no scrape is near.
var steady = call{4, 0, "/steady", 200, 5 * time.Millisecond, map[int]int{0: 120, 1: 120, 2: 120, 3: 120}}

const length = 6 // windows

// takes is how long requests of a kind take, in ns: each of these equally often in
// every window, so that the share of a bucket is always the same, and what a
// scraper guesses before its first sample doesn't depend on when that was. None is
// in a bucket of the stream that a classic one's bound cuts: scrapers are shown
// whole requests there, and Weir counts shares.
func (c *call) takes() (out [20]int64) {
	for i := range out {
		share := (float64(i) + 0.5) / float64(len(out)) // of a log-normal distribution
		d := int64(float64(c.median) * math.Exp(math.Erfinv(2*share-1)/math.Sqrt2))
		for cut(d) || cut(d/10) {
			d += d / 100
		}
		out[i] = d
	}
	return out
}

// events are the first to the last of a window's requests, which ended at a time,
// each at both ends.
func (c *call) events(first, last int, endNS int64) (out []proto.Event) {
	takes := c.takes()
	for i := first; i < last; i++ {
		d := takes[i%len(takes)]
		wait := d / 10
		e := proto.Event{
			Side: proto.SideServer, Protocol: "http", StartNS: endNS - d, EndNS: endNS, WaitNS: wait, ProcessingNS: d - wait,
			Method: "GET", Route: c.route, Status: c.status,
			Source:      netip.AddrPortFrom(netip.IPv6Loopback(), uint16(20000+1000*c.from)), // bustest.Enrich knows them by it
			Destination: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(8000+c.to)),
		}
		if c.status >= 500 {
			e.Error = fmt.Sprint(c.status)
		}
		client := e
		client.Side, client.WaitNS, client.ProcessingNS = proto.SideClient, 0, d
		out = append(out, e, client)
	}
	return out
}

func cut(d int64) bool {
	var h histogram.Histogram
	h.Record(d)
	return slices.ContainsFunc(histogram.ClassicBounds(), func(bound float64) bool {
		below := h.Below(bound)
		return below != 0 && below != 1
	})
}

// scene is the load, with times from its beginning.
type scene struct {
	*counted.Rig
	begin time.Time
	frame proto.Frame // the last
	steps []step
}

type step struct {
	at time.Duration
	do func()
}

// plan says when what is published.
func (s *scene) plan(steadyAt time.Duration, restart func()) {
	const pieces = 15
	publish := func(at time.Duration, c *call, first, last int) {
		s.steps = append(s.steps, step{at, func() { s.publish(c.events(first, last, s.begin.Add(at).UnixNano())) }})
	}
	for w := range length {
		start := time.Duration(w) * window
		for i := range pieces {
			for _, c := range calls {
				n := c.counts[w]
				publish(start+4*time.Second+time.Duration(i)*200*time.Millisecond, &c, n*i/pieces, n*(i+1)/pieces)
			}
		}
		publish(start+steadyAt, &steady, 0, steady.counts[w])
	}
	s.steps = append(s.steps, step{4*window + window/10, restart})
	slices.SortStableFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
}

func (s *scene) publish(events []proto.Event) {
	s.frame = proto.Frame{
		Cluster: "test", Node: counted.Node, Epoch: proto.Epoch{Number: 1, ID: "0123456789abcdef"},
		Seq: s.frame.Seq + 1, Before: s.frame.Before + uint64(len(s.frame.Events)),
		WatermarkNS: time.Now().Add(-time.Second).UnixNano(), Events: events,
	}
	s.Frame(&s.frame)
}

func (s *scene) play() {
	for _, step := range s.steps {
		time.Sleep(time.Until(s.begin.Add(step.at)))
		step.do()
		if late := time.Since(s.begin.Add(step.at)); late > 3*time.Second {
			s.Fatalf("what was to be done at %s was done %s later: the machine is too busy for this test", step.at, late)
		}
	}
}

// client asks a Prometheus's API, or Weir's.
func client(t testing.TB, url string) v1.API {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: url, RoundTripper: withToken{}})
	if err != nil {
		t.Fatal(err)
	}
	return v1.NewAPI(c)
}

type withToken struct{}

func (withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}

// fromZero are asked of a Prometheus that scrapes often, at the end, of all there
// is and of the time before it: series that begin in the range do so with a zero, and nothing is guessed
// before it. A subquery takes its samples at the same times everywhere. Quantiles
// are such that their rank lies between two requests: at one, rounding decides
// which bucket's bound is the answer.
var fromZero = []string{
	`sum by (workload) (increase(http_server_request_duration_seconds_count[70s]))`,
	`sum by (workload, peer_workload) (increase(http_client_request_duration_seconds_count[70s]))`,
	`increase(http_server_request_duration_seconds[70s])`,
	`sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count[70s]))`,
	`sum by (workload) (rate(http_server_request_duration_seconds_sum[70s]))`,
	`sum by (workload, error_type) (increase(http_server_request_duration_seconds_count{error_type!=""}[70s]))`,
	`sum by (workload) (rate(http_server_request_wait_duration_seconds_sum[70s])) / sum by (workload) (rate(http_server_request_duration_seconds_sum[70s]))`,
	`histogram_quantile(0.5137, sum by (workload) (rate(http_server_request_duration_seconds[70s])))`,
	`histogram_quantile(0.9937, sum by (workload, http_route) (rate(http_client_request_duration_seconds[70s])))`,
	`histogram_quantile(0.9137, sum(rate(http_server_request_wait_duration_seconds[70s])))`,
	`histogram_quantile(0.9137, sum by (workload, le) (rate(http_server_request_duration_seconds_bucket[70s])))`,
	`sum by (le) (increase(http_server_request_duration_seconds_bucket[70s]))`,
	`histogram_fraction(0, 0.1, sum by (workload) (increase(http_server_request_duration_seconds[70s])))`,
	`histogram_count(sum by (workload) (increase(http_server_request_duration_seconds[70s])))`,
	`histogram_sum(sum by (workload) (increase(http_server_request_duration_seconds[70s])))`,
	`histogram_avg(sum by (workload) (rate(http_server_request_duration_seconds[70s])))`,
	`sort_desc(topk(3, sum by (workload) (increase(http_server_request_duration_seconds_count[70s]))))`,
	`sort_desc(topk(2, histogram_quantile(0.9137, sum by (peer_workload) (rate(http_client_request_duration_seconds{workload=~"front|cart"}[70s])))))`,

	`sum by (workload) (increase(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[50s] offset 20s))`,
	`histogram_quantile(0.9137, sum by (workload) (increase(http_server_request_duration_seconds{http_route!="/steady"}[50s] offset 20s)))`,
	`histogram_count(sum by (workload) (http_server_request_duration_seconds{http_route!="/steady"} offset 20s))`, // the counter as it is
	`http_client_request_duration_seconds{http_route!="/steady"} offset 40s`,
	`sum by (workload) (increase(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[60s:10s]))`,
	`sum by (workload) (rate(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[50s:10s]))`,
	`max_over_time(sum by (workload) (http_server_request_duration_seconds_count{http_route!="/steady"})[30s:10s] offset 20s)`,
	`max_over_time(histogram_quantile(0.9137, sum by (workload) (http_server_request_duration_seconds{http_route!="/steady"}))[30s:10s] offset 20s)`,
}

// onWindows are asked of a Prometheus that scrapes each 10 s, over ranges at
// whose edges nothing happens: the samples are elsewhere, but as many, and as
// much is guessed at both ends. What begins in the range isn't asked for: how much
// is guessed of it depends on when it was scraped first.
var onWindows = []string{
	`sum by (workload) (rate(http_server_request_duration_seconds_sum{http_route!~"/new|/steady"}[30s]))`,
	`rate(http_server_request_duration_seconds{http_route!~"/new|/steady"}[30s])`, // over a restart
	`sum by (workload) (increase(http_client_request_duration_seconds_count{http_route!~"/new|/steady"}[30s]))`,
	`sum by (workload) (rate(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[50s]))`,
	`sum by (workload) (increase(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[30s] offset 20s))`,
	`histogram_quantile(0.9137, sum by (workload) (rate(http_server_request_duration_seconds{http_route!~"/new|/steady"}[30s] offset 20s)))`,
	`histogram_quantile(0.9137, sum by (workload, le) (rate(http_server_request_duration_seconds_bucket{http_route!~"/new|/steady"}[30s])))`,
	`histogram_fraction(0.001, 0.1, sum(rate(http_server_request_duration_seconds{http_route!~"/new|/steady"}[50s])))`,
	`histogram_avg(sum by (workload) (rate(http_server_request_wait_duration_seconds{http_route!~"/new|/steady"}[50s])))`,
	`sort_desc(topk(2, sum by (workload) (rate(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[30s]))))`,
	`max_over_time(sum by (workload) (rate(http_server_request_duration_seconds_count{http_route!~"/new|/steady"}[30s]))[40s:20s])`,
	`avg_over_time(histogram_quantile(0.9137, sum by (workload) (rate(http_server_request_duration_seconds{http_route!~"/new|/steady"}[30s])))[40s:20s])`,

	`rate(http_server_request_duration_seconds_count{http_route="/steady"}[20s] offset 30s)`,
	`rate(http_server_request_duration_seconds_count{http_route="/steady"}[30s] offset 20s)`,
	`histogram_count(rate(http_client_request_duration_seconds{http_route="/steady"}[30s] offset 20s))`,
	`min_over_time(rate(http_server_request_duration_seconds_count{http_route="/steady"}[20s])[20s:10s] offset 20s)`,
	`max_over_time(rate(http_server_request_duration_seconds_count{http_route="/steady"}[20s])[20s:10s] offset 20s)`,
}

// The same requests, asked for in the same words, are the same in a Prometheus
// that scrapes and in Weir, also over a restart of what is scraped. What isn't
// asked for here may differ: docs/promql.md says why.
func TestSame(t *testing.T) {
	address := bustest.FreeAddr(t)
	scrapesOften, scrapesWindows := startPrometheus(t, scrapes{address: address, every: often}), startPrometheus(t, scrapes{address: address, every: windows})
	s := &scene{Rig: counted.Start(t)}
	stop := gatewayAt(s.Rig, address, gateway.Config{})
	scrapesWindows.becomes(1, `up`)
	scrape := time.Duration(scrapesWindows.value(`timestamp(up)`) * float64(time.Second))
	s.begin = time.Now().Add(2 * window).Truncate(2 * window) // where subqueries of 20 s look, too
	s.plan((scrape+window/2)%window, func() {
		stop()
		gatewayAt(s.Rig, address, gateway.Config{})
	})
	s.play()

	end := s.begin.Add(length * window)
	weir := client(t, "http://"+address)
	bustest.Eventually(t, func() bool {
		s.publish(nil)
		v, _, _, err := weir.Query(t.Context(), `max(timestamp(http_server_request_duration_seconds_count))`, time.Now())
		newest, ok := v.(model.Vector)
		return err == nil && ok && len(newest) == 1 && float64(newest[0].Value) >= float64(end.Unix())
	}, "Weir doesn't have all windows")
	for _, with := range []struct {
		*server
		expressions []string
	}{{scrapesOften, fromZero}, {scrapesWindows, onWindows}} {
		theirs := client(t, with.url)
		for _, expr := range with.expressions {
			same(t, expr, ask(t, theirs, expr, end), ask(t, weir, expr, end))
		}
	}
	steps := v1.Range{Start: s.begin.Add(4 * window), End: end, Step: 2 * window}
	for _, expr := range onWindows[:2] {
		same(t, expr, askRange(t, client(t, scrapesWindows.url), expr, steps), askRange(t, weir, expr, steps))
	}
}

func ask(t *testing.T, c v1.API, expr string, at time.Time) model.Matrix {
	t.Helper()
	v, warnings, _, err := c.Query(t.Context(), expr, at)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v %v", expr, err, warnings)
	}
	var out model.Matrix
	for _, s := range v.(model.Vector) {
		series := &model.SampleStream{Metric: s.Metric}
		if s.Histogram != nil {
			series.Histograms = []model.SampleHistogramPair{{Timestamp: s.Timestamp, Histogram: s.Histogram}}
		} else {
			series.Values = []model.SamplePair{{Timestamp: s.Timestamp, Value: s.Value}}
		}
		out = append(out, series)
	}
	if !strings.HasPrefix(expr, "sort") {
		slices.SortFunc(out, byLabels)
	}
	return out
}

func askRange(t *testing.T, c v1.API, expr string, steps v1.Range) model.Matrix {
	t.Helper()
	v, warnings, _, err := c.QueryRange(t.Context(), expr, steps)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v %v", expr, err, warnings)
	}
	out := v.(model.Matrix)
	slices.SortFunc(out, byLabels)
	return out
}

func byLabels(a, b *model.SampleStream) int {
	return strings.Compare(a.Metric.String(), b.Metric.String())
}

// same compares what a Prometheus and what Weir says.
func same(t *testing.T, expr string, theirs, ours model.Matrix) {
	t.Helper()
	if len(theirs) == 0 || len(ours) != len(theirs) {
		t.Errorf("%s:\nPrometheus %v\nWeir %v", expr, theirs, ours)
		return
	}
	for i, a := range theirs {
		b := ours[i]
		alike := a.Metric.Equal(b.Metric) &&
			slices.EqualFunc(a.Values, b.Values, func(a, b model.SamplePair) bool {
				return a.Timestamp == b.Timestamp && near(float64(a.Value), float64(b.Value))
			}) &&
			slices.EqualFunc(a.Histograms, b.Histograms, func(a, b model.SampleHistogramPair) bool {
				return a.Timestamp == b.Timestamp && alike(a.Histogram, b.Histogram)
			})
		if !alike {
			t.Errorf("%s:\nPrometheus %v\nWeir       %v", expr, a, b)
		}
	}
}

func alike(a, b *model.SampleHistogram) bool {
	return near(float64(a.Count), float64(b.Count)) && near(float64(a.Sum), float64(b.Sum)) &&
		slices.EqualFunc(a.Buckets, b.Buckets, func(a, b *model.HistogramBucket) bool {
			return a.Lower == b.Lower && a.Upper == b.Upper && near(float64(a.Count), float64(b.Count))
		})
}

// near is false of numbers that aren't.
func near(a, b float64) bool { return a == b || math.Abs(a-b) <= tolerance*math.Abs(a) }
