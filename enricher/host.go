package enricher

import (
	"net/netip"
	"strings"

	"github.com/weirstream/weir/proto"
)

// Kinds of workloads that are not Kubernetes'.
const (
	kindUnit      = "unit"
	kindContainer = "container"
	kindProcess   = "process"
	kindAddress   = "address"
	kindDomain    = "domain"
)

const (
	maxIdentities  = 1 << 16
	shortContainer = 12 // digits of a container id, as docker shows it
)

// host names the workloads of plain hosts: systemd units, containers,
// processes, and addresses elsewhere. It never asks the DNS: that could be
// slow, and says who claims an address rather than who has it.
type host struct {
	sockets    *sockets
	identities map[identity]*proto.Endpoint
	byPID      [1024]pidSlot
	external   [1024]proto.Endpoint // by address, see externalEnd
	addrs      [1024]netip.Addr
}

// identity is what tells local workloads apart.
type identity struct {
	node                  uint32
	container, unit, name string // name is the container's or the process's
}

type pidSlot struct {
	node uint32
	proc proto.Process
	who  *proto.Endpoint
}

func newHost() *host {
	return &host{sockets: newSockets(), identities: make(map[identity]*proto.Endpoint)}
}

// Learn remembers whose the local sockets of the events are.
func (h *host) Learn(f *proto.Frame) {
	node := h.sockets.node(f.Node)
	for i := range f.Events {
		e := &f.Events[i]
		who := h.local(node, f.Node, e)
		if who == nil {
			continue
		}
		local, slack := e.Source, clientSlack
		if e.Side == proto.SideServer {
			local, slack = e.Destination, serverSlack
		}
		if !local.IsValid() {
			continue
		}
		s := socketOf(node, e, e.Side)
		if e.Flags&proto.FlagProcGuess != 0 && h.sockets.find(s, e.StartNS, e.EndNS) != nil {
			continue // what is known is better than a guess
		}
		h.sockets.teach(s, who, e.StartNS, e.EndNS, slack)
	}
}

// Name fills From and To.
func (h *host) Name(f *proto.Frame) Missing {
	missing := Nothing
	node := h.sockets.node(f.Node)
	for i := range f.Events {
		e := &f.Events[i]
		e.Flags &^= proto.FlagUnresolved
		local, remote := e.Source, e.Destination
		here, there := &e.From, &e.To
		if e.Side == proto.SideServer {
			local, remote, here, there = remote, local, there, here
		} else if e.Peer.IsValid() {
			remote = e.Peer // NAT hides it behind Destination
		}
		h.nameLocal(f.Node, node, e, local, here)
		missing = max(missing, h.nameRemote(node, e, remote, there))
	}
	return missing
}

// socketOf is the socket at one side of an exchange. A client's is known by the
// server that it reached: NAT hides that behind its destination.
func socketOf(node uint32, e *proto.Event, side proto.Side) socket {
	server := e.Destination
	if e.Side != proto.SideServer && e.Peer.IsValid() {
		server = e.Peer
	}
	if side == proto.SideServer {
		return serverSocket(node, server, e.NetNS)
	}
	return clientSocket(node, e.Source, server, e.NetNS)
}

// farSide is the other end's.
func farSide(e *proto.Event) proto.Side {
	if e.Side == proto.SideServer {
		return proto.SideClient
	}
	return proto.SideServer
}

func (h *host) nameLocal(name string, node uint32, e *proto.Event, addr netip.AddrPort, end *proto.Endpoint) {
	who := h.local(node, name, e)
	if who == nil || e.Flags&proto.FlagProcGuess != 0 {
		if found := h.sockets.find(socketOf(node, e, e.Side), e.StartNS, e.EndNS); found != nil {
			who = found
		}
	}
	if who != nil {
		*end = *who
		return
	}
	*end = proto.Endpoint{Namespace: proto.NamespaceHost, Workload: addr.Addr().Unmap().String(), Kind: kindAddress, Node: name}
	e.Flags |= proto.FlagUnresolved
}

