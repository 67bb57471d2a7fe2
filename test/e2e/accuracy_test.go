package e2e

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// TestLatencyIsWhatTheClientFelt compares p50 and p99 of a client that stamps
// its own requests with both sides' in Weir: at most 2 % or 20 µs apart. At the
// server's socket the client's two system calls aren't seen: 20 µs more. Of
// three rounds the best counts: when the client isn't given a processor its own
// clock stops late, now and then; an error of Weir's would be in every round.
func TestLatencyIsWhatTheClientFelt(t *testing.T) {
	machine.Need(t)
	up := machine.Up(t)
	s := &scene{T: t}
	nginx, work := servers.Start(t, servers.Nginx()), 2*time.Millisecond
	serial := servers.Start(t, servers.Serial(), servers.Slow(work))
	golang := servers.Start(t, servers.Go())
	kinds := []struct {
		name   string
		server string
		plan   load.Plan
	}{
		{"fast", "nginx", load.Plan{Addr: nginx.Addr(), Requests: 2000, Spin: true, Rate: 2000, Mix: get(6)}},
		{"slow", "goserver", load.Plan{Addr: golang.Addr6(), Requests: 200, Spin: true, Mix: []load.Request{{Path: "/sleep/10"}}}},
		// Twice what the server can do: half of the time requests come, all of it they queue.
		{"overloaded", "goserver", load.Plan{Addr: serial.Addr(), Requests: 1000, Conns: 32, Rate: 1000, Mix: get(6)}},
	}
	const rounds = 3
	results := map[string]*load.Result{}
	for _, kind := range kinds {
		for i := range rounds {
			plan := kind.plan
			plan.Mix = slices.Clone(plan.Mix)
			name := fmt.Sprintf("%s-%s", kind.name, []string{"alfa", "bravo", "charlie"}[i])
			results[name] = s.send(name, kind.server, plan)
		}
	}
	up.Streams().Settle(settle)
	s.check(up.Streams())
	rows := up.Streams().Latency("--by", "operation")
	for _, kind := range kinds {
		for _, side := range []string{"client", "server"} {
			t.Run(kind.name+"-"+side, func(t *testing.T) {
				bound := 20 * time.Microsecond
				if side == "server" {
					bound *= 2
				}
				over50, over99 := math.Inf(1), math.Inf(1) // as multiples of the bound
				for _, round := range []string{"alfa", "bravo", "charlie"} {
					name := kind.name + "-" + round
					matched := rig.Case(rows, name, side)
					if len(matched) != 1 {
						t.Fatalf("%d rows of %s, want one: %+v", len(matched), name, matched)
					}
					row, r := matched[0], results[name]
					over50 = min(over50, beyond(row.P50, r.Quantile(0.5), bound))
					over99 = min(over99, beyond(row.P99, r.Quantile(0.99), bound))
					t.Logf("%s: p50 %.3f ms, client %v; p99 %.3f ms, client %v", name, row.P50, r.Quantile(0.5), row.P99, r.Quantile(0.99))
					if kind.name == "overloaded" && side == "server" {
						checkWait(t, row, work)
					}
				}
				if over50 > 1 || over99 > 1 {
					t.Errorf("p50 differs by %.1f times the bound, p99 by %.1f", over50, over99)
				}
			})
		}
	}
}

// beyond is the difference as a multiple of the bound, or of 2 %.
func beyond(ms float64, want, bound time.Duration) float64 {
	return math.Abs(ms*1e6-float64(want)) / max(0.02*float64(want), float64(bound))
}

// checkWait: what isn't work was wait.
func checkWait(t *testing.T, row rig.Row, work time.Duration) {
	t.Helper()
	rest := row.P99 - row.WaitP99 // ms; the sleep itself takes up to a ms longer
	if low, high := work.Seconds()*1e3-0.5-0.03*row.P99, work.Seconds()*1e3+2+0.03*row.P99; rest < low || rest > high {
		t.Errorf("p99 %.2f ms of which wait %.2f ms: the rest is %.2f, want about %v", row.P99, row.WaitP99, rest, work)
	}
}
