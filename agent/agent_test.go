package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// The agent leaves its own process out, so the traffic comes from this test
// binary run again: a server that is also its own client.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_ROLE") == "traffic" {
		traffic()
		return
	}
	os.Exit(m.Run())
}

func traffic() {
	mux := http.NewServeMux()
	mux.HandleFunc("/users/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	mux.HandleFunc("/fail", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) })
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			_, _ = w.Write(make([]byte, 5000))
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(700 * time.Millisecond) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", testDNS)
	}}
	go answerNames()
	server := &http.Server{Addr: os.Getenv("WEIR_TEST_ADDR"), Handler: mux}
	go func() { _ = server.ListenAndServe() }()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		method, url, _ := strings.Cut(in.Text(), " ")
		var body io.Reader
		if method == "POST" {
			body = strings.NewReader(strings.Repeat("x", 3<<20))
		}
		req, err := http.NewRequest(method, url, body)
		if err != nil {
			fmt.Println(err)
			continue
		}
		resp, err := http.DefaultClient.Do(req)
		for try := 0; err != nil && try < 50; try++ {
			time.Sleep(20 * time.Millisecond) // the server is coming up
			resp, err = http.DefaultClient.Do(req)
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
}

const testDNS = "127.0.0.77:53"

// answerNames is a DNS server: every name has the address 127.0.0.1.
func answerNames() {
	conn, err := net.ListenPacket("udp", testDNS)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	buf := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if data, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(data, from)
		}
	}
}

