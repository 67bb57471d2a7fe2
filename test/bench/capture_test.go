package bench

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

const pairs = 3

// throughput runs wrk against nginx with the agent off and on, in turns, and
// takes the median of the ratios. In one more run the kernel keeps the time of
// BPF programs, which costs something itself.
func throughput(t *testing.T, out *table) {
	nginx := servers.Start(t, servers.Nginx())
	c := machine.Idle(t)
	var ratios, offs []float64
	for range pairs {
		off := wrk(t, nginx, "off")
		c.StartAgent()
		on := wrk(t, nginx, "on")
		c.Agent.Stop(10 * time.Second)
		ratios = append(ratios, float64(on)/float64(off))
		offs = append(offs, float64(off)/spell().Seconds())
	}
	slices.Sort(ratios)
	slices.Sort(offs)
	out.atLeast(fmt.Sprintf("nginx under wrk, agent on / off (off: %.0f requests/s)", offs[pairs/2]), ratios[pairs/2], 0.9, "%.2f")

	c.StartAgent()
	before := rig.ReadBPF(t)
	stats := rig.EnableBPFStats(t)
	cpu := c.Agent.CPU()
	requests := wrk(t, nginx, "cost")
	cpu = c.Agent.CPU() - cpu
	kernel := rig.ReadBPF(t).Since(before)
	nothing := rig.AttachNothing(t, rig.CGroup2(t))
	wrkFor(t, nginx, "nothing", time.Second)
	kernel.Time -= time.Duration(kernel.Runs) * nothing() // what keeping the time takes
	stats()
	exchanges := float64(2 * requests) // seen on both sides
	out.atMost(fmt.Sprintf("capture's CPU per exchange seen on one side, µs (kernel %.2f, agent %.2f; %.0f exchanges/s)",
		kernel.Time.Seconds()*1e6/exchanges, cpu.Seconds()*1e6/exchanges, exchanges/spell().Seconds()),
		(kernel.Time+cpu).Seconds()*1e6/exchanges, 3, "%.2f")
	traced := rig.SystemCallLinks(t)
	if traced > 0 {
		t.Errorf("%d programs attached to system calls", traced)
	}
	out.add("system calls with a program attached", "none", strconv.Itoa(traced), 0)
}

// wrk returns how many requests were answered.
func wrk(t *testing.T, server *servers.Server, name string) int {
	t.Helper()
	return wrkFor(t, server, name, spell())
}

var wrkRequests = regexp.MustCompile(`(\d+) requests in`)

func wrkFor(t *testing.T, server *servers.Server, name string, d time.Duration) int {
	t.Helper()
	out, err := exec.Command("wrk", "-t1", "-c32", fmt.Sprintf("-d%d", int(d.Seconds())),
		"http://"+server.Addr()+"/"+name+"/bytes/6").CombinedOutput()
	match := wrkRequests.FindSubmatch(out)
	if err != nil || match == nil || strings.Contains(string(out), "Socket errors") {
		t.Fatalf("run wrk: %v\n%s", err, out)
	}
	n, _ := strconv.Atoi(string(match[1]))
	return n
}

