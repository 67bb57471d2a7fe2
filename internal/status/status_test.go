package status_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/status"
)

func TestHandler(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_test_total"})
	registry.MustRegister(counter)
	counter.Add(3)
	var ready error
	h := status.Handler(registry, func() error { return ready })
	for _, tt := range []struct {
		path string
		err  error
		code int
		want string
	}{
		{"/healthz", nil, http.StatusOK, "ok"},
		{"/readyz", nil, http.StatusOK, "ok"},
		{"/readyz", errors.New("NATS is away"), http.StatusServiceUnavailable, "NATS is away"},
		{"/healthz", errors.New("NATS is away"), http.StatusOK, "ok"},
		{"/metrics", nil, http.StatusOK, "weir_test_total 3"},
	} {
		ready = tt.err
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s with %v: %d %s", tt.path, tt.err, w.Code, w.Body)
		}
	}
}

func TestServe(t *testing.T) {
	ready := func() error { return nil }
	registry := prometheus.NewRegistry()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := status.Serve(t.Context(), addr, registry, ready); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("address in use: %v", err)
	}
	l.Close()
	for _, addr := range []string{addr, ""} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- status.Serve(ctx, addr, registry, ready) }()
		for deadline := time.Now().Add(10 * time.Second); addr != ""; {
			r, err := http.Get("http://" + addr + "/healthz")
			if err == nil {
				r.Body.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
