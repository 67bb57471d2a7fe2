package export

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/prompb"

	"github.com/weirstream/weir/internal/query"
	wire "github.com/weirstream/weir/proto"
)

// RemoteWrite says where the sums go by Prometheus's remote write 1.0, which is
// what all receivers take that know native histograms.
type RemoteWrite struct {
	URL             string // http or https, whole; user and password in it are basic authentication. "" sends nothing
	Headers         map[string]string
	CA, Cert, Key   string            // files; "" is the system's CAs, and no client certificate
	Labels          map[string]string // of every series, such as instance: of two writers each needs its own
	Native, Classic bool              // which histograms
	Timeout         time.Duration     // of a request
	Interval        time.Duration
}

func (c *RemoteWrite) open() (*poster, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("open remote write: the address is not a URL such as http://prometheus:9090/api/v1/write") // it may hold a password
	}
	secure, err := secureBy(c.CA, c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("open remote write: %w", err)
	}
	return newPoster(u.String(), c.Headers, secure, c.Timeout), nil
}

const (
	maxWritten = 2000            // series of a request
	writeTime  = 5 * time.Second // for what is left when the gateway stops
)

var writeHeader = http.Header{
	"Content-Type": {contentType}, "Content-Encoding": {"snappy"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"},
}

// pushWrites sends the sums every interval, and once more when ctx ends. A
// request is sent until it is taken or refused: whether one without an answer was
// stored isn't known, and a second zero after it would be a reset.
func (e *Exporter) pushWrites(ctx, sending context.Context, x *exit) {
	w := &writer{RemoteWrite: &e.cfg.RemoteWrite}
	for ended := false; !ended; {
		pause(ctx, w.Interval)
		ended = ctx.Err() != nil
		for _, r := range w.requests(e.table, ended) {
			x.deliver(sending, len(r.Timeseries), func(ctx context.Context) (int64, error) {
				raw, err := r.Marshal()
				if err != nil {
					return 0, &sendError{err: err}
				}
				_, err = e.toRemote.post(ctx, snappy.Encode(nil, raw), writeHeader, func(code int) bool {
					return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
				})
				return 0, err
			})
		}
	}
}

// writer knows what a receiver was sent.
type writer struct {
	*RemoteWrite
	known map[query.Key]*series // those of the last sums
	last  int64                 // when these were, unix milliseconds
	out   []*prompb.WriteRequest
	bytes int // of the last request
}

// kind of a sample.
type kind int

const (
	zero kind = iota // before anything was counted
	value
	gone // the series has ended
)

// requests are all series. A new one is at zero first, when it began; one that
// has gone ends, as all do at the end. No request has two samples of a series: one
// that is sent again after it was stored would be out of order.
func (w *writer) requests(t *table, end bool) []*prompb.WriteRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	w.out = nil
	now := max(t.now().UnixMilli(), w.last+2)
	there := make(map[query.Key]*series, len(t.all))
	for _, s := range t.all {
		there[s.Key] = s
		if w.known[s.Key] != s {
			w.add(s, zero, min(max(s.began.UnixMilli(), w.last+1), now-1))
		}
	}
	w.close()
	for _, s := range t.all {
		w.add(s, value, now)
	}
	for key, s := range w.known {
		if there[key] == nil {
			w.add(s, gone, now)
		}
	}
	if w.close(); end {
		for _, s := range t.all {
			w.add(s, gone, now+1)
		}
	}
	w.known, w.last = there, now
	return w.out
}

func (w *writer) add(s *series, k kind, at int64) {
	latency, wait := &s.latency, &s.wait
	if k != value {
		empty := newSum()
		latency, wait = &empty, &empty
	}
	w.histogram(s.MetricName(), latencyHelp, s, latency, k, at)
	if s.Side == wire.SideServer {
		w.histogram(waitName(&s.Key), waitHelp, s, wait, k, at)
	}
}

func (w *writer) histogram(name, help string, s *series, of *sum, k kind, at int64) {
	if w.Native {
		h := nativeAt(of.native(s.began), at)
		if k == gone {
			h.Sum = stale
		}
		w.put(name, help, prompb.TimeSeries{Labels: w.labels(name, s, ""), Histograms: []prompb.Histogram{h}})
	}
	if !w.Classic {
		return
	}
	number := func(suffix, le string, value float64) {
		if k == gone {
			value = stale
		}
		w.put(name, help, prompb.TimeSeries{Labels: w.labels(name+suffix, s, le), Samples: []prompb.Sample{{Timestamp: at, Value: value}}})
	}
	number("_count", "", float64(of.Count))
	number("_sum", "", float64(of.SumNS)/1e9)
	for i, le := range classicBounds {
		number("_bucket", le, float64(of.classic(i)))
	}
}

// close ends the last request: what comes is for the next.
func (w *writer) close() { w.bytes = maxBytes }

// put adds a series to the last request, or to another if that is full. name is
// the histogram's.
func (w *writer) put(name, help string, s prompb.TimeSeries) {
	size := s.Size()
	if len(w.out) == 0 || len(w.out[len(w.out)-1].Timeseries) >= maxWritten || w.bytes+size > maxBytes {
		w.out, w.bytes = append(w.out, new(prompb.WriteRequest)), 0
	}
	last := w.out[len(w.out)-1]
	last.Timeseries = append(last.Timeseries, s)
	w.bytes += size
	if !slices.ContainsFunc(last.Metadata, func(m prompb.MetricMetadata) bool { return m.MetricFamilyName == name }) {
		last.Metadata = append(last.Metadata, prompb.MetricMetadata{
			Type: prompb.MetricMetadata_HISTOGRAM, MetricFamilyName: name, Help: help, Unit: "seconds",
		})
	}
}

// labels are in the order of their names. A series' own come before those of all.
func (w *writer) labels(name string, s *series, le string) []prompb.Label {
	out := []prompb.Label{{Name: "__name__", Value: name}}
	for _, l := range s.labels() {
		out = append(out, prompb.Label{Name: l.Name, Value: l.Value})
	}
	if le != "" {
		out = append(out, prompb.Label{Name: "le", Value: le})
	}
	for name, value := range w.Labels {
		if !slices.ContainsFunc(out, func(l prompb.Label) bool { return l.Name == name }) {
			out = append(out, prompb.Label{Name: name, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// stale is the value that says that a series has ended.
var stale = math.Float64frombits(0x7ff0000000000002)

func nativeAt(h *dto.Histogram, at int64) prompb.Histogram {
	out := prompb.Histogram{
		Count: &prompb.Histogram_CountInt{CountInt: h.GetSampleCount()}, Sum: h.GetSampleSum(), Schema: h.GetSchema(),
		ZeroCount: &prompb.Histogram_ZeroCountInt{ZeroCountInt: h.GetZeroCount()}, PositiveDeltas: h.PositiveDelta, Timestamp: at,
	}
	for _, s := range h.PositiveSpan {
		if s.GetLength() > 0 {
			out.PositiveSpans = append(out.PositiveSpans, prompb.BucketSpan{Offset: s.GetOffset(), Length: s.GetLength()})
		}
	}
	return out
}
