package enricher

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/weirstream/weir/proto"
)

const (
	maxSockets = 1 << 16 // in each of two generations: about 10 MB

	// How long before and after it was seen in use a socket is taken to
	// belong to the same workload. A port of a client is soon another's.
	clientSlack = int64(2 * time.Second)
	serverSlack = int64(time.Hour)
)

// socket is the local end of a connection. Loopback addresses mean something
// only within a network namespace. A client's socket has the server's address
// too: the kernel gives one local port to several clients, if they connect to
// different servers. A server's has none.
type socket struct {
	addr    [16]byte
	far     [16]byte
	node    uint32
	netns   uint32
	port    uint16
	farPort uint16
}

func serverSocket(node uint32, a netip.AddrPort, netns uint32) socket {
	s := socket{addr: a.Addr().As16(), node: node, port: a.Port()}
	if isLoopback(a.Addr()) {
		s.netns = netns
	}
	return s
}

func clientSocket(node uint32, a, server netip.AddrPort, netns uint32) socket {
	s := serverSocket(node, a, netns)
	if server.IsValid() {
		s.far, s.farPort = server.Addr().As16(), server.Port()
	}
	return s
}

func isLoopback(a netip.Addr) bool { return a.Unmap().IsLoopback() }

// span is an interval of event time in which a socket was who's.
type span struct {
	who         *proto.Endpoint
	first, last int64
	slack       int64
}

// distance is how far the interval is from the span, or far if it is too far.
func (s *span) distance(start, end int64) int64 {
	if s.who == nil {
		return far
	}
	if d := max(start-s.last, s.first-end, 0); d <= s.slack {
		return d
	}
	return far
}

const far = math.MaxInt64

// owners are the last two workloads that had a socket: a port may be used
// again while events of its previous owner are still to be named.
type owners struct {
	now, before span
	told        int64 // when it was last told to another partition, in event time
}

// isNews tells whether another partition is to be told of an event that ended
// then, and takes it that it is.
func (o *owners) isNews(end int64) bool {
	if end-o.told < together/2 {
		return false
	}
	o.told = end
	return true
}

// sockets remembers whose the sockets of a partition's nodes were. It is
// bounded: what was not used during the last maxSockets insertions is forgotten.
type sockets struct {
	young, old map[socket]*owners
	nodes      map[string]uint32
	local      map[socket]struct{} // addresses (port 0) of the nodes
	lastLocal  [256]socket
	recent     [512]recent // in front of the maps
}

// recent is a socket that was looked up lately: few are busy at a time.
type recent struct {
	socket socket
	owners *owners
}

func newSockets() *sockets {
	return &sockets{
		young: make(map[socket]*owners),
		nodes: make(map[string]uint32),
		local: make(map[socket]struct{}),
	}
}

// node numbers the nodes, from 1.
func (t *sockets) node(name string) uint32 {
	n, ok := t.nodes[name]
	if !ok {
		n = uint32(len(t.nodes)) + 1
		t.nodes[strings.Clone(name)] = n
	}
	return n
}

// teach says that during [start, end] the socket was who's.
func (t *sockets) teach(s socket, who *proto.Endpoint, start, end, slack int64) *owners {
	t.teachLocal(s)
	o := t.get(s)
	if o == nil {
		o = new(owners)
		t.put(s, o)
	}
	switch {
	case o.now.who != nil && (o.now.who == who || *o.now.who == *who):
		o.now.first, o.now.last = min(o.now.first, start), max(o.now.last, end)
		o.now.slack = slack
	case o.before.who != nil && o.before.distance(start, end) == 0 && *o.before.who == *who:
		// An event of the previous owner that comes late.
	default:
		o.before, o.now, o.told = o.now, span{who, start, end, slack}, 0
	}
	return o
}

// find returns whose the socket was during [start, end], or nil.
func (t *sockets) find(s socket, start, end int64) *proto.Endpoint {
	who, _ := t.nearest(s, start, end)
	return who
}

// nearest also tells how far from [start, end] it was seen to be theirs.
func (t *sockets) nearest(s socket, start, end int64) (*proto.Endpoint, int64) {
	o := t.get(s)
	if o == nil {
		return nil, far
	}
	now, before := o.now.distance(start, end), o.before.distance(start, end)
	switch {
	case now == far && before == far:
		return nil, far
	case before < now:
		return o.before.who, before
	}
	return o.now.who, now
}

func (t *sockets) get(s socket) *owners {
	r := &t.recent[(uint32(s.port^s.port>>9^s.farPort)^uint32(s.addr[15])^s.netns)%uint32(len(t.recent))]
	if r.owners != nil && r.socket == s {
		return r.owners
	}
	o, ok := t.young[s]
	if !ok {
		if o, ok = t.old[s]; ok {
			t.put(s, o)
		}
	}
	if ok {
		*r = recent{s, o}
	}
	return o
}

func (t *sockets) put(s socket, o *owners) {
	if len(t.young) >= maxSockets {
		t.old, t.young = t.young, make(map[socket]*owners, maxSockets)
	}
	t.young[s] = o
}

// host is the address alone.
func (s socket) host() socket { return socket{addr: s.addr, node: s.node} }

// teachLocal remembers that the socket's address is the node's own.
func (t *sockets) teachLocal(s socket) {
	s = s.host()
	slot := &t.lastLocal[(s.addr[15]^s.addr[14]<<4)+byte(s.node)]
	if *slot == s {
		return
	}
	*slot = s
	if len(t.local) >= maxSockets {
		clear(t.local)
	}
	t.local[s] = struct{}{}
}

// isLocal tells whether the address is one of the node's.
func (t *sockets) isLocal(s socket, a netip.Addr) bool {
	if isLoopback(a) {
		return true
	}
	_, ok := t.local[s.host()]
	return ok
}
