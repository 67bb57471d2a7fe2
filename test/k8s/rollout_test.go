//go:build installs

package k8s

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/load"
)

// few are the addresses that a node has for new pods while they are scarce: the
// shop's, with those that come before others go, and a client.
const few = 12

// TestRollout replaces all pods of the shop again and again under load, while
// each node has so few addresses that those of the pods that go are at once
// those of pods of other workloads. Who really was at the other end is known by
// the cgroup of the process there.
func TestRollout(t *testing.T) {
	c := need(t)
	const ns = "rollout"
	c.namespace(t, ns)
	c.scarce(t)
	c.shop(t, ns)
	c.kubectl(t, "", "-n", ns, "delete", "deployment", "payment") // not called here
	c.deploy(t, client(ns, "client1", "node1"), client(ns, "client2", "node2"))
	since := c.history.began
	enrichers := c.get(t, "pods", "-n", "weir", "-l", part("enricher"))
	unresolved := func() (n float64) {
		for _, p := range enrichers {
			n += metric(t, p, 7072, "weir_enricher_unresolved_total")
		}
		return n
	}
	counted := unresolved()

	var loads []*generator
	for _, client := range []string{"client1", "client2"} {
		loads = append(loads, c.begin(t, ns, client, load.Plan{
			Addr: "frontend." + ns + ".svc.cluster.local:8080", Requests: 1 << 30, Conns: 8, Rate: 150, Close: true, Retry: 20e6,
			Mix: []load.Request{{Path: "/"}, {Path: "/products/7"}, {Method: "POST", Path: "/cart/items"}},
		}))
	}
	for range 3 {
		c.kubectl(t, "", "-n", ns, "rollout", "restart", "deployment/frontend", "deployment/catalogue", "deployment/cart", "deployment/stock")
		for _, name := range []string{"frontend", "catalogue", "cart", "stock"} {
			c.ready(t, ns, "deployment/"+name)
		}
	}
	done := 0
	for _, l := range loads {
		f := l.stop(t)
		done += f.Done
		t.Logf("%d requests, %d answered, first failure: %s", f.Sent, f.Done, f.Error)
	}
	c.latency(t, ns) // waits until everything is counted

	var events []proto.Event
	total := 0
	c.events(t, since, func(f *proto.Frame, e *proto.Event) {
		if e.Flags&proto.FlagUnresolved != 0 {
			total++
		}
		if e.From.Namespace == ns || e.To.Namespace == ns {
			events = append(events, *e)
		}
	})
	v := newViews(c.directory(t), events)
	for i := range events {
		v.judge(&events[i])
	}
	reused := v.reused(ns)
	t.Logf("%d events: of %d the other end's own view is known; %d named wrongly, %d unresolved; %d addresses were those of several workloads",
		len(events), v.known, v.wrong, v.unresolved, reused)
	for what, n := range v.mistakes {
		t.Logf("%d times: %s", n, what)
	}
	if v.wrong*10_000 > len(events) {
		t.Errorf("more than 0.01 %% of the events are named wrongly")
	}
	if len(events) < 2*done || v.known < len(events)/2 {
		t.Errorf("%d events of %d answered requests, %d of them compared", len(events), done, v.known)
	}
	if reused < few/2 {
		t.Errorf("only %d addresses were used again by another workload", reused)
	}
	if n := int(unresolved() - counted); n < v.unresolved || n > total {
		t.Errorf("weir_enricher_unresolved_total grew by %d; %d events of the test are marked, %d in all", n, v.unresolved, total)
	}
}

// scarce leaves each node few addresses for new pods until the test ends.
func (c *cluster) scarce(t *testing.T) {
	t.Helper()
	const file = "/run/cni/bridge.conflist"
	for _, node := range []string{"1", "2"} {
		old, err := c.script("exec", node, "cat", file)
		if err != nil {
			t.Fatal(err)
		}
		subnet := fmt.Sprintf(`"subnet": "10.244.%s.0/24"`, node)
		scarce := strings.Replace(string(old), subnet, fmt.Sprintf(`%s, "rangeStart": "10.244.%s.200", "rangeEnd": "10.244.%s.%d"`,
			subnet, node, node, 200+few-1), 1)
		write := func(text string) {
			t.Helper()
			if _, err := c.script("exec", node, "sh", "-c", "echo '"+text+"' >"+file+".new && mv "+file+".new "+file); err != nil {
				t.Fatal(err)
			}
		}
		write(scarce)
		t.Cleanup(func() { write(string(old)) })
	}
}

// views are events by their client's socket, which both ends see alike: no
// address of the pods is translated but the server's.
type views struct {
	*directory
	byClient                 map[netip.AddrPort][]*proto.Event
	known, wrong, unresolved int
	mistakes                 map[string]int
}

func newViews(d *directory, events []proto.Event) *views {
	v := &views{directory: d, byClient: map[netip.AddrPort][]*proto.Event{}, mistakes: map[string]int{}}
	for i := range events {
		v.byClient[events[i].Source] = append(v.byClient[events[i].Source], &events[i])
	}
	return v
}

// other is the same exchange as the other end saw it. The nodes' clocks are one.
func (v *views) other(e *proto.Event) *proto.Event {
	for _, o := range v.byClient[e.Source] {
		if o.Side == e.Side || o.Method != e.Method || o.Route != e.Route {
			continue
		}
		client, server := e, o
		if e.Side == proto.SideServer {
			client, server = o, e
		}
		if client.StartNS <= server.StartNS && server.StartNS <= client.EndNS {
			return o
		}
	}
	return nil
}

// judge compares an event's names with what the processes' cgroups say.
func (v *views) judge(e *proto.Event) {
	local, remote := &e.From, &e.To
	if e.Side == proto.SideServer {
		local, remote = remote, local
	}
	if e.Flags&proto.FlagUnresolved != 0 {
		v.unresolved++
	}
	problem := v.compare(local, e.Process.PodUID, e.Flags)
	if o := v.other(e); o != nil && o.Process.PodUID != "" && problem == "" {
		v.known++
		problem = v.compare(remote, o.Process.PodUID, e.Flags)
	}
	if problem != "" {
		v.wrong++
		v.mistakes[e.Side.String()+" side: "+problem]++
	}
}

// compare says what is wrong with a name. Not to know is no mistake, if it is said.
func (v *views) compare(got *proto.Endpoint, uid string, flags uint32) string {
	want := v.byUID[uid]
	switch {
	case uid == "" || want == nil:
		return "" // the kubelet
	case got.Namespace == want.Namespace && got.Workload == want.Workload && got.Kind == want.Kind && (got.Pod == "" || got.Pod == want.Pod):
		return ""
	case flags&proto.FlagUnresolved != 0 && got.Pod == "" && (got.Kind == "address" || got.Kind == "Node" || got.Kind == "Service"):
		return ""
	case got.Kind == "Service" && got.Service == got.Workload && got.Namespace == want.Namespace && got.Pod == "":
		return "" // what was called, not who answered
	}
	return fmt.Sprintf("%+v is really %s (flags %d)", *got, want.Pod, flags)
}

// reused are the addresses that pods of several workloads of a namespace had.
func (v *views) reused(namespace string) (n int) {
	for _, people := range v.byAddress {
		workloads := map[string]bool{}
		for _, p := range people {
			if p.Namespace == namespace {
				workloads[p.Workload] = true
			}
		}
		if len(workloads) > 1 {
			n++
		}
	}
	return n
}
