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
	maxTries   = 2               // more, of zeros that were refused
	writeTime  = 5 * time.Second // for what is left when the gateway stops
)

var writeHeader = http.Header{
	"Content-Type": {contentType}, "Content-Encoding": {"snappy"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"},
}

// pushWrites sends the sums every interval, and once more when ctx ends. A
// request is sent until it is taken or refused: whether one without an answer was
// stored isn't known, and a zero after it would be a reset.
func (e *Exporter) pushWrites(ctx, sending context.Context, x *exit) {
	w := &writer{RemoteWrite: &e.cfg.RemoteWrite, table: e.table, known: map[query.Key]*series{}, tries: map[query.Key]int{}}
	deliver := func(r *writeRequest) (taken bool) {
		return x.deliver(sending, len(r.Timeseries), func(ctx context.Context) (int64, error) { return 0, e.write(ctx, r) })
	}
	for ended := false; !ended; {
		pause(ctx, w.Interval)
		ended = ctx.Err() != nil
		w.zeros(deliver)
		w.values(deliver)
		if ended {
			w.ends(deliver)
		}
	}
}

func (e *Exporter) write(ctx context.Context, r *writeRequest) error {
	raw, err := r.Marshal()
	if err != nil {
		return &sendError{err: err}
	}
	_, err = e.toRemote.post(ctx, snappy.Encode(nil, raw), writeHeader, func(code int) bool {
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	})
	return err
}

// writeRequest is of remote write 1.0, with the series that it has something of. It
// has no two samples of one: sent again after it was stored it is the same.
type writeRequest struct {
	prompb.WriteRequest
	of []*series
}

// writer knows what a receiver was sent.
type writer struct {
	*RemoteWrite
	table *table
	known map[query.Key]*series // whose zeros were sent
	tries map[query.Key]int     // of zeros that were refused
	last  int64                 // when values were last sent, unix milliseconds
	out   []*writeRequest       // not delivered yet: the last one isn't full
	bytes int                   // of the last request
}

// kind of a sample.
type kind int

const (
	zero kind = iota // before anything was counted
	value
	gone // the series has ended
)

// zeros sends new series before their first request, when they began.
func (w *writer) zeros(deliver func(*writeRequest) bool) {
	var fresh []*series
	w.table.mu.Lock()
	w.table.sweep()
	now := w.table.now().UnixMilli()
	for _, s := range w.table.all {
		if w.known[s.Key] != s {
			fresh = append(fresh, s)
		}
	}
	w.table.mu.Unlock()
	refused := map[*series]bool{}
	w.send(fresh, zero, func(s *series) int64 { return min(max(s.began.UnixMilli(), w.last+1), max(now, w.last+1)) }, func(r *writeRequest) {
		taken := deliver(r)
		for _, s := range r.of {
			refused[s] = refused[s] || !taken
		}
	})
	w.begin(refused)
}

// begin takes note of series whose zeros were sent, and refused or not. One that was refused is sent
// again before a value is, but not for ever: a receiver may refuse for the sake of
// others in the request.
func (w *writer) begin(refused map[*series]bool) {
	for s, again := range refused {
		if again && w.tries[s.Key] < maxTries {
			w.tries[s.Key]++
			continue
		}
		delete(w.tries, s.Key)
		w.known[s.Key] = s
	}
}

// values sends the sums of the series that have begun, and the ends of those that
// have gone. The time of a sum is when its request is made, which may be long after
// the one before it if the receiver was away.
func (w *writer) values(deliver func(*writeRequest) bool) {
	var here, left []*series
	w.table.mu.Lock()
	w.last = max(w.table.now().UnixMilli(), w.last+2)
	for key, s := range w.known {
		switch w.table.byKey[key] {
		case s:
			here = append(here, s)
		case nil:
			left = append(left, s)
			delete(w.known, key)
		}
	}
	w.table.mu.Unlock()
	at := func(*series) int64 { return w.last }
	then := func(r *writeRequest) {
		deliver(r)
		w.last = max(w.last, w.table.now().UnixMilli())
	}
	w.send(left, gone, at, then)
	w.send(here, value, at, then)
}

// ends sends the ends of all series.
func (w *writer) ends(deliver func(*writeRequest) bool) {
	var all []*series
	for _, s := range w.known {
		all = append(all, s)
	}
	w.send(all, gone, func(*series) int64 { return w.last + 1 }, func(r *writeRequest) { deliver(r) })
}

// send makes requests of something of some series, and has each delivered before
// it goes on: all of them would be half a GiB.
func (w *writer) send(all []*series, k kind, at func(*series) int64, deliver func(*writeRequest)) {
	w.out = nil
	for _, s := range all {
		w.table.mu.Lock()
		w.add(s, k, at(s))
		w.table.mu.Unlock()
		for len(w.out) > 1 {
			deliver(w.out[0])
			w.out = w.out[1:]
		}
	}
	for _, r := range w.out {
		deliver(r)
	}
	w.out = nil
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
		w.put(name, help, s, prompb.TimeSeries{Labels: w.labels(name, s, ""), Histograms: []prompb.Histogram{h}})
	}
	if !w.Classic {
		return
	}
	number := func(suffix, le string, value float64) {
		if k == gone {
			value = stale
		}
		w.put(name, help, s, prompb.TimeSeries{Labels: w.labels(name+suffix, s, le), Samples: []prompb.Sample{{Timestamp: at, Value: value}}})
	}
	number("_count", "", float64(of.Count))
	number("_sum", "", float64(of.SumNS)/1e9)
	for i, le := range classicBounds {
		number("_bucket", le, float64(of.classic(i)))
	}
}

// put adds a series to the last request, or to another if that is full. name is
// the histogram's.
func (w *writer) put(name, help string, of *series, s prompb.TimeSeries) {
	size := s.Size()
	if len(w.out) == 0 || len(w.out[len(w.out)-1].Timeseries) >= maxWritten || w.bytes+size > maxBytes {
		w.out, w.bytes = append(w.out, new(writeRequest)), 0
	}
	last := w.out[len(w.out)-1]
	last.Timeseries = append(last.Timeseries, s)
	if len(last.of) == 0 || last.of[len(last.of)-1] != of {
		last.of = append(last.of, of)
	}
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
