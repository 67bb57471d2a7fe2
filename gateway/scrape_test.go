package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Scrapes of both kinds share a bound; who is above it is told, and counted.
func TestScrapesAtOnce(t *testing.T) {
	g := &gateway{scrapes: make(chan struct{}, maxScrapes)}
	g.metrics = &metrics{refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refused"}, []string{"reason"})}
	began, end := make(chan struct{}), make(chan struct{})
	slow := g.scrape("scrape", func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-end })
	other := g.scrape("federate", func(http.ResponseWriter, *http.Request) {})
	ask := func(h http.HandlerFunc) int {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w.Code
	}
	done := make(chan int)
	for range maxScrapes {
		go func() { done <- ask(slow) }()
		<-began
	}
	if code := ask(other); code != http.StatusServiceUnavailable {
		t.Errorf("one more is answered with %d", code)
	}
	var refused dto.Metric
	if err := g.metrics.refused.WithLabelValues("federate").Write(&refused); err != nil || refused.GetCounter().GetValue() != 1 {
		t.Errorf("counted as refused: %v %v", &refused, err)
	}
	close(end)
	for range maxScrapes {
		<-done
	}
	if code := ask(other); code != http.StatusOK {
		t.Errorf("afterwards one is answered with %d", code)
	}
}
