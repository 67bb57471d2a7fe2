//go:build installs

package k8s

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/load"
)

// TestShopOnTwoNodes: what was sent through Services, to pods' addresses and over
// nodes' networks, across nodes and within one, is what both ends have counted,
// under the names that the API gives them.
func TestShopOnTwoNodes(t *testing.T) {
	c := need(t)
	const ns = "shop"
	began := time.Now() // what was before is other tests', whose owners are gone
	c.namespace(t, ns)
	c.shop(t, ns)
	onHost := workload{Name: "on-host", Namespace: ns, Image: weirImg, Args: "shop, stock, --listen, ':8090'", Port: 8090, Node: "node1", HostNetwork: true}
	fromHost := client(ns, "from-host", "node2")
	fromHost.HostNetwork = true
	c.deploy(t, onHost, fromHost, client(ns, "west", "node1"), client(ns, "east", "node2"))

	mix := []load.Request{{Path: "/"}, {Path: "/products/7"}, {Method: "POST", Path: "/cart/items"}}
	const n = 100 // of each kind
	sent := map[[2]string]int{}
	send := func(from, to, addr string, mix ...load.Request) {
		t.Helper()
		sent[[2]string{from, to}] += c.send(t, ns, from, load.Plan{Addr: addr, Requests: n * len(mix), Conns: 4, Mix: mix})
	}
	shops := 0
	toShop := func(from, addr string) {
		t.Helper()
		send(from, "frontend", addr, mix...)
		shops++
	}
	frontends := map[string]string{} // addresses by node
	for _, pod := range c.get(t, "pods", "-n", ns, "-l", "app=frontend") {
		frontends[pod.Spec.NodeName] = net.JoinHostPort(pod.Status.PodIP, "8080")
	}
	for _, from := range []string{"west", "east", "from-host"} {
		toShop(from, "frontend.shop.svc.cluster.local:8080")
		toShop(from, frontends["node1"])
		toShop(from, frontends["node2"])
		node1 := c.pod(t, ns, "on-host", "").Status.HostIP
		send(from, "on-host", "on-host.shop.svc.cluster.local:8090", load.Request{Path: "/stock/1"})
		send(from, "on-host", node1+":8090", load.Request{Path: "/stock/1"})
	}

	inner := n * shops // of each kind of request
	edges := []edge{
		{client: "frontend", server: "catalogue", operation: "GET /products", n: inner},
		{client: "frontend", server: "catalogue", operation: "GET /products/{id}", n: inner},
		{client: "catalogue", server: "stock", n: inner},
		{client: "frontend", server: "cart", n: inner},
		{client: "cart", server: "stock", n: inner},
	}
	for ends, n := range sent {
		e := edge{client: ends[0], server: ends[1], n: n}
		if e.client == "from-host" {
			e.clientNode = "node2"
		}
		if e.server == "on-host" {
			e.serverNode = "node1"
		}
		edges = append(edges, e)
	}
	c.checkEdges(t, ns, edges)

	k := c.checker(t)
	probes := map[string]int{}
	inShop, total := 0, 0
	c.events(t, began, func(f *proto.Frame, e *proto.Event) {
		k.check(f, e)
		switch {
		case e.From.Namespace == ns || e.To.Namespace == ns:
			inShop++
			_, fromNode := k.nodes[e.Source.Addr().Unmap().String()]
			_, toNode := k.nodes[e.Destination.Addr().Unmap().String()]
			if k.unsure && !fromNode && !toNode {
				t.Errorf("unresolved between pods: %+v → %+v", e.From, e.To)
			}
		case e.From.Workload == "kubelet":
			probes[e.Side.String()+" "+e.To.Namespace+"/"+e.To.Kind+"/"+e.To.Workload+" "+e.Route]++
		}
	})
	k.report(t)
	for _, n := range sent {
		total += n
	}
	if inShop < 2*total {
		t.Errorf("compared the names of %d events of the shop, sent %d requests", inShop, total)
	}
	for _, probe := range []string{"kube-system/Deployment/coredns /health", "kube-system/Deployment/coredns /ready",
		"weir/Deployment/weir-enricher /readyz", "weir/StatefulSet/weir-nats /healthz"} {
		if probes["client "+probe] == 0 || probes["server "+probe] == 0 {
			t.Errorf("no probes of the kubelet at %s: %v", probe, probes)
		}
	}
	if t.Failed() {
		return
	}
	for _, args := range [][]string{{"latency", "-A", "--by", "workload,peer"}, {"map", "-A"}, {"observe", "deploy/frontend", "-n", ns, "--last", "10"}} {
		out := c.weir(t, args...)
		t.Logf("kubectl weir %s\n%s", strings.Join(args, " "), out)
	}
}