func require(t *testing.T) {
	t.Helper()
	if err := bpf.CheckHost(); err != nil {
		if os.Getenv("WEIR_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

type client struct {
	in  io.Writer
	out *bufio.Scanner
}

// group makes a cgroup for a test, so that the agent sees its traffic alone,
// whatever else the host does.
func group(t *testing.T) string {
	t.Helper()
	root, err := bpf.FindCgroup("")
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.MkdirTemp(root, "weir-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

func startTraffic(t *testing.T, addr, cgroup string) *client {
	t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE=traffic", "WEIR_TEST_ADDR="+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &client{in: in, out: bufio.NewScanner(out)}
}

func (c *client) do(t *testing.T, method, url, want string) {
	t.Helper()
	fmt.Fprintln(c.in, method, url)
	if !c.out.Scan() || c.out.Text() != want {
		t.Fatalf("%s %s: got %q, want %s", method, url, c.out.Text(), want)
	}
}

// connected is to NATS already.
func connected(c *bus.Conn) func(context.Context) (*bus.Conn, int, error) {
	return func(context.Context) (*bus.Conn, int, error) { return c, 1, nil }
}

// measure runs an agent while work sends traffic, and returns what it stored,
// and why the wait couldn't be measured.
func measure(t *testing.T, cfg Config, work func()) (events []proto.Event, losses []proto.Loss, noWait string) {
	t.Helper()
	require(t)
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	ctx, stop := context.WithCancel(t.Context())
	ready := make(chan Info, 1)
	done := make(chan error, 1)
	cfg.Node, cfg.Connect, cfg.LockFile = "node-1", connected(conn), filepath.Join(t.TempDir(), "lock")
	cfg.Ready = func(i Info) { ready <- i }
	go func() { done <- Run(ctx, cfg, bustest.Logger(t)) }()
	select {
	case i := <-ready:
		noWait = i.NoWait
	case err := <-done:
		t.Fatal(err)
	}
	work()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	events, losses = stored(t, conn)
	return events, losses, noWait
}

func TestEveryRequestBecomesTwoEvents(t *testing.T) {
	const addr = "127.0.0.1:18391"
	requests := []struct{ method, path, route, status string }{
		{"GET", "/users/17?secret=1", "/users/{id}", "200"}, {"HEAD", "/users/18", "/users/{id}", "200"},
		{"GET", "/fail", "/fail", "503"}, {"GET", "/large", "/large", "200"},
		{"GET", "/chunked", "/chunked", "200"}, {"POST", "/upload", "/upload", "200"}, {"GET", "/missing", "/missing", "404"},
	}
	want := map[string]int{}
	require(t)
	cgroup := group(t)
	events, losses, noWait := measure(t, Config{Cgroup: cgroup}, func() {
		c := startTraffic(t, addr, cgroup)
		for range 20 {
			for _, r := range requests {
				c.do(t, r.method, "http://"+addr+r.path, r.status)
				want["client "+r.method+" "+r.route+" "+r.status]++
				want["server "+r.method+" "+r.route+" "+r.status]++
			}
		}
	})
	for _, l := range losses {
		t.Errorf("lost: %+v", l)
	}
	got := map[string]int{}
	for _, e := range events {
		if !strings.HasSuffix(e.Destination.String(), ":18391") {
			continue // somebody else's traffic
		}
		got[fmt.Sprintf("%s %s %d", e.Side, e.Operation(), e.Status)]++
		if e.WaitNS+e.ProcessingNS+e.TransferNS != e.DurationNS() || e.DurationNS() <= 0 {
			t.Errorf("parts of %+v", e)
		}
		if waited := e.WaitNS > 0 && e.Flags&proto.FlagNoWait == 0; e.Side == proto.SideServer && waited != (noWait == "") {
			t.Errorf("%d ns wait, flags %b, on a host with %q: %s", e.WaitNS, e.Flags, noWait, e.Operation())
		}
		if e.Process.Name != "agent.test" {
			t.Errorf("process %q", e.Process.Name)
		}
		if (e.Route == "/large") != (e.ResponseBytes > 10<<20) || (e.Route == "/upload") != (e.RequestBytes > 3<<20) {
			t.Errorf("%s: %d bytes up, %d down", e.Route, e.RequestBytes, e.ResponseBytes)
		}
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%s: %d events, want %d", k, got[k], n)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("unexpected: %v", got)
	}
}

// A client's events have the name by which it asked for the server's address.
func TestAServersNameIsTheOneAskedFor(t *testing.T) {
	const port = ":18394"
	require(t)
	cgroup := group(t)
	events, _, _ := measure(t, Config{Cgroup: cgroup}, func() {
		c := startTraffic(t, "127.0.0.1"+port, cgroup)
		c.do(t, "GET", "http://Shop.Example"+port+"/users/1", "200")
	})
	got := map[string]int{}
	for _, e := range events {
		got[e.Side.String()+" "+e.ServerName]++
	}
	if len(got) != 2 || got["client shop.example"] != 1 || got["server "] != 1 {
		t.Errorf("names of servers: %v", got)
	}
}

func TestWhatARingTooSmallLosesIsCounted(t *testing.T) {
	// One page holds a few exchanges, and never a long request, so that records
	// are lost on slow machines too.
	const addr, n = "127.0.0.1:18392", 1500
	require(t)
	cgroup := group(t)
	events, losses, _ := measure(t, Config{Cgroup: cgroup, RingBytes: os.Getpagesize()}, func() {
		c := startTraffic(t, addr, cgroup)
		for i := range n {
			path := "/users/1"
			if i%10 == 9 {
				path += "?" + strings.Repeat("x", 2000)
			}
			c.do(t, "GET", "http://"+addr+path, "200")
		}
	})
	seen := map[proto.Side]uint64{}
	for _, e := range events {
		if strings.HasSuffix(e.Destination.String(), ":18392") {
			seen[e.Side]++
		}
	}
	var exchanges, records uint64
	for _, l := range losses {
		if l.Unit == proto.UnitExchanges {
			exchanges += l.Count
		} else {
			records += l.Count
		}
	}
	total := seen[proto.SideServer] + seen[proto.SideClient]
	by := map[string]uint64{}
	for _, l := range losses {
		by[l.Reason+" "+l.Unit] += l.Count
	}
	t.Logf("of %d at each end: %v seen, lost %v", n, seen, by)
	if exchanges == 0 {
		t.Error("nothing was lost: the ring was large enough")
	}
	if total+exchanges > 2*n || total+exchanges+records < 2*n {
		t.Errorf("%d seen and %d lost, up to %d more: not %d", total, exchanges, records, 2*n)
	}
}

// TestTheNextAgentTakesOver: what is asked while no agent runs is in the kernel
// for the next one, also on connections that the one before knew; and what was
// under way when an agent ended is counted as lost.
func TestTheNextAgentTakesOver(t *testing.T) {
	const addr = "127.0.0.1:18398"
	require(t)
	root, pins := group(t), bpfFS(t)
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	c := startTraffic(t, addr, root)
	want := map[string]int{}
	ask := func(path string, n int) {
		t.Helper()
		for range n {
			c.do(t, "GET", "http://"+addr+path, "200")
		}
		want["client "+path] += n
		want["server "+path] += n
	}
	ask("/users/before", 1)
	delete(want, "client /users/before")
	delete(want, "server /users/before")
	lost := 0
	for i := range 3 {
		ctx, stop := context.WithCancel(t.Context())
		ready, done := make(chan Info, 1), make(chan error, 1)
		cfg := Config{
			Node: "node-1", Connect: connected(conn), Cgroup: root, Handover: pins, LockFile: filepath.Join(t.TempDir(), "lock"),
			Ready: func(i Info) { ready <- i },
		}
		go func() { done <- Run(ctx, cfg, bustest.Logger(t)) }()
		select {
		case <-ready:
		case err := <-done:
			t.Fatal(err)
		}
		ask(fmt.Sprintf("/users/with-%c", 'a'+i), 10)
		slow := make(chan bool)
		go func() { c.do(t, "GET", "http://"+addr+"/slow", "200"); close(slow) }()
		time.Sleep(200 * time.Millisecond) // it has been asked
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		<-slow
		lost += 2
		ask(fmt.Sprintf("/users/after-%c", 'a'+i), 10)
	}
	delete(want, "client /users/after-c")
	delete(want, "server /users/after-c")
	events, losses := stored(t, conn)
	got := map[string]int{}
	for _, e := range events {
		if strings.HasSuffix(e.Destination.String(), ":18398") {
			got[e.Side.String()+" "+e.Route]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
	counted := 0
	for _, l := range losses {
		counted += int(l.Count)
		if l.Reason != proto.LossRestart || l.Unit != proto.UnitExchanges {
			t.Errorf("lost: %+v", l)
		}
	}
	if counted != lost {
		t.Errorf("%d exchanges were lost, want %d", counted, lost)
	}
}

// bpfFS is a BPF file system of the test's own.
func bpfFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil { // which ends all programs in it
			t.Error(err)
		}
	})
	return filepath.Join(dir, "weir")
}

// stored reads every event in WEIR_RAW.
func stored(t *testing.T, conn *bus.Conn) (events []proto.Event, losses []proto.Loss) {
	t.Helper()
	var f proto.Frame
	for m, err := range conn.Messages(t.Context(), bus.ReadConfig{Stream: proto.StreamRaw, Subjects: []string{proto.SubjectsRaw}, StopAtEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Decode(m.Data); err != nil {
			t.Fatal(err)
		}
		losses = append(losses, f.Loss...)
		events = append(events, f.Events...)
	}
	return events, losses
}

func TestASecondAgentIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v", err)
	}
	unlock()
	if unlock, err = lock(path); err != nil {
		t.Fatal(err)
	}
	unlock()
}
