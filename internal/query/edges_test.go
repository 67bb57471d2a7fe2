package query

import (
	"math"
	"testing"

	"github.com/weirstream/weir/proto"
)

// view is a row of n exchanges of ms milliseconds each.
func view(side proto.Side, n int, ms int64) *Row {
	r := &Row{Key: Key{Namespace: "shop", Workload: "cart", Kind: "Deployment", Side: side, Protocol: "http",
		PeerNamespace: "shop", PeerWorkload: "web", PeerKind: "Deployment"}}
	if side == proto.SideClient {
		r.Workload, r.PeerWorkload = r.PeerWorkload, r.Workload
	}
	for range n {
		r.Hist.Record(ms * 1e6)
	}
	return r
}

// TestNetworkTime is known only where both ends saw the same exchanges, and is
// never less than nothing.
func TestNetworkTime(t *testing.T) {
	server := func(n int, ms int64) *Row { return view(proto.SideServer, n, ms) }
	client := func(n int, ms int64) *Row { return view(proto.SideClient, n, ms) }
	for _, tt := range []struct {
		name string
		rows []*Row
		ms   float64 // NaN: not known
	}{
		{"both", []*Row{server(100, 4), client(100, 5)}, 1},
		{"a few at the ends", []*Row{server(100, 4), client(97, 5)}, 1},
		{"as fast as can be", []*Row{server(100, 4), client(100, 4)}, 0},
		{"more than a few", []*Row{server(100, 4), client(96, 5)}, math.NaN()},
		{"the other way round", []*Row{server(96, 4), client(100, 5)}, math.NaN()},
		{"one of two", []*Row{server(1, 4), client(2, 5)}, math.NaN()},
		{"less than nothing", []*Row{server(100, 5), client(100, 4)}, math.NaN()},
		{"server only", []*Row{server(100, 4)}, math.NaN()},
		{"client only", []*Row{client(100, 4)}, math.NaN()},
		{"nothing", []*Row{server(0, 4), client(0, 5)}, math.NaN()},
	} {
		edges := Join(tt.rows, Selection{})
		if len(edges) != 1 {
			t.Fatalf("%s: %d edges, want 1", tt.name, len(edges))
		}
		if e := edges[0]; e.From != (Workload{"shop", "web", "Deployment"}) || e.To != (Workload{"shop", "cart", "Deployment"}) || e.Seen() != tt.rows[0] {
			t.Errorf("%s: got %+v", tt.name, e)
		}
		mean, known := edges[0].NetworkNS()
		if known == math.IsNaN(tt.ms) || known && math.Abs(mean-tt.ms*1e6) > 1 {
			t.Errorf("%s: got %v, %v, want %v", tt.name, mean, known, tt.ms)
		}
	}
}

// TestEdgesOfOneNameAndTwoKinds are two edges.
func TestEdgesOfOneNameAndTwoKinds(t *testing.T) {
	deployment, job := view(proto.SideServer, 3, 1), view(proto.SideServer, 2, 1)
	job.Kind = "Job"
	edges := Join([]*Row{deployment, job}, Selection{Workload: "cart"})
	if len(edges) != 2 || edges[0].Server != deployment || edges[1].Server != job {
		t.Errorf("got %+v", edges)
	}
	if edges := Join([]*Row{deployment, job}, Selection{Workload: "cart", Kind: "job"}); len(edges) != 1 || edges[0].To.Kind != "Job" {
		t.Errorf("got %+v", edges)
	}
}
