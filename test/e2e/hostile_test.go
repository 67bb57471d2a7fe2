package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// TestHostileBytes: what isn't HTTP, or is wrong HTTP, in both directions,
// while others' requests go on and are counted exactly.
func TestHostileBytes(t *testing.T) {
	machine.Need(t)
	up := machine.Up(t)
	s := &scene{T: t}
	golang := servers.Start(t, servers.Go())
	nginx := servers.Start(t, servers.Nginx())
	before := up.RSS()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := 0; ctx.Err() == nil; round++ {
			for name, bytes := range hostile(uint64(round)) {
				shout(golang.Addr(), bytes)
				shout(nginx.Addr6(), bytes)
				misanswer(t, name, bytes)
			}
		}
	}()
	s.send("unharmed-go", "goserver", load.Plan{Addr: golang.Addr6(), Requests: 3000, Conns: 4, Rate: 1000, Mix: get(6, 1000)})
	s.send("unharmed-nginx", "nginx", load.Plan{Addr: nginx.Addr(), Requests: 3000, Conns: 4, Rate: 1000, Mix: get(6, 1000)})
	cancel()
	<-done
	for _, server := range []*servers.Server{golang, nginx} {
		s.pipelined(server)
	}

	up.Streams().Settle(settle)
	s.lossy = true // what isn't HTTP may look like a request without an end
	s.check(up.Streams())
	s.checkPipelined(up.Streams())
	if err, dead := up.Exited(); dead {
		t.Fatalf("weir ended: %v", err)
	}
	if log := up.Log(); strings.Contains(log, "panic") {
		t.Error("weir panicked")
	}
	if after := up.RSS(); after > before+200<<20 {
		t.Errorf("resident memory grew from %d to %d MiB", before>>20, after>>20)
	}
}

const pipeline = 100_000

// pipelined sends very many requests at once on one connection: most of them
// begin in the middle of a segment.
func (s *scene) pipelined(server *servers.Server) {
	r, err := load.Run(context.Background(), load.Plan{Addr: server.Addr(), Requests: pipeline, Pipeline: pipeline,
		Mix: []load.Request{{Path: "/pipelined-" + server.Name + "/bytes/0"}}})
	if err != nil || r.Done != pipeline {
		s.Errorf("%d of %d pipelined requests answered: %v %v", r.Done, pipeline, err, r.Err)
	}
}

// checkPipelined: all of them are counted, at both ends.
func (s *scene) checkPipelined(streams rig.Streams) {
	rows := streams.Latency()
	for _, name := range []string{"goserver", "nginx"} {
		for _, side := range []string{"server", "client"} {
			if got := rig.Count(rig.Case(rows, "pipelined-"+name, side)); got != pipeline {
				s.Errorf("%s, %s side: %d of %d pipelined requests counted, %d lost", name, side, got, pipeline, rows[0].Lost)
			}
		}
	}
}

// hostile is bytes by name, the random ones by seed.
func hostile(seed uint64) map[string]string {
	random := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	const head, answer = "GET /x HTTP/1.1\r\nHost: x\r\n", "HTTP/1.1 200 OK\r\n"
	chunked := "Transfer-Encoding: chunked\r\n\r\n"
	out := map[string]string{
		"random":       string(random),
		"nuls":         strings.Repeat("\x00", 10_000),
		"newlines":     strings.Repeat("\r\n", 10_000),
		"tls":          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(random[:500]),
		"http2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(random[:100]),
		"version":      "GET / HTTP/9.9\r\n\r\n",
		"method":       strings.Repeat("G", 1<<20) + " / HTTP/1.1\r\n\r\n",
		"cut":          "GET / HT",
		"almost":       strings.Repeat("GET / HTTP/1.1\nHost: x\n", 50),
		"secret":       "GET /?password=canary HTTP/1.1\r\nHost: x\r\n\r\n",
		"request nuls": "GET /\x00\x00 HTTP/1.1\r\nHost: \x00\r\n\r\n",
	}
	for kind, start := range map[string]string{"request": head, "response": answer} {
		for name, rest := range map[string]string{
			"giant header":    "X: " + strings.Repeat("y", 1<<20) + "\r\n\r\n",
			"many headers":    strings.Repeat("X: y\r\n", 20_000) + "\r\n",
			"chunk overflow":  chunked + "FFFFFFFFFFFFFFFFFF\r\n",
			"chunk negative":  chunked + "-1\r\n\r\n",
			"chunk not hex":   chunked + "zebra\r\n",
			"chunk no end":    chunked + strings.Repeat("1", 100_000),
			"length negative": "Content-Length: -5\r\n\r\n",
			"length overflow": "Content-Length: 99999999999999999999\r\n\r\n",
			"length twice":    "Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
			"length short":    "Content-Length: 1000000\r\n\r\nhello",
			"both":            "Content-Length: 5\r\n" + chunked + "0\r\n\r\n",
			"no colon":        "nonsense\r\n\r\n",
			"never ends":      "X: ",
		} {
			out[kind+" "+name] = start + rest
		}
	}
	return out
}

// shout sends bytes to a server and takes whatever comes back.
func shout(addr, bytes string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, bytes)
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.CopyN(io.Discard, c, 1<<20)
}

// misanswer answers a good request with the bytes.
func misanswer(t *testing.T, name, bytes string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, bytes)
	}()
	shout(l.Addr().String(), fmt.Sprintf("GET /misanswered/%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.ReplaceAll(name, " ", "-")))
	<-served
}
