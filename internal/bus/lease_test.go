package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
)

const ttl = 900 * time.Millisecond

func acquire(t *testing.T, c *bus.Conn, holder string, patience time.Duration) (*bus.Lease, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Acquire(ctx, bus.LeaseConfig{Key: "enricher.p00", Holder: holder, TTL: ttl})
}

func TestLease(t *testing.T) {
	s, c := server(t)
	other := bustest.Connect(t, s.URL)
	a, err := acquire(t, c, "a", bustest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(t, other, "b", 3*ttl); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("taken while it was held: %v", err)
	}
	a.Release()
	b, err := acquire(t, other, "b", bustest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	again, err := acquire(t, other, "b", bustest.Timeout) // the same holder, restarted
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	b.Release()
}

func TestLeaseOfADeadHolderIsTaken(t *testing.T) {
	s, c := server(t)
	dead := bustest.Connect(t, s.URL)
	a, err := acquire(t, dead, "a", bustest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	dead.Close()
	b, err := acquire(t, c, "b", bustest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	select {
	case <-a.Lost():
	case <-time.After(bustest.Timeout):
		t.Fatal("the dead holder does not know that it lost the lease")
	}
}

func TestLeaseSurvivesARestartOfTheServer(t *testing.T) {
	s, c := server(t)
	a, err := acquire(t, c, "a", bustest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	s.Restart()
	select {
	case <-a.Lost():
		// Too slow a restart is allowed to lose it, not to keep it for ever.
	case <-time.After(3 * ttl):
		if _, err := acquire(t, bustest.Connect(t, s.URL), "b", 2*ttl); err == nil {
			t.Fatal("taken while it was held")
		}
	}
}
