package enricher

import (
	"math"
	"net/netip"
	"time"

	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/proto"
)

const (
	// together is how far apart the two views of an exchange may be: clocks of
	// nodes differ.
	together = int64(100 * time.Millisecond)

	// proven is how long an address must be nobody's to be no pod's: the API
	// hears of a pod's address some seconds after the pod has it.
	proven       = int64(time.Minute)
	maxStrangers = 1 << 14

	// answer marks a client's socket as known by the server that answered it,
	// in place of a network namespace.
	answer = math.MaxUint32
)

// kubernetes names the workloads of a cluster. The local end of an exchange is
// what its cgroup says; the other what its address says, unless it has been
// seen at the other socket, which knows better.
type kubernetes struct {
	index   *kube.Index
	isStale func() bool
	now     func() time.Time
	host    *host // of processes outside pods
	sockets *sockets
	far     *neighbours // other partitions; nil if there are none

	strangers map[netip.Addr]int64 // private addresses that are nobody's: since when
	since     int64                // when the cluster was known first

	// of the frame being named
	frame *proto.Frame
	node  uint32
	stale bool
}

func newKubernetes(index *kube.Index, stale func() bool, now func() time.Time, far *neighbours) *kubernetes {
	h := newHost()
	return &kubernetes{
		index: index, isStale: stale, now: now, host: h, sockets: h.sockets, far: far,
		strangers: map[netip.Addr]int64{}, since: now().UnixNano(),
	}
}

func (k *kubernetes) begin(f *proto.Frame) {
	k.frame, k.node, k.stale = f, k.sockets.node(f.Node), k.isStale()
}

// Learn remembers whose the local sockets of the events are.
func (k *kubernetes) Learn(f *proto.Frame) {
	k.index.RLock()
	defer k.index.RUnlock()
	k.begin(f)
	defer k.far.send(f)
	for i := range f.Events {
		e := &f.Events[i]
		who, known, _ := k.local(e)
		if who == nil || !known {
			continue
		}
		local, slack := e.Source, clientSlack
		if e.Side == proto.SideServer {
			local, slack = e.Destination, serverSlack
		}
		if !local.IsValid() {
			continue
		}
		s := socketOf(k.place(e, local.Addr()), e, e.Side)
		if e.Flags&proto.FlagProcGuess != 0 && k.sockets.find(s, e.StartNS, e.EndNS) != nil {
			continue
		}
		owners := k.sockets.teach(s, who, e.StartNS, e.EndNS, slack)
		if e.Side == proto.SideServer && who.Pod != "" && !isLoopback(e.Source.Addr()) {
			owners = k.sockets.teach(answered(e.Source), who, e.StartNS, e.EndNS, clientSlack)
		}
		if k.far != nil && owners.isNews(e.EndNS) {
			k.tellFar(e, who)
		}
	}
}

// tellFar tells the partition of the other end's node whose the local socket
// is, if that can't be told from its address: a service has chosen the server,
// or processes of a node share its address.
func (k *kubernetes) tellFar(e *proto.Event, who *proto.Endpoint) {
	local, remote := e.Source, e.Destination
	if e.Side == proto.SideServer {
		local, remote = remote, local
	} else {
		if e.Peer.IsValid() {
			remote = e.Peer
		}
		owner, _ := k.index.At(local.Addr(), e.StartNS)
		if _, shared := owner.(*kube.Node); !shared {
			return
		}
	}
	if owner, _ := k.index.At(remote.Addr(), e.StartNS); owner != nil && owner.On() != "" {
		k.far.tell(owner.On(), e, who)
	}
}

// hear takes what other partitions have told.
func (k *kubernetes) hear(e *proto.Event, who *proto.Endpoint) {
	slack := clientSlack
	if e.Side == proto.SideServer {
		slack = serverSlack
		if who.Pod != "" {
			k.sockets.teach(answered(e.Source), who, e.StartNS, e.EndNS, clientSlack)
		}
	}
	k.sockets.teach(socketOf(0, e, e.Side), who, e.StartNS, e.EndNS, slack)
}

// answered is a client's socket, for finding out which pod a service chose.
func answered(client netip.AddrPort) socket { return serverSocket(0, client, 0).as(answer) }

