package export_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/counted"
)

// between is a receiver of remote writes that fails in every way before it hands
// requests on to a Prometheus.
type between struct {
	testing.TB
	next   http.Handler
	n      atomic.Int64 // of requests
	refuse atomic.Bool  // for good, until one was
}

func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, ok := r.BasicAuth(); !ok || user != "weir" || password != "secret" || r.Header.Get("X-Scope-OrgID") != "shop" {
		b.Errorf("%s", r.Header)
	}
	if b.refuse.CompareAndSwap(true, false) {
		http.Error(w, "no such tenant", http.StatusBadRequest)
		return
	}
	switch b.n.Add(1) {
	case 1:
		w.WriteHeader(http.StatusInternalServerError)
	case 2: // takes it, and doesn't say so
		b.next.ServeHTTP(nowhere{http.Header{}}, r)
		b.hijack(w).Close()
	case 4:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case 6:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // is slow
	case 8:
		c := b.hijack(w)
		_, _ = io.WriteString(c, "nonsense\r\n\r\n")
		c.Close()
	default:
		b.next.ServeHTTP(w, r)
	}
}

func (b *between) hijack(w http.ResponseWriter) net.Conn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// A Prometheus that is written to has every request once, whatever happens to the
// requests that write, and over a restart. Series begin at zero, and end.
func TestWritten(t *testing.T) {
	p := startPrometheus(t, scrapes{})
	to, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	receiver, address := &between{TB: t, next: httputil.NewSingleHostReverseProxy(to)}, bustest.FreeAddr(t)
	cfg := gateway.Config{RemoteWrite: export.RemoteWrite{
		URL: "http://weir:secret@" + address + "/api/v1/write", Headers: map[string]string{"X-Scope-OrgID": "shop"},
		Labels: map[string]string{"instance": "a"}, Native: true, Classic: true, Timeout: 2 * time.Second, Interval: time.Second,
	}}
	r, page := counted.Start(t), bustest.FreeAddr(t)
	stop := gatewayAt(r, page, cfg)
	r.Publish(2000)
	time.Sleep(1500 * time.Millisecond) // the receiver isn't there
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: receiver}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); http.DefaultTransport.(*http.Transport).CloseIdleConnections() })

	p.becomes(1000, `histogram_count(sum(`+metric+`{instance="a"}))`)
	r.Publish(3000)
	receiver.refuse.Store(true)
	p.becomes(2500, `histogram_count(sum(`+metric+`))`)
	p.becomes(2500, `sum(`+metric+`_count)`)
	p.becomes(2500, `sum(http_server_request_wait_duration_seconds_bucket{le="+Inf"})`)
	resp, err := http.Get("http://" + page + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || receiver.refuse.Load() || !strings.Contains(string(said), `weir_gateway_remote_write_dropped_total{reason="refused"}`) {
		t.Errorf("what was refused isn't counted: %v", err)
	}

	r.Publish(1000)
	p.becomes(3000, `histogram_count(sum(`+metric+`))`)
	stop()
	p.becomes(-1, `sum(`+metric+`_count)`) // all series have ended
	p.becomes(-1, `histogram_count(sum(`+metric+`))`)
	gatewayAt(r, page, cfg)
	r.Publish(8000) // more than before
	p.becomes(4000, `histogram_count(sum(`+metric+`))`)
	for _, selector := range []string{metric, metric + "_count", `http_client_request_duration_seconds`, metric + `_bucket{le="+Inf"}`} {
		if got := p.total(selector); got != 7000 {
			t.Errorf("%s has increased by %v, want 7000", selector, got)
		}
	}
	p.sameQuantiles()
}
