package enricher

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirstream/weir/proto"
)

const start = int64(1_700_000_000e9)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// seen makes an event at one end of an exchange that ended at start + end.
func seen(side proto.Side, process proto.Process, source, destination string, end time.Duration) proto.Event {
	e := proto.Event{
		Side: side, Source: addr(source), Destination: addr(destination), Process: process, NetNS: 1,
		EndNS: start + int64(end), ProcessingNS: 1e6,
	}
	e.StartNS = e.EndNS - e.ProcessingNS
	return e
}

func frame(events ...proto.Event) *proto.Frame { return &proto.Frame{Node: "n1", Events: events} }

var (
	nginx  = proto.Process{PID: 10, Name: "nginx", Unit: "nginx.service"}
	curl   = proto.Process{PID: 20, Name: "curl", Unit: "session-3.scope"}
	docker = proto.Process{PID: 30, Name: "python", Unit: "docker-abc.scope", Container: "0123456789abcdef0123456789abcdef"}
)

func names(p *proto.Endpoint) string { return p.Namespace + "/" + p.Workload + "/" + p.Kind }

func check(t *testing.T, e *proto.Event, from, to string) {
	t.Helper()
	if names(&e.From) != from || names(&e.To) != to {
		t.Errorf("%s → %s, want %s → %s", names(&e.From), names(&e.To), from, to)
	}
}

func TestLocalNames(t *testing.T) {
	for _, tt := range []struct {
		process proto.Process
		want    string
	}{
		{nginx, "host/nginx/unit"},
		{curl, "host/curl/process"},
		{docker, "host/0123456789ab/container"},
		{proto.Process{Name: "x", Container: "0123456789abcdef0123456789abcdef", ContainerName: "shop-cart"}, "host/shop-cart/container"},
		{proto.Process{Name: "go", Unit: "user@1000.service"}, "host/go/process"},
		{proto.Process{Name: "pg", Unit: "postgresql@15-main.service"}, "host/postgresql@15-main/unit"},
		{proto.Process{Name: "Web Content *"}, "host/Web Content */process"},
		{proto.Process{Name: "x", Container: "short"}, "host/short/container"},
		{proto.Process{PID: 1}, "host/10.0.0.1/address"},
	} {
		h := newHost()
		f := frame(seen(proto.SideServer, tt.process, "203.0.113.9:5000", "10.0.0.1:80", 0))
		h.Learn(f)
		if open := h.Name(f); open != 0 {
			t.Errorf("%v: %d ends open", tt.process, open)
		}
		check(t, &f.Events[0], "external/203.0.113.9/address", tt.want)
		if unresolved := f.Events[0].Flags&proto.FlagUnresolved != 0; unresolved != (tt.process.Name == "") {
			t.Errorf("%v: unresolved %v", tt.process, unresolved)
		}
	}
}

// The kernel gives one local port to two clients that connect to different
// servers.
func TestOnePortOfTwoClients(t *testing.T) {
	h := newHost()
	wget := proto.Process{PID: 21, Name: "wget"}
	f := frame(
		seen(proto.SideClient, curl, "127.0.0.1:4000", "127.0.0.1:80", time.Millisecond),
		seen(proto.SideClient, wget, "127.0.0.1:4000", "127.0.0.1:81", time.Millisecond),
		seen(proto.SideServer, nginx, "127.0.0.1:4000", "127.0.0.1:80", 0),
		seen(proto.SideServer, docker, "127.0.0.1:4000", "127.0.0.1:81", 0),
	)
	h.Learn(f)
	if open := h.Name(f); open != 0 {
		t.Errorf("%d ends open", open)
	}
	for i, want := range [][2]string{
		{"host/curl/process", "host/nginx/unit"}, {"host/wget/process", "host/0123456789ab/container"},
		{"host/curl/process", "host/nginx/unit"}, {"host/wget/process", "host/0123456789ab/container"},
	} {
		check(t, &f.Events[i], want[0], want[1])
	}
}

// Both ends of an exchange within the node are named, whichever is seen first
// in the frame, also behind NAT and over IPv6.
func TestBothEndsAreLocal(t *testing.T) {
	for _, tt := range []struct{ source, destination, peer string }{
		{"127.0.0.1:4000", "127.0.0.1:80", ""},
		{"[::1]:4000", "[::1]:80", ""},
		{"10.0.0.1:4000", "10.0.0.1:80", ""},
		{"10.0.0.1:4000", "172.17.0.2:8080", "172.17.0.2:8080"},
	} {
		client := seen(proto.SideClient, curl, tt.source, tt.destination, time.Millisecond)
		if tt.peer != "" {
			client.Destination, client.Peer = addr("10.96.0.1:80"), addr(tt.peer)
		}
		server := seen(proto.SideServer, nginx, tt.source, tt.destination, 0)
		for _, f := range []*proto.Frame{frame(client, server), frame(server, client)} {
			h := newHost()
			h.Learn(f)
			if open := h.Name(f); open != 0 {
				t.Errorf("%v: %d ends open", tt, open)
			}
			for i := range f.Events {
				check(t, &f.Events[i], "host/curl/process", "host/nginx/unit")
			}
		}
	}
}

