package e2e

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
)

var machine rig.Rig

func TestMain(m *testing.M) { os.Exit(rig.Main(m, &machine)) }

// expectation is what a scene sent, and so what Weir must show. Its name is
// the first element of the paths.
type expectation struct {
	name   string
	n      uint64
	server string // workload names; empty: not looked at
	client string
	status map[int]int
}

// scene is a test's senders and what they expect.
type scene struct {
	*testing.T
	expect []expectation
}

// send runs a plan from this process and expects it to be counted. Every
// request of the mix gets the name in front of its path.
func (s *scene) send(name, server string, plan load.Plan) *load.Result {
	s.Helper()
	for i := range plan.Mix {
		plan.Mix[i].Path = "/" + name + plan.Mix[i].Path
	}
	r, err := load.Run(context.Background(), plan)
	if err != nil {
		s.Fatal(err)
	}
	if r.Err != nil || r.Done != plan.Requests {
		s.Errorf("%s: %d of %d requests answered: %v", name, r.Done, plan.Requests, r.Err)
	}
	s.expect = append(s.expect, expectation{name, uint64(r.Sent), server, "e2e.test", r.Status})
	return r
}

// check compares after everything has settled.
func (s *scene) check(streams rig.Streams) {
	rows := streams.Latency("--by", "operation")
	for _, want := range s.expect {
		s.Run(want.name, func(t *testing.T) {
			for side, workload := range map[string]string{"server": want.server, "client": want.client} {
				matched := rig.Case(rows, want.name, side)
				if got := rig.Count(matched); got != want.n {
					t.Errorf("%s side: %d requests, want %d", side, got, want.n)
				}
				for _, row := range matched {
					if workload != "" && row.Workload != workload {
						t.Errorf("%s side: %s counted for %q, want %q", side, row.Operation, row.Workload, workload)
					}
				}
			}
		})
	}
	for _, row := range rows {
		if row.Lost != 0 {
			s.Fatalf("%d lost, want 0: %+v", row.Lost, row)
		}
	}
}

// checkStatus compares the statuses of each server's workload, over all cases.
func (s *scene) checkStatus(streams rig.Streams) {
	want := map[string]map[string]uint64{}
	for _, e := range s.expect {
		if want[e.server] == nil {
			want[e.server] = map[string]uint64{}
		}
		for status, n := range e.status {
			want[e.server][strconv.Itoa(status)] += uint64(n)
		}
	}
	got := map[string]map[string]uint64{}
	for _, row := range streams.Latency("--by", "status") {
		if row.Side != "server" || want[row.Workload] == nil {
			continue
		}
		if got[row.Workload] == nil {
			got[row.Workload] = map[string]uint64{}
		}
		got[row.Workload][row.Status] += row.Count
		if fails := strings.HasPrefix(row.Status, "5"); fails != (row.Errors == row.Count) && row.Count > 0 {
			s.Errorf("%s, status %s: %d errors of %d", row.Workload, row.Status, row.Errors, row.Count)
		}
	}
	for workload, statuses := range want {
		for status, n := range statuses {
			if got[workload][status] != n {
				s.Errorf("%s, status %s: %d, want %d", workload, status, got[workload][status], n)
			}
			delete(got[workload], status)
		}
		if len(got[workload]) > 0 {
			s.Errorf("%s: statuses nobody got: %v", workload, got[workload])
		}
	}
}

const settle = 45 * time.Second // window + 3 s, on a busy machine
