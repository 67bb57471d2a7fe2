package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// TestUnusualPlaces: behind NAT, in a cgroup namespace, under a hostile process
// name, and connections that were open before Weir.
func TestUnusualPlaces(t *testing.T) {
	machine.Need(t)
	s := &scene{T: t}
	nginx := servers.Start(t, servers.Nginx())
	resumeBody := s.halfRead(nginx)
	resumeIdle := s.idle(nginx)
	up := machine.Up(t)
	resumeBody()
	resumeIdle()
	s.cgroupNamespace()
	s.strangeName()
	s.dnat()
	up.Streams().Settle(settle)
	s.check(up.Streams())
	checkNAT(t, up.Streams())
}

// raw is a connection that a test drives by hand.
type raw struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
}

func dial(t *testing.T, addr string) *raw {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t, c, bufio.NewReader(c)}
}

func (r *raw) request(path string) *http.Response {
	r.t.Helper()
	fmt.Fprintf(r.conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	resp, err := http.ReadResponse(r.reader, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

func (r *raw) finish(resp *http.Response) {
	r.t.Helper()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.t.Fatal(err)
	}
}

// halfRead stops in the middle of a 10 MB response. Once resumed, the requests
// after it are counted; whether it is itself nobody can know.
func (s *scene) halfRead(server *servers.Server) (resume func()) {
	c := dial(s.T, server.Addr())
	resp := c.request("/before-weir/bytes/10000000")
	if _, err := io.CopyN(io.Discard, resp.Body, 1_000_000); err != nil {
		s.Fatal(err)
	}
	return func() {
		c.finish(resp)
		for range 20 {
			c.finish(c.request("/after-joining-body/bytes/6"))
		}
		s.expect = append(s.expect, expectation{"after-joining-body", 20, "nginx", "e2e.test", nil})
	}
}

// idle leaves a connection open between two requests.
func (s *scene) idle(server *servers.Server) (resume func()) {
	c := dial(s.T, server.Addr6())
	c.finish(c.request("/before-weir/bytes/6"))
	return func() {
		for range 20 {
			c.finish(c.request("/after-joining-idle/bytes/1000"))
		}
		s.expect = append(s.expect, expectation{"after-joining-idle", 20, "nginx", "e2e.test", nil})
	}
}

// cgroupNamespace puts a server and a client into a cgroup of their own, and
// hides the rest of the tree from them.
func (s *scene) cgroupNamespace() {
	dir := filepath.Join(rig.CGroup2(s.T), "weir-e2e")
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.Remove(dir) })
	inside := []string{"sh", "-c", `echo $$ > "$0"/cgroup.procs && exec unshare --cgroup "$@"`, dir}
	server := servers.Start(s.T, servers.Go(), servers.Wrap(inside...))
	s.sendFrom("cgroup-namespace", "goserver", "loadgen", rig.Generator{Wrap: inside}, load.Plan{Addr: server.Addr()})
}

// strangeName has processes called like a browser's, or like a subject wildcard.
func (s *scene) strangeName() {
	server := servers.Start(s.T, servers.Go(), servers.Named("* > weir.>"))
	s.sendFrom("strange-name", "* > weir.>", "Web Content *", rig.Generator{Name: "Web Content *"},
		load.Plan{Addr: server.Addr6()})
}

const natAddr = "127.0.0.2:8080" // nobody listens there

// dnat puts a server behind a destination NAT rule, in a network namespace of
// its own.
func (s *scene) dnat() {
	ns := "weir-e2e-" + strconv.Itoa(os.Getpid())
	run(s.T, "ip", "netns", "add", ns)
	s.Cleanup(func() { run(s.T, "ip", "netns", "del", ns) })
	inside := []string{"ip", "netns", "exec", ns}
	run(s.T, append(inside, "ip", "link", "set", "lo", "up")...)
	server := servers.Start(s.T, servers.Go(), servers.Wrap(inside...))
	run(s.T, append(inside, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "127.0.0.2",
		"--dport", "8080", "-j", "DNAT", "--to-destination", server.Addr())...)
	s.sendFrom("behind-nat", "goserver", "loadgen", rig.Generator{Wrap: inside}, load.Plan{Addr: natAddr})
}

// checkNAT looks at the events: a client's destination is the address that it
// connected to, and still the right workload.
func checkNAT(t *testing.T, streams rig.Streams) {
	out, err := streams.Weir("observe", "-o", "ndjson", "--since", "10m", "--filter", `path.startsWith("/behind-nat/")`)
	if err != nil {
		t.Fatal(err)
	}
	type end struct {
		Workload string `json:"workload"`
		Address  string `json:"address"`
		Port     int    `json:"port"`
	}
	clients := 0
	for line := range strings.Lines(string(out)) {
		var event struct {
			Side                string
			Source, Destination end
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("decode %s: %v", line, err)
		}
		if event.Source.Workload != "loadgen" || event.Destination.Workload != "goserver" {
			t.Fatalf("%s → %s, want loadgen → goserver: %s", event.Source.Workload, event.Destination.Workload, line)
		}
		if event.Side == "client" {
			clients++
			if got := net.JoinHostPort(event.Destination.Address, strconv.Itoa(event.Destination.Port)); got != natAddr {
				t.Fatalf("destination %s, want %s", got, natAddr)
			}
		}
	}
	if clients != 300 {
		t.Errorf("%d events seen by the client behind NAT, want 300", clients)
	}
}

// sendFrom sends 300 requests from a process of its own.
func (s *scene) sendFrom(name, server, client string, g rig.Generator, plan load.Plan) {
	s.Helper()
	plan.Requests, plan.Conns, plan.Retry = 300, 4, 50*time.Millisecond
	plan.Mix = []load.Request{{Path: "/" + name + "/bytes/6"}, {Path: "/" + name + "/chunked/1000"}}
	f := machine.Run(s.T, g, plan)
	if f.Done != plan.Requests {
		s.Errorf("%s: %d of %d requests answered: %s", name, f.Done, plan.Requests, f.Error)
	}
	s.expect = append(s.expect, expectation{name, uint64(f.Sent), server, client, f.Status})
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("run %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
