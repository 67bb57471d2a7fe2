package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stopTimeout is how long requests that are being answered may take at the end.
const stopTimeout = 2 * time.Second

// Listen takes the port of a service. Its error says what to do.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("HTTP address %s is in use: stop what listens there, or choose another with --http", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen at HTTP address: %w", err)
	}
	return l, nil
}

// Serve answers /healthz, /readyz (what ready says) and /metrics until ctx ends.
func Serve(ctx context.Context, l net.Listener, metrics prometheus.Gatherer, ready func() error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	<-served
	return err
}

// Ports are those of Weir's own servers on this host, which the agent leaves out.
func Ports(listeners ...net.Listener) []uint16 {
	var ports []uint16
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			ports = append(ports, uint16(a.Port))
		}
	}
	return ports
}
