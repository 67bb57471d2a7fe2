package chaos

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

const faults = 20

// TestKillAndPauseServices kills and pauses everything behind the agent, also
// several at once, while two enrichers and two aggregators compete for the only
// partition. Every request is counted once.
func TestKillAndPauseServices(t *testing.T) {
	machine.Need(t)
	r := random(t)
	c := machine.Cluster(t)
	nginx := servers.Start(t, servers.Nginx())
	golang := servers.Start(t, servers.Go())
	stopKeep := background(t, nginx.Addr(), 600, false)
	stopClose := background(t, golang.Addr6(), 200, true)
	for range faults {
		time.Sleep(between(r, 200*time.Millisecond, 2*time.Second))
		fault(t, r, c)
		revive(t, c.Services)
	}
	sent := uint64(stopKeep().Sent + stopClose().Sent)
	c.Streams().Settle(settle)
	rows := c.Streams().Latency()
	for _, side := range []string{"server", "client"} {
		matched := rig.Case(rows, name, side)
		if got := rig.Count(matched); got != sent {
			t.Errorf("%s side: %d counted, %d sent", side, got, sent)
		}
		for _, row := range matched {
			if row.Lost != 0 {
				t.Errorf("%s side: %d lost", side, row.Lost)
			}
		}
	}
	bustest.CheckRollups(t, bustest.Connect(t, c.URL))
	if ledger, err := c.Streams().Weir("ledger"); err != nil || t.Failed() {
		t.Errorf("ledger: %v\n%s", err, ledger)
	}
	t.Logf("%d requests", sent)
}

// fault does one bad thing, and mends it.
func fault(t *testing.T, r *rand.Rand, c *rig.Cluster) {
	victim := c.Services[r.IntN(len(c.Services))]
	switch r.IntN(4) {
	case 0:
		t.Log("kill", victim.Name)
		victim.Kill()
		time.Sleep(between(r, 0, time.Second))
		victim.Start()
	case 1: // longer than a lease, so that the rival takes over; then both think it's theirs
		pause := between(r, time.Second, 15*time.Second)
		t.Log("pause", victim.Name, "for", pause.Round(time.Millisecond))
		victim.Signal(syscall.SIGSTOP)
		time.Sleep(pause)
		victim.Signal(syscall.SIGCONT)
	case 2:
		t.Log("kill nats")
		c.NATS.Kill()
		time.Sleep(between(r, 0, time.Second))
		c.StartNATS()
	case 3:
		t.Log("kill all services")
		for _, p := range c.Services {
			p.Kill()
		}
		for _, i := range r.Perm(len(c.Services)) {
			c.Services[i].Start()
		}
	}
}

// revive starts services again that have ended by themselves, as a cluster does.
func revive(t *testing.T, services []*rig.Process) {
	for _, p := range services {
		if err, ended := p.Exited(); ended {
			t.Logf("%s ended by itself: %v", p.Name, err)
			p.Start()
		}
	}
}
