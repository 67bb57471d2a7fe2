package enricher

import (
	"context"
	"strings"
	"sync"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	maxLetters = 64      // that wait to be read: each is at most a frame
	maxNames   = 1 << 14 // of ends that others told of, kept once each
)

// neighbours are the other partitions, to tell and to hear whose the sockets
// are. Telling is at most once: what gets lost leaves an end with the name of
// its service or its node. Its zero value, and nil, know of no others.
type neighbours struct {
	bus        *bus.Conn
	m          *metrics
	own        uint32
	partitions uint32
	stop       func()

	out   [proto.MaxPartitions]*proto.Frame // of the frame being learned from
	names map[proto.Endpoint]*proto.Endpoint
	in    proto.Frame
	buf   []byte

	mu      sync.Mutex
	letters [][]byte
}

// meet subscribes to what others tell the partition, until leave is called.
// It returns nil if there are no others.
func meet(ctx context.Context, c *bus.Conn, m *metrics, own, partitions uint32) *neighbours {
	if partitions == 1 {
		return nil
	}
	n := &neighbours{bus: c, m: m, own: own, partitions: partitions, names: map[proto.Endpoint]*proto.Endpoint{}}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		// It fails only when the connection is closed, which others report.
		_ = c.Subscribe(ctx, "", proto.SeenSubject(own), func(m bus.Message) { n.put(m.Data) })
	})
	n.stop = func() { cancel(); done.Wait() }
	return n
}

func (n *neighbours) leave() {
	if n != nil {
		n.stop()
	}
}

func (n *neighbours) put(letter []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.letters) < maxLetters {
		n.letters = append(n.letters, letter)
	}
}

// tell notes for the partition of a node that the event's local end is who.
func (n *neighbours) tell(node string, e *proto.Event, who *proto.Endpoint) {
	p := proto.Partition(node, n.partitions)
	if p == n.own {
		return
	}
	f := n.out[p]
	if f == nil {
		f = &proto.Frame{Enriched: true}
		n.out[p] = f
	}
	sighting := proto.Event{
		Side: e.Side, StartNS: e.StartNS, EndNS: e.EndNS, ProcessingNS: e.DurationNS(),
		Source: e.Source, Destination: e.Destination, Peer: e.Peer, NetNS: e.NetNS,
	}
	if e.Side == proto.SideServer {
		sighting.To = *who
	} else {
		sighting.From = *who
	}
	f.Events = append(f.Events, sighting)
}

// send sends what was noted while learning from a frame.
func (n *neighbours) send(from *proto.Frame) {
	if n == nil {
		return
	}
	for p, f := range n.out {
		if f == nil || len(f.Events) == 0 {
			continue
		}
		f.Cluster, f.Node, f.Partition, f.Epoch, f.Seq = from.Cluster, from.Node, from.Partition, from.Epoch, from.Seq
		if data, err := f.Append(n.buf[:0]); err == nil { // else it is too large with names
			n.buf = data
			_ = n.bus.Tell(proto.SeenSubject(uint32(p)), data) // fails when closed, as all else then does
		}
		f.Events = f.Events[:0]
	}
}

// receive calls hear for every sighting that others have told of.
func (n *neighbours) receive(hear func(e *proto.Event, who *proto.Endpoint)) {
	if n == nil {
		return
	}
	n.mu.Lock()
	letters := n.letters
	n.letters = nil
	n.mu.Unlock()
	for _, data := range letters {
		if n.in.Decode(data) != nil {
			n.m.undecodable.Inc()
			continue
		}
		for i := range n.in.Events {
			e := &n.in.Events[i]
			who := &e.From
			if e.Side == proto.SideServer {
				who = &e.To
			}
			hear(e, n.name(who))
		}
		n.m.heard.Add(float64(len(n.in.Events)))
	}
}

// name is the one copy of an end's name. It doesn't keep the frame it is from.
func (n *neighbours) name(e *proto.Endpoint) *proto.Endpoint {
	if known := n.names[*e]; known != nil {
		return known
	}
	if len(n.names) >= maxNames {
		clear(n.names)
	}
	own := *e
	for _, s := range []*string{
		&own.Namespace, &own.Workload, &own.Kind, &own.Pod, &own.Service, &own.Node, &own.Zone, &own.Container,
	} {
		*s = strings.Clone(*s)
	}
	n.names[own] = &own
	return &own
}
