//go:build installs

package k8s

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
)

// fault is something that happens to Weir under load, and heals.
type fault struct {
	name string
	do   func(t *testing.T, c *cluster)
}

var faults = []fault{
	{"agent-deleted", func(t *testing.T, c *cluster) {
		c.kubectl(t, "", "-n", "weir", "delete", "pods", "-l", part("agent"), "--field-selector=spec.nodeName=node1")
	}},
	{"enrichers-deleted", func(t *testing.T, c *cluster) {
		c.kubectl(t, "", "-n", "weir", "delete", "pods", "-l", part("enricher"))
	}},
	{"aggregators-deleted", func(t *testing.T, c *cluster) {
		c.kubectl(t, "", "-n", "weir", "delete", "pods", "-l", part("aggregator"))
	}},
	{"nats-deleted", func(t *testing.T, c *cluster) { c.kubectl(t, "", "-n", "weir", "delete", "pod", "weir-nats-1") }},
	{"node-drained", func(t *testing.T, c *cluster) {
		// Only of Weir; and the node with one server of NATS, since a volume of
		// this cluster can't follow its pod to another node.
		node, servers := "", map[string]int{}
		for _, p := range c.get(t, "pods", "-n", "weir", "-l", part("nats")) {
			servers[p.Spec.NodeName]++
		}
		for name, n := range servers {
			if n == 1 {
				node = name
			}
		}
		c.kubectl(t, "", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s", "--pod-selector=app.kubernetes.io/instance=weir")
		c.ready(t, "weir", "deployment/weir-enricher")
		c.ready(t, "weir", "deployment/weir-aggregator")
		c.kubectl(t, "", "uncordon", node)
	}},
	{"upgraded", func(t *testing.T, c *cluster) { // everything restarts
		c.helm(t, "upgrade", "weir", chart, "--reuse-values", "--set=logLevel=debug,nats.syncInterval=9s", "--wait", "--timeout=5m")
	}},
	{"rolled-back", func(t *testing.T, c *cluster) { c.helm(t, "rollback", "weir", "--wait", "--timeout=5m") }},
}

// part selects the pods of a part of Weir.
func part(component string) string { return "app.kubernetes.io/component=" + component }

// TestFaults: whatever happens to Weir under load, what is counted and what is
// counted as lost is what was sent: also while a node has no agent, since what
// happens meanwhile is kept in the kernel for the next one.
func TestFaults(t *testing.T) {
	c := need(t)
	const ns = "faults"
	c.namespace(t, ns)
	c.deploy(t,
		workload{Name: "server1", Namespace: ns, Image: weirImg, Args: "shop, stock", Port: 8080, Node: "node1"},
		workload{Name: "server2", Namespace: ns, Image: weirImg, Args: "shop, stock", Port: 8080, Node: "node2"},
		client(ns, "client1", "node1"), client(ns, "client2", "node2"))

	var all []*sent
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			begin := time.Now()
			there := c.beginSteady(t, ns, f.name, "client1", "server2")
			back := c.beginSteady(t, ns, f.name, "client2", "server1")
			f.do(t, c)
			for _, w := range []string{"daemonset/weir-agent", "statefulset/weir-nats", "deployment/weir-enricher", "deployment/weir-aggregator"} {
				c.ready(t, "weir", w)
			}
			there.stop(t)
			back.stop(t)
			all = append(all, there, back)
			t.Logf("%d and %d requests in %s", there.figures.Sent, back.figures.Sent, time.Since(begin).Round(time.Second))
		})
	}
	lost := uint64(0)
	deadline := time.Now().Add(settle)
	for problems := []string{""}; len(problems) > 0; {
		rows := c.latency(t, ns)
		lost = c.lost(t)
		problems = nil
		for _, s := range all {
			problems = append(problems, s.compare(rows, lost)...)
		}
		if len(problems) > 0 && time.Now().After(deadline) {
			t.Fatalf("%d exchanges are known to be lost\n%s", lost, strings.Join(problems, "\n"))
		}
	}
	for _, s := range all {
		t.Logf("%s, %s → %s: %d sent, %d and %d counted", s.fault, s.client, s.server, s.figures.Sent, s.asClient, s.asServer)
	}
	t.Logf("%d exchanges are known to be lost", lost)
}

// sent is a load under a fault. client N and server N are on node N.
type sent struct {
	fault, client, server string
	generator             *generator
	figures               load.Figures
	asClient, asServer    int // counted
}

func (c *cluster) beginSteady(t *testing.T, ns, fault, client, server string) *sent {
	t.Helper()
	s := &sent{fault: fault, client: client, server: server}
	s.generator = c.begin(t, ns, client, load.Plan{
		Addr: server + "." + ns + ".svc.cluster.local:8080", Requests: 1 << 30, Conns: 4, Rate: 100, Mix: []load.Request{{Path: "/" + fault}},
		Retry: 100 * time.Millisecond, // of a new Service, until a node knows where it leads
	})
	return s
}

func (s *sent) stop(t *testing.T) {
	t.Helper()
	s.figures = s.generator.stop(t)
	if s.figures.Error != "" || s.figures.Failed > 0 || s.figures.Sent == 0 {
		t.Fatalf("the load itself went wrong: %s (%d sent, %d failed)", s.figures.Error, s.figures.Sent, s.figures.Failed)
	}
}

// compare says what is neither counted nor known to be lost.
func (s *sent) compare(rows []row, lost uint64) (problems []string) {
	s.asClient, s.asServer = 0, 0
	for _, row := range rows {
		switch {
		case row.Operation != "GET /"+s.fault:
		case row.Side == "client" && row.Workload == s.client && row.PeerWorkload == s.server:
			s.asClient += int(row.Count)
		case row.Side == "server" && row.Workload == s.server && row.PeerWorkload == s.client:
			s.asServer += int(row.Count)
		}
	}
	for end, counted := range map[string]int{s.client: s.asClient, s.server: s.asServer} {
		if counted > s.figures.Sent || counted+int(lost) < s.figures.Sent {
			problems = append(problems, s.fault+": "+end+" of "+s.client+" → "+s.server+": "+
				jsonOf(map[string]int{"sent": s.figures.Sent, "counted": counted}))
		}
	}
	return problems
}

func jsonOf(v any) string {
	out, _ := json.Marshal(v)
	return string(out)
}