// An end on the node stays open until a later frame names it.
func TestOpenEnds(t *testing.T) {
	h := newHost()
	server := frame(seen(proto.SideServer, nginx, "127.0.0.1:4000", "127.0.0.1:80", 0))
	h.Learn(server)
	if open := h.Name(server); open != 1 || server.Events[0].Flags&proto.FlagUnresolved == 0 {
		t.Errorf("%d ends open, flags %d", open, server.Events[0].Flags)
	}
	check(t, &server.Events[0], "external/127.0.0.1/address", "host/nginx/unit")
	h.Learn(frame(seen(proto.SideClient, curl, "127.0.0.1:4000", "127.0.0.1:80", 0)))
	if open := h.Name(server); open != 0 || server.Events[0].Flags&proto.FlagUnresolved != 0 {
		t.Errorf("%d ends open, flags %d", open, server.Events[0].Flags)
	}
	check(t, &server.Events[0], "host/curl/process", "host/nginx/unit")

	// An address that was seen at a local socket is the node's own.
	h.Learn(frame(seen(proto.SideServer, nginx, "203.0.113.9:1", "10.0.0.1:80", 0)))
	other := frame(seen(proto.SideClient, curl, "10.0.0.1:4001", "10.0.0.1:81", 0))
	if open := h.Name(other); open != 1 {
		t.Errorf("%d ends open", open)
	}
}

// A port that another process uses later is not named after the first, nor
// are events of the first that come late named after the second.
func TestReusedPorts(t *testing.T) {
	h := newHost()
	at := func(end time.Duration) *proto.Frame {
		return frame(seen(proto.SideServer, nginx, "127.0.0.1:4000", "127.0.0.1:80", end))
	}
	h.Learn(frame(
		seen(proto.SideClient, curl, "127.0.0.1:4000", "127.0.0.1:80", 0),
		seen(proto.SideClient, docker, "127.0.0.1:4000", "127.0.0.1:80", time.Second),
	))
	for _, tt := range []struct {
		end  time.Duration
		want string
	}{
		{0, "host/curl/process"},
		{100 * time.Millisecond, "host/curl/process"},
		{900 * time.Millisecond, "host/0123456789ab/container"},
		{time.Second, "host/0123456789ab/container"},
		{5 * time.Second, "external/127.0.0.1/address"}, // whose by then is not known
	} {
		f := at(tt.end)
		h.Name(f)
		check(t, &f.Events[0], tt.want, "host/nginx/unit")
	}
}

// Loopback addresses mean something within a network namespace and a node only.
func TestNamespacesAndNodesAreApart(t *testing.T) {
	h := newHost()
	h.Learn(frame(seen(proto.SideServer, nginx, "127.0.0.1:4000", "127.0.0.1:80", 0)))
	client := seen(proto.SideClient, curl, "127.0.0.1:4000", "127.0.0.1:80", 0)
	elsewhere := client
	elsewhere.NetNS = 2
	f := frame(client, elsewhere)
	other := frame(client)
	other.Node = "n2"
	h.Name(f)
	h.Name(other)
	check(t, &f.Events[0], "host/curl/process", "host/nginx/unit")
	check(t, &f.Events[1], "host/curl/process", "external/127.0.0.1/address")
	check(t, &other.Events[0], "host/curl/process", "external/127.0.0.1/address")
	if f.Events[0].From.Node != "n1" || other.Events[0].From.Node != "n2" {
		t.Errorf("nodes %q, %q", f.Events[0].From.Node, other.Events[0].From.Node)
	}
}

func TestGuessesDoNotOverrule(t *testing.T) {
	h := newHost()
	sure := seen(proto.SideServer, nginx, "203.0.113.9:1", "10.0.0.1:80", 0)
	guess := seen(proto.SideServer, curl, "203.0.113.9:1", "10.0.0.1:80", time.Second)
	guess.Flags = proto.FlagProcGuess
	f := frame(sure, guess)
	h.Learn(f)
	h.Name(f)
	check(t, &f.Events[1], "external/203.0.113.9/address", "host/nginx/unit")
}

// Memory is bounded, whatever comes: a million ports, processes, addresses.
func TestBounds(t *testing.T) {
	h := newHost()
	for i := range 300_000 {
		p := proto.Process{PID: uint32(i), Name: fmt.Sprint("p", i)}
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i))
		e := proto.Event{Side: proto.SideClient, Process: p, Source: a, Destination: a, StartNS: start, EndNS: start}
		f := frame(e)
		h.Learn(f)
		h.Name(f)
	}
	if n := len(h.sockets.young) + len(h.sockets.old); n > 2*maxSockets {
		t.Errorf("%d sockets", n)
	}
	if len(h.sockets.local) > maxSockets || len(h.identities) > maxIdentities {
		t.Errorf("%d addresses, %d identities", len(h.sockets.local), len(h.identities))
	}
}

func BenchmarkName(b *testing.B) {
	h := newHost()
	f := frame()
	for i := range 1024 {
		c := fmt.Sprintf("127.0.0.1:%d", 4000+i/64)
		f.Events = append(f.Events,
			seen(proto.SideServer, nginx, c, "127.0.0.1:80", 0), seen(proto.SideClient, curl, c, "127.0.0.1:80", 0))
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Learn(f)
		h.Name(f)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(f.Events)), "ns/event")
}
