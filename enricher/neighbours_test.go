package enricher

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// What a node of one partition has seen names ends for a node of the other:
// which pod a service chose, and which process of a node it was.
func TestNeighboursTell(t *testing.T) {
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 2, 1)
	m := newMetrics(prometheus.NewRegistry())
	at := map[string]*kubernetes{} // by node
	town := newTown()
	for _, node := range []string{"n1", "n2"} {
		far := meet(t.Context(), c, m, proto.Partition(node, 2), 2)
		defer far.leave()
		at[node] = newKubernetes(town.index, town.isStale, town.now, far)
	}
	if at["n1"].far.own == at["n2"].far.own {
		t.Fatal("the nodes are of one partition")
	}
	server := func(pod, source, destination string) proto.Event {
		return seen(proto.SideServer, in(pod), source, destination, 0)
	}
	client := func(pod, source, destination string) proto.Event {
		return seen(proto.SideClient, in(pod), source, destination, 0)
	}
	for _, tt := range []struct {
		name     string
		far      *proto.Frame
		frame    *proto.Frame
		from, to string
	}{
		{
			"a service's pod",
			on("n2", server("cart-0", "10.244.1.5:40000", "10.244.2.5:8080")),
			on("n1", client("web-0", "10.244.1.5:40000", "10.96.0.7:80")), web, cart0,
		},
		{
			"a client on its node's network",
			on("n2", client("proxy-x", "192.168.0.2:40000", "10.244.1.5:80")),
			on("n1", server("web-0", "192.168.0.2:40000", "10.244.1.5:80")), relay, web,
		},
		{
			"a server on its node's network",
			on("n2", server("proxy-x", "10.244.1.5:40001", "192.168.0.2:90")),
			on("n1", client("web-0", "10.244.1.5:40001", "192.168.0.2:90")), web, relay,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, e := at[tt.frame.Node], &tt.frame.Events[0]
			bustest.Eventually(t, func() bool {
				at[tt.far.Node].Learn(tt.far) // again: the subscription may be younger than the first
				tt.far.Events[0].EndNS += together
				here.Learn(tt.frame)
				here.Name(tt.frame)
				return say(&e.From) == tt.from && say(&e.To) == tt.to
			}, "%s → %s, want %s → %s", say(&e.From), say(&e.To), tt.from, tt.to)
			if e.Flags&proto.FlagUnresolved != 0 {
				t.Error("unresolved")
			}
		})
	}

	// Within a partition, and of pods at their own address, there is nothing to tell.
	far := at["n2"].far
	far.stop()
	for _, f := range []*proto.Frame{
		on("n2", server("cart-0", "10.244.2.6:40000", "10.244.2.5:8080")),
		on("n2", client("cart-0", "10.244.2.5:40000", "10.244.1.5:80")),
		on("n2", server("cart-0", "203.0.113.9:40000", "10.244.2.5:8080")),
	} {
		before := far.buf
		at["n2"].Learn(f)
		if len(far.buf) != len(before) {
			t.Errorf("told: %+v", f.Events[0])
		}
	}
}
