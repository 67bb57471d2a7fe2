package load_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
)

// counting is a server that counts what it was asked.
func counting(t *testing.T) (string, *atomic.Int64) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasPrefix(r.URL.Path, "/missing"):
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost:
			_, _ = w.Write(body)
		default:
			w.(http.Flusher).Flush() // chunked
			_, _ = io.WriteString(w, "hello")
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), &n
}

func TestRunCountsWhatTheServerCounts(t *testing.T) {
	mix := []load.Request{
		{Path: "/"}, {Path: "/missing"}, {Method: "HEAD", Path: "/"},
		{Method: "POST", Path: "/up", Body: 100_000}, {Method: "POST", Path: "/up", Body: 20_000, Chunked: true},
		{Method: "POST", Path: "/up", Body: 5, Expect: true},
	}
	for name, plan := range map[string]load.Plan{
		"keep-alive": {Conns: 4},
		"close":      {Conns: 4, Close: true},
		"pipelined":  {Conns: 2, Pipeline: 7, Mix: mix[:5]},
		"spinning":   {Conns: 1, Spin: true},
		"paced":      {Conns: 2, Rate: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			addr, served := counting(t)
			plan.Addr, plan.Requests = addr, 600
			if plan.Mix == nil {
				plan.Mix = mix
			}
			r, err := load.Run(context.Background(), plan)
			if err != nil {
				t.Fatal(err)
			}
			if r.Err != nil || r.Done != 600 || r.Sent != 600 || served.Load() != 600 {
				t.Fatalf("done %d, sent %d, served %d, error %v", r.Done, r.Sent, served.Load(), r.Err)
			}
			if want := 600 / len(plan.Mix); r.Status[404] != want {
				t.Errorf("status 404: %d, want %d", r.Status[404], want)
			}
			if p := r.Quantile(0.5); p <= 0 || p > r.Quantile(0.99) {
				t.Errorf("p50 %v, p99 %v", p, r.Quantile(0.99))
			}
		})
	}
}

func TestBrokenConnectionIsOneFailureAndNoRetry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var seen atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				seen.Add(1)
			}
			c.Close()
		}
	}()
	r, err := load.Run(context.Background(), load.Plan{
		Addr: l.Addr().String(), Requests: 20, Mix: []load.Request{{Path: "/"}}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 20 || r.Failed != 20 || r.Done != 0 || seen.Load() != 20 || r.Err == nil {
		t.Fatalf("sent %d, failed %d, seen %d, error %v", r.Sent, r.Failed, seen.Load(), r.Err)
	}
}

func TestRefusedConnectionSendsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r, err := load.Run(context.Background(), load.Plan{Addr: addr, Requests: 3, Mix: []load.Request{{Path: "/"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 0 || r.Unsent != 3 {
		t.Fatalf("sent %d, unsent %d", r.Sent, r.Unsent)
	}
}

func TestQuantileIsAnOrderStatistic(t *testing.T) {
	r := load.Result{}
	for i := 100; i > 0; i-- {
		r.Stamps = append(r.Stamps, load.Stamp{Start: 0, End: int64(i), Status: 200})
	}
	r.Stamps = append(r.Stamps, load.Stamp{End: 1e9}) // no answer
	for q, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100, 0: 1} {
		if got := r.Quantile(q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
}

func TestStoppingWhileConnectingIsNoFailure(t *testing.T) {
	addr, served := counting(t)
	sent := 0
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(3*time.Millisecond, cancel)
		r, err := load.Run(ctx, load.Plan{Addr: addr, Requests: 1 << 30, Conns: 4, Close: true, Mix: []load.Request{{Path: "/"}}})
		timer.Stop()
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if r.Err != nil || r.Failed > 0 {
			t.Fatalf("%+v", r.Figures())
		}
		sent += r.Sent
	}
	if served.Load() != int64(sent) || sent == 0 {
		t.Errorf("%d served, %d sent", served.Load(), sent)
	}
}
