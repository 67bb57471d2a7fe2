package service

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
)

var discard = slog.New(slog.DiscardHandler)

// A service that starts before NATS and its streams waits for both.
func TestWaiting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	o := bus.Options{URL: "nats://" + addr}
	if _, err := Connect(t.Context(), o, 0, discard); err == nil || !strings.Contains(err.Error(), "no NATS server answers") {
		t.Errorf("without waiting: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := Connect(t.Context(), o, time.Minute, discard)
		if err == nil {
			_, err = Streams(t.Context(), c, time.Minute, discard)
			c.Close()
		}
		done <- err
	}()
	s, err := natsserver.Start(t.Context(), natsserver.Config{Dir: t.TempDir(), Addr: addr}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c, err := Connect(t.Context(), o, 0, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Streams(t.Context(), c, 0, discard); err == nil {
		t.Error("there are streams nobody made")
	}
	if err := c.Provision(t.Context(), bus.Layout{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, bus.Options{URL: "nats://127.0.0.1:1"}, time.Hour, discard); err == nil {
		t.Error("a cancelled wait is no error")
	}
}
