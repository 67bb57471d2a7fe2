package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/demo"
	"github.com/weirstream/weir/internal/query"
)

// weirProcess is this test binary as the command: TestMain looks at its name.
func weirProcess(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Args[0] = "weir"
	return cmd
}

// needHost skips where weir up can't measure, and waits for other tests that do.
func needHost(t *testing.T) {
	if os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("runs weir up as root on this host's traffic; set WEIR_REQUIRE=all")
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "weir-rig.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after a minute", what)
		}
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// up is a running weir up.
type up struct {
	*exec.Cmd
	nats string
	out  *os.File
}

func startUp(t *testing.T, dir string, args ...string) *up {
	nats, http := freePort(t), freePort(t)
	out, err := os.CreateTemp(t.TempDir(), "up")
	if err != nil {
		t.Fatal(err)
	}
	u := &up{weirProcess(append([]string{"up", "--data-dir", dir, "--nats", nats, "--http", http}, args...)...), "nats://" + nats, out}
	u.Stdout, u.Stderr = out, out
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Process.Kill() })
	eventually(t, "ready", func() bool { return answers("http://" + http + "/readyz") })
	return u
}

func answers(url string) bool {
	r, err := http.Get(url)
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

func (u *up) stop(t *testing.T) {
	t.Helper()
	if err := u.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := u.Wait(); err != nil {
		text, _ := os.ReadFile(u.out.Name())
		t.Fatalf("stop: %v\n%s", err, text)
	}
}

func counts(t *testing.T, dir string) (c demo.Counts) {
	out, err := os.ReadFile(filepath.Join(dir, "shop", demo.CountsFile))
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What the load generator sent is what both ends of it show: to the last
// request, over a stop and a new start, without anybody waiting in between.
func TestUpCountsTheDemo(t *testing.T) {
	needHost(t)
	dir := t.TempDir()
	u := startUp(t, dir, "--demo")
	eventually(t, "some requests", func() bool {
		out, _ := weirProcess("observe", "shop-load", "--since", "1h", "--last", "1500", "-o", "ndjson", "--server", u.nats).Output()
		return strings.Count(string(out), "\n") == 1500
	})
	u.stop(t)
	sent := counts(t, dir)
	if sent.Sent != sent.Answered || sent.Sent == 0 {
		t.Errorf("%d sent, %d answered", sent.Sent, sent.Answered)
	}

	u = startUp(t, dir)
	out, err := weirProcess("latency", "--by", "workload,status", "--since", "1h", "-o", "json", "--server", u.nats).Output()
	if err != nil {
		t.Fatal(err)
	}
	var rows []query.LatencyRow
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, r := range rows {
		if r.Lost != 0 {
			t.Errorf("%d lost", r.Lost)
		}
		got[fmt.Sprintf("%s %s %s", r.Workload, r.Side, r.Status)] += r.Count
	}
	for code, n := range sent.ByStatus {
		for _, end := range []string{"shop-load client", "shop-frontend server"} {
			if got[end+" "+code] != n {
				t.Errorf("%s: %d with status %s, the load generator counted %d", end, got[end+" "+code], code, n)
			}
		}
	}
	checkWait(t, u)
	u.stop(t)
}

// checkWait looks for what the demo is to show: payment waits rather than
// works. Where the wait isn't measured, up said so and there is none.
func checkWait(t *testing.T, u *up) {
	t.Helper()
	said, err := os.ReadFile(u.out.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := exitBroken
	if strings.Contains(string(said), "the wait is not measured") {
		want = 0
	}
	cmd := weirProcess("latency", "shop-payment", "--no-wait", "--since", "1h", "--side", "server", "-o", "json",
		"--fail-if", "wait_p99 > 30ms", "--server", u.nats)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("exit %d, want %d: does payment wait?\n%s", code, want, out)
	}
}
