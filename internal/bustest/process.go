package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirstream/weir/internal/bus/natsserver"
)

const processEnv = "WEIR_BUSTEST_SERVER" // "addr dir": be a server instead of tests

// Main is for TestMain: it lets the test binary be the server of
// [StartProcess], and fails the tests if goroutines are left over.
func Main(m *testing.M) {
	if where := os.Getenv(processEnv); where != "" {
		addr, dir, _ := strings.Cut(where, " ")
		if _, err := natsserver.Start(context.Background(), natsserver.Config{Dir: dir, Addr: addr}, slog.New(slog.DiscardHandler)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed, or the parent is gone
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Process is a nats-server as a process of its own.
type Process struct {
	t    testing.TB
	addr string
	dir  string
	cmd  *exec.Cmd
	URL  string
}

// StartProcess starts the test binary as a server. It is killed when the test
// ends.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	addr := FreeAddr(t)
	p := &Process{t: t, addr: addr, dir: filepath.Join(t.TempDir(), "nats"), URL: "nats://" + addr}
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// Start starts the server again, with the same address and data, and waits
// until it accepts connections.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), processEnv+"="+p.addr+" "+p.dir)
	p.cmd.Stderr = os.Stderr
	if _, err := p.cmd.StdinPipe(); err != nil { // closes with this process
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	Eventually(p.t, func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "server at %s does not start", p.addr)
}

// Kill kills the server with SIGKILL and waits for its end.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Log(err)
	}
	_ = p.cmd.Wait() // always "killed"
	p.cmd = nil
}
