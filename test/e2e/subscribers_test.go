package e2e

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/servers"
)

// root of the repository, from this package's folder.
const root = "../.."

// TestSubscribersInThreeLanguages runs the examples, and the nats command,
// against `weir up`.
func TestSubscribersInThreeLanguages(t *testing.T) {
	machine.Need(t)
	up := machine.Up(t)
	s := &scene{T: t}
	nats := build(t, "-modfile=tools/natscli/go.mod", "github.com/nats-io/natscli/nats") // at its pinned version
	live := subscribeLive(t, nats, up.NATS)
	nginx := servers.Start(t, servers.Nginx())
	s.send("subscribed", "nginx", load.Plan{Addr: nginx.Addr(), Requests: 500, Conns: 4, Mix: get(6)})
	up.Streams().Settle(settle)
	s.check(up.Streams())

	run(t, "npm", "ci", "--prefix", filepath.Join(root, "examples/javascript"), "--no-fund", "--no-audit")
	want := regexp.MustCompile(`^nginx server /subscribed/bytes/\S+ (\d+) requests, p99 ms: ([0-9.]+)$`)
	for name, command := range map[string][]string{
		"go":         {build(t, "./examples/go"), up.NATS},
		"python":     {"/usr/bin/python3", "examples/python/subscriber.py", up.NATS},
		"javascript": {"node", "examples/javascript/subscriber.mjs", up.NATS},
	} {
		t.Run(name, func(t *testing.T) { checkLines(t, command, want) })
	}
	t.Run("nats stream info", func(t *testing.T) { checkStream(t, nats, up.NATS) })
	t.Run("nats sub", func(t *testing.T) { live(t) })
}

// checkLines runs a subscriber until it has printed a line that matches.
func checkLines(t *testing.T, command []string, want *regexp.Regexp) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timeout.Stop()
	var seen []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		seen = append(seen, lines.Text())
		if want.MatchString(lines.Text()) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return
		}
	}
	_ = cmd.Wait()
	t.Fatalf("no line like %s in:\n%s\n%s", want, strings.Join(seen, "\n"), stderr.String())
}

// build compiles a program of this repository and returns its path.
func build(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", append([]string{"build", "-o", path}, args...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %v: %v\n%s", args, err, out)
	}
	return path
}

func checkStream(t *testing.T, nats, server string) {
	out, err := exec.Command(nats, "--server", server, "stream", "info", "WEIR_LATENCY").CombinedOutput()
	if err != nil {
		t.Fatalf("nats stream info: %v\n%s", err, out)
	}
	if !regexp.MustCompile(`Maximum Age: *(24h0m0s|1d0h0m0s)`).Match(out) {
		t.Errorf("no maximum age of 24 hours in:\n%s", out)
	}
}

// subscribeLive starts `nats sub` on the live subject. What it returns waits
// for the first message and decodes it with Python's msgpack.
func subscribeLive(t *testing.T, nats, server string) func(*testing.T) {
	cmd := exec.Command(nats, "--server", server, "sub", "weir.live.latency.>", "--raw", "--count", "1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	decode := exec.Command("/usr/bin/python3", "-c", `
import msgpack, sys
m = next(iter(msgpack.Unpacker(sys.stdin.buffer)))
assert m["v"] == 1 and m["points"][0]["count"] > 0, m
print(m["namespace"], m["workload"], sum(p["count"] for p in m["points"]))`)
	decode.Stdin = stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return func(t *testing.T) {
		timeout := time.AfterFunc(time.Minute, func() { _ = decode.Process.Kill() })
		defer timeout.Stop()
		if out, err := decode.CombinedOutput(); err != nil || len(out) == 0 {
			t.Fatalf("decode a live message: %v\n%s", err, out)
		}
	}
}
