//go:build installs

package k8s

import (
	"net"
	"testing"

	"github.com/weirstream/weir/test/load"
)

// TestShopOnTwoNodes: what the load's pods sent through a Service, to pods'
// addresses, across nodes and within one is what both ends have counted.
func TestShopOnTwoNodes(t *testing.T) {
	c := need(t)
	streams := c.weirOnHost(t)
	c.namespace(t, "shop")
	c.shop(t, "shop")
	c.deploy(t, client("shop", "by-service", ""), client("shop", "by-pod", "node1"))

	var edges []edge
	plan := load.Plan{Requests: 2000, Conns: 8, Mix: []load.Request{
		{Path: "/"}, {Path: "/products/7"}, {Method: "POST", Path: "/cart/items"},
	}}
	plan.Addr = "frontend:8080"
	f := c.send(t, "shop", "by-service", plan)
	edges = append(edges, edge{"by-service", "frontend", uint64(f.Sent)})

	n := 0
	for _, pod := range c.get(t, "pods", "-n", "shop", "-l", "app=frontend") { // one on each node
		plan.Addr = net.JoinHostPort(pod.Status.PodIP, "8080")
		n += c.send(t, "shop", "by-pod", plan).Sent
	}
	edges = append(edges, edge{"by-pod", "frontend", uint64(n)})
	checkEdges(t, streams, "shop", edges)
	if got := checkNames(t, c, streams, "shop"); got < 2*3*plan.Requests {
		t.Errorf("compared the names of %d events, sent %d requests", got, 3*plan.Requests)
	}
}
