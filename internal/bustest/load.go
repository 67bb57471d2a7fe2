package bustest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// Load makes the frames of a node on which services call each other: every
// call is seen at its server and at its client. The same seed gives the same
// frames.
type Load struct {
	Node  string
	Epoch proto.Epoch

	r      *rand.Rand
	seq    uint64
	before uint64
	want   Windows
}

// NewLoad begins at frame 1 of the epoch.
func NewLoad(node string, epoch proto.Epoch, seed uint64) *Load {
	return &Load{Node: node, Epoch: epoch, r: rand.New(rand.NewPCG(seed, 1)), want: make(Windows)}
}

// Services that Load knows, and where they listen.
var services = []string{"front", "cart", "catalogue", "payment", "stock"}

// Next makes a raw frame of n events (an even number: pairs of server and
// client side) that ended during the second before endNS.
func (l *Load) Next(n int, endNS int64) *proto.Frame {
	l.seq++
	f := &proto.Frame{
		Cluster: "test", Node: l.Node, Epoch: l.Epoch, Seq: l.seq, Before: l.before,
		WatermarkNS: endNS, Events: make([]proto.Event, 0, n),
	}
	for len(f.Events) < n {
		server, client := l.call(endNS - l.r.Int64N(1e9))
		f.Events = append(f.Events, server, client)
		l.expect(&server)
		l.expect(&client)
	}
	l.before += uint64(len(f.Events))
	return f
}

// Want is what all frames made so far sum up to, without peers.
func (l *Load) Want() Windows { return l.want }

// Add expects windows of an earlier life of the node, too.
func (l *Load) Add(want Windows) {
	for k, h := range want {
		if l.want[k] == nil {
			l.want[k] = new(histogram.Histogram)
		}
		l.want[k].Merge(h)
	}
}

func (l *Load) expect(e *proto.Event) {
	k := Key{
		StartNS: e.EndNS / proto.WindowNS * proto.WindowNS, Side: e.Side, Workload: e.Process.Name,
		Method: e.Method, Route: e.Route, Status: strconv.Itoa(int(e.Status)), Error: e.Error,
	}
	if l.want[k] == nil {
		l.want[k] = new(histogram.Histogram)
	}
	l.want[k].Record(e.DurationNS())
}

// call makes one call between two services, at its server and its client.
func (l *Load) call(endNS int64) (server, client proto.Event) {
	from := l.r.IntN(len(services))
	to := (from + 1 + l.r.IntN(2)) % len(services)
	wait := int64(math.Exp(l.r.NormFloat64()+10) + 1)
	processing := int64(math.Exp(l.r.NormFloat64()+14) + 1)
	transfer := int64(l.r.IntN(100_000))
	status := uint32(200)
	switch l.r.IntN(50) {
	case 0:
		status = 404
	case 1:
		status = 500
	}
	server = proto.Event{
		Side: proto.SideServer, Protocol: "http", EndNS: endNS,
		WaitNS: wait, ProcessingNS: processing, TransferNS: transfer,
		RequestBytes: uint64(l.r.IntN(2000)), ResponseBytes: uint64(l.r.IntN(20000)),
		Method: "GET", Route: "/" + services[to] + "/{id}/" + strconv.Itoa(min(l.r.IntN(8), l.r.IntN(8))), Status: status,
		Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20000+from*1000+to*100+l.r.IntN(8))),
		Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(8000+to)),
		NetNS:       1, Process: process(to),
	}
	if status >= 500 {
		server.Error = strconv.Itoa(int(status))
	}
	if l.r.IntN(100) == 0 {
		server.TraceID, server.SpanID = fmt.Sprintf("%032x", l.r.Uint64()), fmt.Sprintf("%016x", l.r.Uint64())
	}
	client = server
	client.Side, client.Process = proto.SideClient, process(from)
	client.EndNS += 50_000
	client.WaitNS, client.ProcessingNS = 0, wait+processing+60_000
	if status >= 400 {
		client.Error = strconv.Itoa(int(status))
	}
	server.StartNS = server.EndNS - server.WaitNS - server.ProcessingNS - server.TransferNS
	client.StartNS = client.EndNS - client.WaitNS - client.ProcessingNS - client.TransferNS
	return server, client
}

// Enrich names both ends as the enricher would.
func Enrich(f *proto.Frame) {
	f.Enriched = true
	for i := range f.Events {
		e := &f.Events[i]
		e.From = workload(f.Node, services[(int(e.Source.Port())-20000)/1000])
		e.To = workload(f.Node, services[int(e.Destination.Port())-8000])
	}
}

func workload(node, name string) proto.Endpoint {
	return proto.Endpoint{Namespace: proto.NamespaceHost, Workload: name, Kind: "unit", Node: node}
}

func process(service int) proto.Process {
	return proto.Process{PID: uint32(100 + service), Name: services[service], Unit: services[service] + ".service"}
}
