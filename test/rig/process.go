package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test starts, kills, pauses and starts again.
type Process struct {
	Name string
	Args []string // program first
	Env  []string // besides the test's own
	t    testing.TB
	cmd  *exec.Cmd
	exit chan error
	log  string // standard output and error of all its lives
}

// NewProcess describes a process; it is killed when the test ends, and its
// log printed if the test failed.
func NewProcess(t testing.TB, name, log string, args ...string) *Process {
	p := &Process{Name: name, Args: args, t: t, log: log}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(p.Log(), 4000))
		}
	})
	return p
}

// Start starts it and returns at once.
func (p *Process) Start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.Args[0], p.Args[1:]...)
	p.cmd.Env = append(os.Environ(), p.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
	p.exit = make(chan error, 1)
	go func(cmd *exec.Cmd, exit chan error) { exit <- cmd.Wait() }(p.cmd, p.exit)
}

// PID of its present life.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends it with SIGKILL and waits. Nothing happens if it isn't running.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	p.t.Logf("%s: %v", p.Name, <-p.exit)
	p.cmd = nil
}

// Stop ends it with SIGTERM; the test fails if that takes longer than within
// or doesn't end with status 0.
func (p *Process) Stop(within time.Duration) {
	p.t.Helper()
	if p.cmd == nil {
		return
	}
	p.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exit:
		p.cmd = nil
		if err != nil {
			p.t.Errorf("stop %s: %v", p.Name, err)
		}
	case <-time.After(within):
		p.t.Errorf("stop %s: still there after %v", p.Name, within)
		p.Kill()
	}
}

// Signal sends a signal: SIGSTOP and SIGCONT pause and resume it. Nothing
// happens if it has ended.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("send %v to %s: %v", s, p.Name, err)
	}
}

// Exited is its end if it has ended by itself.
func (p *Process) Exited() (error, bool) {
	select {
	case err := <-p.exit:
		p.cmd = nil
		return err, true
	default:
		return nil, false
	}
}

// Log is everything it has printed.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// RSS is its resident memory in bytes.
func (p *Process) RSS() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		p.t.Fatal(err)
	}
	var kb int64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	p.t.Fatalf("no VmRSS of %s", p.Name)
	return 0
}

// Eventually polls until ok is true; the test fails if it never is.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, within)
		}
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