// nameRemote misses the next frame if the end is on the node, but not known
// yet whose.
func (h *host) nameRemote(node uint32, e *proto.Event, addr netip.AddrPort, end *proto.Endpoint) Missing {
	s := socketOf(node, e, farSide(e))
	if who := h.sockets.find(s, e.StartNS, e.EndNS); who != nil {
		*end = *who
		return Nothing
	}
	if !h.sockets.isLocal(s, addr.Addr()) {
		h.nameOutside(e, addr.Addr(), end)
		return Nothing
	}
	*end = *h.externalEnd(addr.Addr())
	e.Flags |= proto.FlagUnresolved
	return NextFrame
}

// local is the workload of the event's process; nil if that is not known.
func (h *host) local(node uint32, nodeName string, e *proto.Event) *proto.Endpoint {
	p := &e.Process
	if p.Container == "" && p.Unit == "" && p.Name == "" {
		return nil
	}
	slot := &h.byPID[p.PID%uint32(len(h.byPID))]
	if slot.who != nil && slot.node == node && slot.proc == *p {
		return slot.who
	}
	who := h.identify(node, nodeName, p)
	if slot.proc != *p {
		slot.proc = cloneProcess(p)
	}
	slot.node, slot.who = node, who
	return who
}

func (h *host) identify(node uint32, nodeName string, p *proto.Process) *proto.Endpoint {
	id := identity{node: node}
	switch unit, isUnit := unitName(p.Unit); {
	case p.Container != "":
		id.container, id.name = p.Container, p.ContainerName
	case isUnit:
		id.unit = unit
	default:
		id.name = p.Name
	}
	if who := h.identities[id]; who != nil {
		return who
	}
	if len(h.identities) >= maxIdentities {
		clear(h.identities)
	}
	id.container, id.unit, id.name = strings.Clone(id.container), strings.Clone(id.unit), strings.Clone(id.name)
	who := &proto.Endpoint{Namespace: proto.NamespaceHost, Node: strings.Clone(nodeName)}
	switch {
	case id.container != "":
		who.Container = id.name
		if who.Container == "" {
			who.Container = id.container[:min(len(id.container), shortContainer)]
		}
		who.Workload, who.Kind = who.Container, kindContainer
	case id.unit != "":
		who.Workload, who.Kind = id.unit, kindUnit
	default:
		who.Workload, who.Kind = id.name, kindProcess
	}
	h.identities[id] = who
	return who
}

// unitName tells whether a systemd unit names a workload: a service does.
// Scopes and slices hold whatever a user started, and so does a user manager.
func unitName(unit string) (string, bool) {
	name, ok := strings.CutSuffix(unit, ".service")
	return name, ok && name != "" && !strings.HasPrefix(name, "user@")
}

func cloneProcess(p *proto.Process) proto.Process {
	return proto.Process{
		PID:           p.PID,
		Name:          strings.Clone(p.Name),
		Unit:          strings.Clone(p.Unit),
		Container:     strings.Clone(p.Container),
		ContainerName: strings.Clone(p.ContainerName),
		PodUID:        strings.Clone(p.PodUID),
	}
}

// nameOutside names an end that is elsewhere by the domain name that the client
// asked for, if that was seen.
func (h *host) nameOutside(e *proto.Event, a netip.Addr, end *proto.Endpoint) {
	if e.Side == proto.SideClient && e.ServerName != "" {
		*end = proto.Endpoint{Namespace: proto.NamespaceExternal, Workload: e.ServerName, Kind: kindDomain}
		return
	}
	*end = *h.externalEnd(a)
}

// externalEnd is an end that only its address is known of.
func (h *host) externalEnd(a netip.Addr) *proto.Endpoint {
	b := a.As16()
	i := (uint(b[15]) | uint(b[14])<<8 ^ uint(b[7])<<2 ^ uint(b[13])<<4) % uint(len(h.addrs))
	if end := &h.external[i]; h.addrs[i] != a || end.Kind == "" {
		h.addrs[i] = a
		*end = proto.Endpoint{Namespace: proto.NamespaceExternal, Workload: a.Unmap().String(), Kind: kindAddress}
	}
	return &h.external[i]
}
