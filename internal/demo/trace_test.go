package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A call is a new span of the trace of the request that it is made for, and a
// request of nobody begins a trace.
func TestTrace(t *testing.T) {
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get(traceparent))
	}))
	defer s.Close()
	sh := newShop(func(string) string { return strings.TrimPrefix(s.URL, "http://") })
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set(traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	sh.call(traced(t.Context(), r), "GET", "stock", "/stock/1")
	sh.call(t.Context(), "GET", "stock", "/stock/1")
	if len(seen) != 2 || len(seen[0]) != 55 || !strings.HasPrefix(seen[0], "00-4bf92f3577b34da6a3ce929d0e0e4736-") || strings.Contains(seen[0], "00f067aa0ba902b7") {
		t.Errorf("%q", seen)
	}
	if len(seen) == 2 && (len(seen[1]) != 55 || seen[1][3:35] == seen[0][3:35]) {
		t.Errorf("%q", seen)
	}
}