func (s socket) as(mark uint32) socket {
	s.netns = mark
	return s
}

// place is the node under whose number a local address is known: a cluster's
// own addresses are unique, others mean something on their node only.
func (k *kubernetes) place(e *proto.Event, a netip.Addr) uint32 {
	if e.Process.PodUID != "" && !isLoopback(a) {
		return 0
	}
	if _, ours := k.index.At(a, e.StartNS); ours {
		return 0
	}
	return k.node
}

// Name fills From and To.
func (k *kubernetes) Name(f *proto.Frame) Missing {
	k.index.RLock()
	defer k.index.RUnlock()
	k.begin(f)
	k.far.receive(k.hear)
	missing := Nothing
	for i := range f.Events {
		e := &f.Events[i]
		e.Flags &^= proto.FlagUnresolved | proto.FlagStale
		if k.stale {
			e.Flags |= proto.FlagStale
		}
		local, remote := e.Source, e.Destination
		here, there := &e.From, &e.To
		if e.Side == proto.SideServer {
			local, remote, here, there = remote, local, there, here
		} else if e.Peer.IsValid() {
			remote = e.Peer // NAT hides it behind Destination
		}
		pod, m := k.nameLocal(e, local.Addr(), here)
		missing = max(missing, m, k.nameRemote(e, pod, remote.Addr(), there))
	}
	return missing
}

// local is the workload of the event's process, nil if it isn't known. If the
// process is a pod's, so is the container. Then known is false if the pod's
// workload isn't known.
func (k *kubernetes) local(e *proto.Event) (who *proto.Endpoint, known bool, c kube.Container) {
	p := &e.Process
	if p.Container == "" && p.PodUID == "" {
		who = k.host.local(k.node, k.frame.Node, e)
		return who, who != nil, c
	}
	if c = k.index.Container(p.Container); c.Pod == nil {
		c.Pod = k.index.Pod(p.PodUID)
	}
	if c.Pod == nil {
		if p.PodUID != "" {
			return nil, false, c // not heard of yet
		}
		who = k.host.local(k.node, k.frame.Node, e) // a container beside Kubernetes
		return who, who != nil, c
	}
	who, known = c.Endpoint(e.StartNS)
	return who, known, c
}

func (k *kubernetes) nameLocal(e *proto.Event, a netip.Addr, end *proto.Endpoint) (kube.Container, Missing) {
	who, known, c := k.local(e)
	if who == nil || e.Flags&proto.FlagProcGuess != 0 {
		if found := k.sockets.find(socketOf(k.place(e, a), e, e.Side), e.StartNS, e.EndNS); found != nil {
			who, known = found, true
		}
	}
	if who == nil && e.Process.PodUID == "" { // the agent knows no process: then its address must do
		if owner, _ := k.index.At(a, e.StartNS); owner != nil {
			if p, ok := owner.(*kube.Pod); ok {
				c = kube.Container{Pod: p}
				who, known = c.Endpoint(e.StartNS)
			}
		}
	}
	if who != nil {
		k.set(end, who)
		if known {
			return c, Nothing
		}
		e.Flags |= proto.FlagUnresolved
		return c, Anything
	}
	*end = proto.Endpoint{Namespace: proto.NamespaceHost, Workload: a.Unmap().String(), Kind: kindAddress, Node: k.frame.Node}
	k.set(end, end)
	e.Flags |= proto.FlagUnresolved
	if e.Process.PodUID != "" {
		return c, Anything
	}
	return c, Nothing
}

// set names an end. The zone of processes outside pods is their node's.
func (k *kubernetes) set(end, who *proto.Endpoint) {
	*end = *who
	if end.Zone == "" && end.Node != "" {
		if n := k.index.Node(end.Node); n != nil {
			end.Zone = n.Zone()
		}
	}
}

