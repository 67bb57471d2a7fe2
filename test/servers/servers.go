package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Kind is a sort of server and what it is seen as.
type Kind struct {
	Name    string // of the process, at most 15 bytes: what Weir calls the workload
	command func(s *Server) (*exec.Cmd, error)
	Debian  string // the package to install
	Upload  string // the method of /upload
	Sleep   bool   // answers /sleep
	Status  []int  // what /status can be asked for
}

// Server is one that runs.
type Server struct {
	Kind
	Port int
	PID  int    // of the process started; nginx and Apache have children
	Dir  string // its files, removed with the test

	slowMS int
	wrap   []string
	cmd    *exec.Cmd
	log    *os.File
}

// Addr is where it listens over IPv4.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.Port) }

// Addr6 is where it listens over IPv6.
func (s *Server) Addr6() string { return "[::1]:" + strconv.Itoa(s.Port) }

// Option changes how a server is started.
type Option func(*Server)

// Port makes the server listen there instead of on a free port.
func Port(n int) Option { return func(s *Server) { s.Port = n } }

// Slow is how long a [Serial] server works on each request.
func Slow(d time.Duration) Option { return func(s *Server) { s.slowMS = int(d.Milliseconds()) } }

// Named gives a Go server's process another name.
func Named(name string) Option { return func(s *Server) { s.Name = name } }

// Wrap starts the server through another command, such as `ip netns exec NAME`,
// that replaces itself by it. Start doesn't wait for it then: it may not be
// reachable from here.
func Wrap(command ...string) Option { return func(s *Server) { s.wrap = command } }

// Start starts a server and waits until it answers. The test fails if it
// can't; it is stopped when the test ends.
func Start(t testing.TB, kind Kind, options ...Option) *Server {
	t.Helper()
	// Not t.TempDir: its parent is closed to the users that workers run as.
	dir, err := os.MkdirTemp("", "weir-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := start(kind, dir, options...)
	if err != nil {
		t.Fatalf("start %s: %v", kind.Name, err)
	}
	t.Cleanup(s.Stop)
	return s
}

func start(kind Kind, dir string, options ...Option) (*Server, error) {
	s := &Server{Kind: kind, Dir: dir}
	for _, option := range options {
		option(s)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if s.Port == 0 {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		s.Port = port
	}
	var err error
	if s.cmd, err = kind.command(s); err != nil {
		return nil, err
	}
	if len(s.wrap) > 0 {
		s.cmd = exec.Command(s.wrap[0], append(s.wrap[1:], s.cmd.Args...)...)
	}
	if s.log, err = os.Create(filepath.Join(dir, "server.log")); err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (package %s): %w", s.cmd.Path, kind.Debian, err)
	}
	s.PID = s.cmd.Process.Pid
	if len(s.wrap) > 0 {
		return s, nil
	}
	if err := s.ready(); err != nil {
		s.Stop()
		text, _ := os.ReadFile(s.log.Name())
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return s, nil
}

// ready polls until both addresses accept. It sends nothing: a request would
// be counted.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, addr := range []string{s.Addr(), s.Addr6()} {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err == nil {
				c.Close()
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("wait for %s: %w", addr, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// Stop ends the server and waits for it. A second call does nothing.
func (s *Server) Stop() {
	if s.cmd == nil || s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // nginx and Apache end their children
	done := time.AfterFunc(5*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	done.Stop()
	s.log.Close()
}

// FreePort is a TCP port that nothing listens on, on either loopback address.
func FreePort() (int, error) {
	for range 20 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l6, err := net.Listen("tcp6", "[::1]:"+strconv.Itoa(port))
		l.Close()
		if err == nil {
			l6.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: all are taken on ::1")
}
