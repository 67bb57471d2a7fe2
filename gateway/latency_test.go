package gateway_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/internal/bustest"
)

// Whoever may see the page may scrape its histograms, nobody else.
func TestLatencyIsGuarded(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	address, ended := bustest.FreeAddr(t), make(chan error, 1)
	const token = "0123456789abcdef"
	go func() {
		ended <- gateway.Run(ctx, gateway.Config{Bus: c, HTTP: address, Registry: prometheus.NewRegistry(), Token: token}, discard)
	}()
	for bearer, want := range map[string]int{"": http.StatusUnauthorized, "another0another0": http.StatusUnauthorized, token: http.StatusOK} {
		bustest.Eventually(t, func() bool {
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics/latency", nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Authorization", "Bearer "+bearer)
			resp, err := http.DefaultClient.Do(q)
			if err != nil {
				return false // it doesn't listen yet
			}
			resp.Body.Close()
			return resp.StatusCode == want
		}, "token %q: want %d", bearer, want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
