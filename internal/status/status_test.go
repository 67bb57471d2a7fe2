package status_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