// ignored measures what a packet costs on a connection that isn't HTTP, once
// that is known.
func ignored(t *testing.T, out *table) {
	c := machine.Idle(t)
	c.StartAgent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			defer conn.Close()
			buf := make([]byte, 64)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err := conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo := func(turns int) {
		buf := make([]byte, 64)
		for range turns {
			if _, err := conn.Write([]byte("\x00not http")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	echo(100)
	defer rig.EnableBPFStats(t)()
	before := rig.ReadBPF(t)
	echo(50_000)
	cost := rig.ReadBPF(t).Since(before).PerPacket()
	nothing := rig.AttachNothing(t, rig.CGroup2(t))
	echo(50_000)
	out.atMost(fmt.Sprintf("a packet of an ignored socket, ns (without the %d ns that keeping the time takes)", nothing()),
		float64(cost-nothing()), 80, "%.0f")
}

// memory holds 10,000 connections with 10,000 requests/s on them.
func memory(t *testing.T, out *table) {
	c := machine.Idle(t)
	c.StartAgent()
	server := servers.Start(t, servers.Go())
	const conns = 10_000
	r, err := load.Run(context.Background(), load.Plan{
		Addr: server.Addr(), Conns: conns, Requests: conns + 10_000*int(spell().Seconds()), Rate: 10_000,
		Mix: []load.Request{{Path: "/memory/bytes/6"}}})
	if err != nil || r.Failed > 0 {
		t.Fatalf("%v %v", err, r.Err)
	}
	out.atMost(fmt.Sprintf("agent's memory, %d connections, %.0f requests/s, MiB", conns, float64(r.Done)/r.Elapsed.Seconds()),
		float64(c.Agent.RSS())/(1<<20), 96, "%.0f")
}

// complete compares what wrk counted with what arrives, and how late.
func complete(t *testing.T, capture, pipeline *table) {
	nginx := servers.Start(t, servers.Nginx())
	up := machine.Up(t)
	late := lateness(t, up.NATS)
	requests := wrk(t, nginx, "complete")
	steady(t, nginx, 12*time.Second)
	up.Streams().Settle(time.Minute)
	rows := up.Streams().Latency()
	for _, side := range []string{"server", "client"} {
		counted := rig.Count(rig.Case(rows, "complete", side))
		// wrk doesn't count answers that come after its time is up.
		share := min(100*float64(counted)/float64(requests), 100)
		capture.atLeast(fmt.Sprintf("requests reported at full load, %s side, %% (lost and known: %d)", side, rows[0].Lost), share, 100, "%.2f")
	}
	pipeline.atMost("visible after the end of its window, s (p99; at most a window more after the request's end)", late(), 3, "%.2f")
}

// steady sends a few requests all the time.
func steady(t *testing.T, server *servers.Server, d time.Duration) {
	_, err := load.Run(context.Background(), load.Plan{Addr: server.Addr(), Rate: 100, Conns: 2,
		Requests: int(100 * d.Seconds()), Mix: []load.Request{{Path: "/steady/bytes/6"}}})
	if err != nil {
		t.Fatal(err)
	}
}

// accuracy compares a client that stamps its own requests with Weir.
func accuracy(t *testing.T, out *table) {
	up := machine.Up(t)
	nginx := servers.Start(t, servers.Nginx())
	serial := servers.Start(t, servers.Serial(), servers.Slow(2*time.Millisecond))
	kinds := []struct {
		name string
		plan load.Plan
	}{
		{"idle", load.Plan{Addr: nginx.Addr(), Requests: 2000, Rate: 2000, Spin: true}},
		{"overloaded", load.Plan{Addr: serial.Addr(), Requests: 1000, Conns: 32, Rate: 1000}},
	}
	results := map[string]*load.Result{}
	for _, kind := range kinds {
		kind.plan.Mix = []load.Request{{Path: "/" + kind.name + "/bytes/6"}}
		r, err := load.Run(context.Background(), kind.plan)
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		results[kind.name] = r
	}
	up.Streams().Settle(time.Minute)
	rows := up.Streams().Latency()
	for _, kind := range kinds {
		for _, side := range []string{"client", "server"} {
			matched, r := rig.Case(rows, kind.name, side), results[kind.name]
			if len(matched) != 1 {
				t.Fatalf("%d rows of %s", len(matched), kind.name)
			}
			for i, weir := range []float64{matched[0].P50, matched[0].P99} {
				q := []float64{0.5, 0.99}[i]
				client := r.Quantile(q).Seconds() * 1e3
				out.add(fmt.Sprintf("error of p%g against the client's clock, server %s, %s side", q*100, kind.name, side), "≤ 2 % or 20 µs",
					fmt.Sprintf("%+.2f %% (%+.0f µs of %.3f ms)", 100*(weir-client)/client, 1e3*(weir-client), client),
					max(weir-client, client-weir)/max(0.02*client, 0.02))
			}
		}
	}
}
