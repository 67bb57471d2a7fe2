package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/servers"
)

// Up is a `weir up` of the test's own.
type Up struct {
	*Process
	NATS string // nats://…
	HTTP string // host:port
	rig  *Rig
}

// Up starts `weir up` and waits until it captures.
func (r *Rig) Up(t testing.TB, args ...string) *Up {
	t.Helper()
	dir := t.TempDir()
	nats, http := freeAddr(t), freeAddr(t)
	args = append([]string{r.Weir, "up", "--data-dir", filepath.Join(dir, "data"), "--nats", nats, "--http", http}, args...)
	u := &Up{
		Process: NewProcess(t, "weir up", filepath.Join(dir, "up.log"), args...),
		NATS:    "nats://" + nats, HTTP: http, rig: r,
	}
	u.Start()
	u.Ready()
	return u
}

func freeAddr(t testing.TB) string {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Ready waits until it says that it captures.
func (u *Up) Ready() {
	u.t.Helper()
	waitReady(u.t, u.Process, u.HTTP)
}

// waitReady polls /readyz.
func waitReady(t testing.TB, p *Process, addr string) {
	t.Helper()
	Eventually(t, 30*time.Second, p.Name+" ready", func() bool {
		if err, dead := p.Exited(); dead {
			t.Fatalf("%s ended: %v", p.Name, err)
		}
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// Row is one of `weir latency -o json`.
type Row struct {
	Namespace string  `json:"namespace"`
	Workload  string  `json:"workload"`
	Side      string  `json:"side"`
	Protocol  string  `json:"protocol"`
	Operation string  `json:"operation"`
	Status    string  `json:"status"`
	Count     uint64  `json:"count"`
	Errors    uint64  `json:"errors"`
	Lost      uint64  `json:"lost"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	WaitP99   float64 `json:"wait_p99_ms"`

	PeerWorkload string `json:"peer_workload"`
}

// Streams is where a test reads what was counted.
type Streams struct {
	NATS string
	rig  *Rig
	t    testing.TB
}

// Streams at a NATS server that the test started by other means.
func (r *Rig) Streams(t testing.TB, url string) Streams { return Streams{url, r, t} }

// Streams of a `weir up`.
func (u *Up) Streams() Streams { return Streams{u.NATS, u.rig, u.t} }

// For is the same for a subtest.
func (s Streams) For(t testing.TB) Streams { return Streams{s.NATS, s.rig, t} }

// Weir runs a subcommand against the streams and returns what it prints.
func (s Streams) Weir(args ...string) ([]byte, error) {
	cmd := exec.Command(s.rig.Weir, append(args, "--server", s.NATS)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("weir %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// Latency runs `weir latency -A -o json` over the last hour.
func (s Streams) Latency(args ...string) []Row {
	s.t.Helper()
	rows, err := s.latency(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

func (s Streams) latency(args ...string) ([]Row, error) {
	return s.rows(append([]string{"--since", "1h"}, args...)...)
}

// LatencyOf is Latency over an interval that the arguments give.
func (s Streams) LatencyOf(args ...string) []Row {
	s.t.Helper()
	rows, err := s.rows(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

func (s Streams) rows(args ...string) ([]Row, error) {
	out, err := s.Weir(append([]string{"latency", "-A", "-o", "json"}, args...)...)
	if err != nil {
		return nil, err
	}
	var rows []Row
	if err := json.Unmarshal(out, &rows); err != nil {
		return nil, fmt.Errorf("decode rows: %w\n%s", err, out)
	}
	return rows, nil
}

// Case selects the rows of one side whose path begins with /name/.
func Case(rows []Row, name, side string) []Row {
	var out []Row
	for _, row := range rows {
		_, path, _ := strings.Cut(row.Operation, " ")
		if row.Side == side && strings.HasPrefix(path, "/"+name+"/") {
			out = append(out, row)
		}
	}
	return out
}

// Count is the sum of the rows' counts.
func Count(rows []Row) (n uint64) {
	for _, row := range rows {
		n += row.Count
	}
	return n
}

// Settle waits until everything that ended before it was called is in
// WEIR_LATENCY: it sends a request of its own, with a name never used before,
// and waits until both sides of that one are visible.
func (s Streams) Settle(within time.Duration) {
	s.t.Helper()
	name := s.rig.name()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	send := func() {
		r, err := load.Run(context.Background(), load.Plan{
			Addr: server.Listener.Addr().String(), Mix: []load.Request{{Path: "/" + name + "/x"}}, Close: true})
		if err != nil || r.Done != 1 {
			s.t.Fatalf("send settling request: %v %v", err, r.Err)
		}
	}
	send()
	Eventually(s.t, within, "settling request visible", func() bool {
		rows, err := s.latency("--no-wait")
		return err == nil && Count(Case(rows, name, "server")) >= 1 && Count(Case(rows, name, "client")) >= 1
	})
}

// name is a path element never used before by this rig, of words: a route
// template would replace anything that looks made up.
func (r *Rig) name() string {
	words := strings.Fields("alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike")
	n := r.named
	r.named++
	return "settle-" + words[n/len(words)%len(words)] + "-" + words[n%len(words)]
}
