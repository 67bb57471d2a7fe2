package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/test/page/shop"
)

// rig is the pipeline with a shop's requests, and a gateway over it.
type rig struct {
	*testing.T
	server *bustest.Server
	bus    *bus.Conn
	url    string
}

func start(t *testing.T) *rig {
	server := bustest.Start(t)
	connect := func(name string) (*bus.Conn, error) {
		return bus.Connect(t.Context(), bus.Options{URL: server.URL, Name: name}, discard)
	}
	r := &rig{T: t, server: server, bus: bustest.Connect(t, server.URL)}
	r.url = serve(t, server.URL)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	filled, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- shop.Run(ctx, shop.Config{Bus: connect, Past: 10 * time.Minute, Rate: 40, Lost: 3, Filled: func() { close(filled) }}, discard)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-filled
	// Until the past is counted, and a window of the present.
	bustest.Eventually(t, func() bool {
		var l struct {
			Known    bool
			Idle     bool // also before an aggregator has begun to count
			Complete int64
			Loaded   float64
			Lost     uint64 `json:"lost_count"`
		}
		r.stream("live", "", func(_ string, data []byte) bool {
			if err := json.Unmarshal(data, &l); err != nil {
				t.Fatal(err)
			}
			return false
		})
		result, err := query.Latency(t.Context(), r.bus, query.Options{Interval: query.Between(time.Now().Add(-10*time.Minute), time.Now().Add(-8*time.Minute)), Now: time.Now()})
		return l.Known && !l.Idle && l.Loaded == 1 && time.Since(time.UnixMilli(l.Complete)) < 30*time.Second && err == nil && len(result.Rows) > 0
	}, "nothing is counted")
	return r
}

// serve runs a gateway until the test ends, and returns its address.
func serve(t *testing.T, nats string) (url string) {
	t.Helper()
	c, err := bus.Connect(t.Context(), bus.Options{URL: nats, Name: "gateway"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	address, ended := bustest.FreeAddr(t), make(chan error, 1)
	go func() {
		ended <- gateway.Run(ctx, gateway.Config{Bus: c, HTTP: address, Registry: prometheus.NewRegistry()}, discard)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + address
}

// get asks for an answer; code is what is expected.
func (r *rig) get(path string, code int, out any) {
	r.Helper()
	resp, err := http.Get(r.url + path)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != code {
		r.Fatalf("%s: %d %s %v, want %d", path, resp.StatusCode, body, err, code)
	}
	if err := json.Unmarshal(body, out); err != nil {
		r.Fatalf("%s: %v in %s", path, err, body)
	}
}

// stream reads server-sent events until show is false.
func (r *rig) stream(kind, params string, show func(event string, data []byte) bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), bustest.Timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/api/"+kind+"?"+params, nil)
	if err != nil {
		r.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		if kind == "live" { // it may not listen yet
			return
		}
		r.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 8<<20)
	event := ""
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = name
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && !show(event, []byte(data)) {
			return
		}
	}
	r.Fatalf("%s ended: %v", kind, lines.Err())
}