func (k *kubernetes) nameRemote(e *proto.Event, local kube.Container, a netip.Addr, end *proto.Endpoint) Missing {
	if isLoopback(a) {
		return k.nameLoopback(e, local, a, end)
	}
	owner, ours := k.index.At(a, e.StartNS)
	missing := Nothing
	switch owner := owner.(type) {
	case *kube.Pod:
		if k.seen(end, socketOf(0, e, farSide(e)), e, together) {
			break
		}
		who, known := kube.Container{Pod: owner}.Endpoint(e.StartNS)
		k.set(end, who)
		if !known {
			e.Flags |= proto.FlagUnresolved
			missing = Anything
		}
	case *kube.Service:
		// Which of its pods answered, the pod's own view may say.
		who, d := k.sockets.nearest(answered(e.Source), e.StartNS, e.EndNS)
		if who != nil && d <= together && owner.Serves(who) {
			k.set(end, who)
		} else {
			k.set(end, owner.Endpoint())
			missing = Anything
		}
		end.Service = owner.Name()
		return missing
	case *kube.Node:
		// Host network: the address says no more than the node.
		if !k.seen(end, socketOf(0, e, farSide(e)), e, far-1) {
			k.set(end, owner.Endpoint())
			missing = Anything
		}
	default:
		missing = k.nameStranger(e, a, ours, end)
	}
	if e.Side == proto.SideClient && e.Peer.IsValid() {
		if via, _ := k.index.At(e.Destination.Addr(), e.StartNS); via != nil {
			if s, ok := via.(*kube.Service); ok {
				end.Service = s.Name()
			}
		}
	}
	return missing
}

// seen names an end by what was seen at its own socket, at most so far off.
func (k *kubernetes) seen(end *proto.Endpoint, s socket, e *proto.Event, most int64) bool {
	who, d := k.sockets.nearest(s, e.StartNS, e.EndNS)
	if who == nil || d > most {
		return false
	}
	k.set(end, who)
	return true
}

// nameLoopback names the other end of traffic that doesn't leave a network
// namespace: that of a pod, or of its node.
func (k *kubernetes) nameLoopback(e *proto.Event, local kube.Container, a netip.Addr, end *proto.Endpoint) Missing {
	if k.seen(end, socketOf(k.node, e, farSide(e)), e, far-1) {
		return Nothing
	}
	if local.Pod != nil && !local.Pod.HostNetwork() {
		who, known := kube.Container{Pod: local.Pod}.Endpoint(e.StartNS)
		k.set(end, who)
		if known {
			return Nothing
		}
	} else {
		k.nameNode(a, end)
	}
	e.Flags |= proto.FlagUnresolved
	return NextFrame
}

// nameNode names an end that is somewhere on the frame's node.
func (k *kubernetes) nameNode(a netip.Addr, end *proto.Endpoint) {
	if n := k.index.Node(k.frame.Node); n != nil {
		k.set(end, n.Endpoint())
		return
	}
	k.set(end, k.host.externalEnd(a))
}

// nameStranger names an end whose address is nobody's at the time. It may have
// been seen at its own socket: of a pod whose address the API has yet to hear
// of, or of something beside Kubernetes.
func (k *kubernetes) nameStranger(e *proto.Event, a netip.Addr, ours bool, end *proto.Endpoint) Missing {
	if k.seen(end, socketOf(0, e, farSide(e)), e, together) {
		return Nothing
	}
	s := socketOf(k.node, e, farSide(e))
	if !ours && k.seen(end, s, e, far-1) {
		return Nothing
	}
	if k.sockets.isLocal(s, a) {
		k.nameNode(a, end)
		e.Flags |= proto.FlagUnresolved
		return NextFrame
	}
	if !ours && k.isExternal(a, e.StartNS) {
		k.host.nameOutside(e, a, end)
		return Nothing
	}
	*end = *k.host.externalEnd(a)
	e.Flags |= proto.FlagUnresolved
	return Anything
}

// isExternal tells whether an address that is nobody's can't be a pod's.
func (k *kubernetes) isExternal(a netip.Addr, t int64) bool {
	a = a.Unmap()
	if a.Is4() && !a.IsPrivate() && !sharedSpace.Contains(a) || !a.IsGlobalUnicast() {
		return true
	}
	if k.stale || t < k.since {
		return false
	}
	now := k.now().UnixNano()
	first, ok := k.strangers[a]
	if !ok {
		if len(k.strangers) >= maxStrangers {
			clear(k.strangers)
		}
		k.strangers[a], first = now, now
	}
	return now-first > proven
}

// sharedSpace is RFC 6598's, which some clouds give to pods.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
