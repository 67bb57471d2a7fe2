package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tmuxCommand is one for a server of a folder's own.
func tmuxCommand(dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", filepath.Join(dir, "tmux")}, args...)...)
	cmd.Env = append(env, "LC_ALL=C.UTF-8", "TERM=xterm")
	return cmd
}

// tmux runs it on a server of the script's own.
func tmux(ts *testscript.TestScript, args ...string) string {
	var env []string
	for _, name := range []string{"HOME", "PATH", "TZ", "WORK", "WEIR_SERVER"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	out, err := tmuxCommand(ts.Getenv("WORK"), env, args...).CombinedOutput()
	if err != nil {
		ts.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// terminal runs a command in a terminal of 120 by 30: terminal COMMAND ARG….
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	tmux(ts, "new-session", "-d", "-x", "120", "-y", "30", strings.Join(args, " ")+`; echo "exit status $?"; exec sleep 600`)
	ts.Defer(func() { tmux(ts, "kill-server") })
}

// keys types into the terminal, keys by tmux's names: keys KEY….
func keys(ts *testscript.TestScript, _ bool, args []string) {
	for _, key := range args {
		tmux(ts, "send-keys", key)
	}
}

// screen waits until the terminal shows what matches, or doesn't: [!] screen PATTERN.
func screen(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	var shown string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		shown = tmux(ts, "capture-pane", "-p")
		if pattern.MatchString(shown) != neg {
			return
		}
	}
	ts.Fatalf("%v: not on the screen as it should be:\n%s", fmt.Sprint(args, neg), shown)
}
