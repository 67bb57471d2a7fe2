package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
)

// Timeout is how long helpers wait for something that should take
// milliseconds: the machine may be busy.
const Timeout = 60 * time.Second

// Server is a nats-server in this process. It keeps its address and its data
// over [Server.Restart].
type Server struct {
	t   testing.TB
	cfg natsserver.Config
	s   *natsserver.Server
	URL string
}

// Start starts a server with file storage on a random port of loopback. It
// stops when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, natsserver.Config{Dir: filepath.Join(t.TempDir(), "nats"), Addr: FreeAddr(t)})
}

func start(t testing.TB, cfg natsserver.Config) *Server {
	t.Helper()
	s := &Server{t: t, cfg: cfg, URL: "nats://" + cfg.Addr}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Stop shuts the server down. It may be started again with Restart.
func (s *Server) Stop() {
	if s.s != nil {
		s.s.Stop()
		s.s = nil
	}
}

// Restart stops the server if it runs and starts it with the same address and data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	var err error
	s.s, err = natsserver.Start(context.WithoutCancel(s.t.Context()), s.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
}

// Healthy tells whether the server has caught up with the others of its cluster.
func (s *Server) Healthy() bool { return s.s != nil && s.s.Healthy() == nil }

// StartCluster starts three servers that form a cluster, for replicated
// streams, and waits until they can be provisioned.
func StartCluster(t testing.TB) [3]*Server {
	t.Helper()
	var routes []string
	for range 3 {
		routes = append(routes, "nats://"+FreeAddr(t))
	}
	var out [3]*Server
	for i := range out {
		out[i] = start(t, natsserver.Config{
			Dir:     filepath.Join(t.TempDir(), "nats"),
			Addr:    FreeAddr(t),
			Name:    fmt.Sprintf("n%d", i),
			Cluster: &natsserver.Cluster{Name: "test", Addr: routes[i][len("nats://"):], Routes: routes},
		})
	}
	return out
}

// FreeAddr returns an address of loopback that nothing listens at.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Connect connects to a server and closes the connection when the test ends.
func Connect(t testing.TB, url string) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), bus.Options{URL: url, Name: t.Name()}, Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Provision creates Weir's streams, small, waiting for a cluster to be ready.
func Provision(t testing.TB, c *bus.Conn, partitions, replicas int) {
	t.Helper()
	layout := bus.Layout{
		Partitions: partitions, Replicas: replicas,
		RawBytes: 1 << 30, EnrichedBytes: 1 << 30, LatencyBytes: 1 << 30, RollupBytes: 1 << 30, HistoryBytes: 1 << 30,
	}
	var err error
	Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err = c.Provision(ctx, layout)
		return err == nil
	}, "provision: %v", &err)
}

// Eventually polls until ok returns true, or fails the test. An argument may
// be a pointer to an error that ok sets.
func Eventually(t testing.TB, ok func() bool, format string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(Timeout)
	for !ok() {
		if time.Now().After(deadline) {
			for i, a := range args {
				if e, is := a.(*error); is {
					args[i] = *e
				}
			}
			t.Fatalf(format, args...)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Logger writes errors to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}
