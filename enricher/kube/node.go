package kube

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weirstream/weir/proto"
)

// Node is a machine of the cluster.
type Node struct {
	name, zone string
	addrs      []netip.Addr
	ranges     []netip.Prefix
	pods       map[*Pod]struct{}
	end        *proto.Endpoint
	gone       int64 // it left the API, or was never in it
}

// Endpoint is what the node is called where it isn't known which of its
// processes is meant.
func (n *Node) Endpoint() *proto.Endpoint { return n.end }

// On is the name of the node.
func (n *Node) On() string { return n.name }

// Zone is the node's, or "".
func (n *Node) Zone() string { return n.zone }

// node returns the node with that name, which the API may not have told of.
func (x *Index) node(name string) *Node {
	n := x.nodes[name]
	if n == nil {
		n = &Node{name: name, pods: map[*Pod]struct{}{}}
		n.rename()
		x.nodes[name] = n
	}
	return n
}

func (n *Node) rename() {
	n.end = &proto.Endpoint{Namespace: proto.NamespaceHost, Workload: n.name, Kind: kindNode, Node: n.name, Zone: n.zone}
}

// place puts a pod on a node.
func (x *Index) place(p *Pod, node string) {
	if p.node != nil {
		delete(p.node.pods, p)
	}
	p.node = x.node(node)
	p.node.pods[p] = struct{}{}
}

// SetNode takes a node as the API has it now.
func (x *Index) SetNode(o *corev1.Node) {
	x.Lock()
	defer x.Unlock()
	now := x.now().UnixNano()
	n := x.node(o.Name)
	if n.gone != forever {
		n.gone = forever
		x.measureAll(n)
	}
	var addrs []netip.Addr
	for _, a := range o.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && !slices.Contains(addrs, plain(ip)) {
			addrs = append(addrs, plain(ip))
		}
	}
	x.addrs.setAlways(n, &n.addrs, addrs, o.CreationTimestamp.UnixNano(), now)
	x.setRanges(n, o.Spec.PodCIDRs)
	if zone := o.Labels[corev1.LabelTopologyZone]; zone != n.zone {
		n.zone = zone
		n.rename()
		for p := range n.pods {
			x.refresh(p, now)
		}
	}
}

// NodeGone says that a node left the API; see [Index.PodGone] for heard.
func (x *Index) NodeGone(name string, heard int64) {
	x.Lock()
	defer x.Unlock()
	n := x.nodes[name]
	if n == nil || n.gone != forever {
		return
	}
	now := x.now().UnixNano()
	n.gone = now
	for _, a := range n.addrs {
		x.addrs.release(a, n, heard, now)
	}
	n.addrs = nil
	x.setRanges(n, nil)
	x.measureAll(n)
}

func (x *Index) measureAll(n *Node) {
	for p := range n.pods {
		x.measure(p)
	}
}

// setAlways gives an owner its addresses, which it has had since it was made,
// or else since now.
func (m addresses) setAlways(who Owner, old *[]netip.Addr, addrs []netip.Addr, made, now int64) {
	for _, a := range *old {
		if !slices.Contains(addrs, a) {
			m.release(a, who, now, now)
		}
	}
	for _, a := range addrs {
		if slices.Contains(*old, a) {
			continue
		}
		if *old != nil { // later than its making
			made = now
		}
		m.claim(a, who, made, min(made+second, now))
	}
	*old = addrs
}

func (x *Index) setRanges(n *Node, cidrs []string) {
	for _, p := range n.ranges {
		if x.ranges[p]--; x.ranges[p] == 0 {
			delete(x.ranges, p)
		}
	}
	n.ranges = nil
	for _, text := range cidrs {
		if p, err := netip.ParsePrefix(text); err == nil {
			n.ranges = append(n.ranges, p.Masked())
			x.ranges[p.Masked()]++
		}
	}
	x.lengths = x.lengths[:0]
	for p := range x.ranges {
		if !slices.Contains(x.lengths, p.Bits()) {
			x.lengths = append(x.lengths, p.Bits())
		}
	}
}
