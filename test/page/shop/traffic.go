package shop

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirstream/weir/proto"
)

// Hostile is text that becomes a script where a page is careless. It is the
// name of a workload and part of a route.
const Hostile = `<img src=x onerror="window.hacked=1">`

// call is what one service asks of another.
type call struct {
	from, to      int // indices of services; from -1 is an address outside
	method, route string
	weight        int
	median        time.Duration
	errors        float64
	wait          bool // a queue of its own grows and shrinks
}

var names = []string{"frontend", "catalogue", "cart", "stock", "payment", "checkout", "ledger", "web probe", Hostile}

var calls = []call{
	{-1, 0, "GET", "/", 30, 22 * time.Millisecond, 0.001, false},
	{-1, 0, "GET", "/product/{id}", 40, 31 * time.Millisecond, 0.002, false},
	{-1, 0, "POST", "/checkout", 8, 140 * time.Millisecond, 0.012, false},
	{0, 1, "GET", "/items", 35, 6 * time.Millisecond, 0, false},
	{0, 1, "GET", "/items/{id}", 55, 3 * time.Millisecond, 0.001, false},
	{0, 2, "GET", "/cart/{id}", 30, 4 * time.Millisecond, 0, false},
	{0, 2, "PUT", "/cart/{id}/items", 12, 7 * time.Millisecond, 0.002, false},
	{0, 5, "POST", "/orders", 8, 120 * time.Millisecond, 0.01, false},
	{1, 3, "GET", "/stock/{id}", 60, 1800 * time.Microsecond, 0.02, false},
	{2, 3, "GET", "/stock/{id}", 20, 1900 * time.Microsecond, 0.02, false},
	{5, 4, "POST", "/pay", 8, 34 * time.Millisecond, 0.015, true},
	{5, 2, "DELETE", "/cart/{id}", 8, 5 * time.Millisecond, 0, false},
	{4, 6, "POST", "/entries", 8, 2 * time.Millisecond, 0, false},
	{7, 0, "GET", "/healthz", 2, 400 * time.Microsecond, 0, false},
	{8, 0, "GET", "/" + Hostile, 1, 9 * time.Millisecond, 0.5, false},
}

// traffic makes the requests of the shop. The same seed makes the same.
type traffic struct {
	r     *rand.Rand
	total int // of weights
}

func newTraffic(seed uint64) *traffic {
	t := &traffic{r: rand.New(rand.NewPCG(seed, 7))}
	for _, c := range calls {
		t.total += c.weight
	}
	return t
}

// second makes about n requests that ended in the second before end, each at
// both its ends.
func (t *traffic) second(n int, end time.Time) []proto.Event {
	events := make([]proto.Event, 0, 2*n+2)
	for _, c := range calls {
		share := float64(n*c.weight) / float64(t.total)
		for k := int(share + t.r.Float64()); k > 0; k-- {
			server, client := t.request(&c, end.Add(-time.Duration(t.r.Int64N(int64(time.Second)))))
			events = append(events, server)
			if c.from >= 0 {
				events = append(events, client)
			}
		}
	}
	return events
}

// queue is how busy payment is: it comes and goes with a period of 20 minutes.
func queue(at time.Time) float64 {
	phase := math.Mod(float64(at.Unix())/1200, 1)
	return math.Pow(math.Max(0, math.Sin(2*math.Pi*phase)), 3)
}

func (t *traffic) request(c *call, end time.Time) (server, client proto.Event) {
	spread := func(median time.Duration, sigma float64) int64 {
		return int64(math.Exp(t.r.NormFloat64()*sigma)*float64(median)) + 1
	}
	processing, transfer := spread(c.median, 0.35), spread(60*time.Microsecond, 0.6)
	wait := spread(40*time.Microsecond, 0.8)
	if c.wait {
		wait += spread(time.Duration(queue(end)*300*float64(time.Millisecond))+time.Millisecond, 0.5)
	}
	if t.r.IntN(150) == 0 {
		processing *= 8 // a collector, a cold cache
	}
	status := uint32(200)
	if t.r.Float64() < c.errors*(1+9*queue(end)) {
		status = []uint32{500, 503, 404}[t.r.IntN(3)]
	}
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + t.r.IntN(3))}), uint16(30000+t.r.IntN(999)))
	if c.from >= 0 {
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20000+c.from*1000+c.to*50+t.r.IntN(8)))
	}
	server = proto.Event{
		Side: proto.SideServer, Protocol: "http", EndNS: end.UnixNano(),
		WaitNS: wait, ProcessingNS: processing, TransferNS: transfer,
		RequestBytes: uint64(180 + t.r.IntN(900)), ResponseBytes: uint64(300 + t.r.IntN(40000)),
		Method: c.method, Route: c.route, Status: status,
		Source: from, Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(8000+c.to)),
		NetNS: 1, Process: process(c.to),
		TraceID: fmt.Sprintf("%016x%016x", t.r.Uint64(), t.r.Uint64()), SpanID: fmt.Sprintf("%016x", t.r.Uint64()),
	}
	if status >= 500 {
		server.Error = strconv.Itoa(int(status))
	}
	server.StartNS = server.EndNS - wait - processing - transfer
	if c.from < 0 {
		return server, client
	}
	client = server
	client.Side, client.Process = proto.SideClient, process(c.from)
	client.EndNS += 80_000
	client.WaitNS, client.ProcessingNS = 0, wait+processing+120_000
	client.StartNS = client.EndNS - client.ProcessingNS - client.TransferNS
	if status >= 400 {
		client.Error = strconv.Itoa(int(status))
	}
	return server, client
}

func process(service int) proto.Process {
	name := names[service]
	return proto.Process{PID: uint32(100 + service), Name: name[:min(len(name), 15)], Unit: name + ".service"}
}
