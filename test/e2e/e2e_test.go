package e2e

import (
	"context"
	"maps"
	"os"
	"strconv"
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
	lossy  bool // loss is no failure
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
	s.Helper()
	rows := streams.Latency("--by", "operation,status,peer")
	for _, want := range s.expect {
		s.Run(want.name, func(t *testing.T) {
			want.compare(t, rig.Case(rows, want.name, "server"), want.server, want.client)
			want.compare(t, rig.Case(rows, want.name, "client"), want.client, want.server)
		})
	}
	if len(rows) > 0 && rows[0].Lost != 0 && !s.lossy { // known by node: the same in every row
		s.Errorf("%d lost, want 0", rows[0].Lost)
	}
	if s.Failed() {
		ledger, err := streams.Weir("ledger")
		s.Logf("ledger: %v\n%s", err, ledger)
	}
}

func (e *expectation) compare(t *testing.T, rows []rig.Row, workload, peer string) {
	t.Helper()
	if got := rig.Count(rows); got != e.n {
		t.Errorf("%s: %d requests, want %d", workload, got, e.n)
	}
	status := map[int]int{}
	for _, row := range rows {
		if workload != "" && row.Workload != workload {
			t.Errorf("%s side: %s counted for %q, want %q", row.Side, row.Operation, row.Workload, workload)
		}
		if peer != "" && row.PeerWorkload != peer {
			t.Errorf("%s side: the other end of %s is %q, want %q", row.Side, row.Operation, row.PeerWorkload, peer)
		}
		if fails := row.Status >= "500" || row.Side == "client" && row.Status >= "400"; fails != (row.Errors == row.Count) {
			t.Errorf("%s side: status %s: %d errors of %d", row.Side, row.Status, row.Errors, row.Count)
		}
		n, _ := strconv.Atoi(row.Status)
		status[n] += int(row.Count)
	}
	if e.status != nil && !maps.Equal(status, e.status) {
		t.Errorf("%s: statuses %v, want %v", workload, status, e.status)
	}
}

const settle = 45 * time.Second // window + 3 s, on a busy machine
