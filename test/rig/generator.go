package rig

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirstream/weir/test/load"
)

// Generator is the load generator as a process of its own.
type Generator struct {
	Name string   // of the process; default loadgen
	Wrap []string // a command that replaces itself by it: ip netns exec NAME, unshare -C
}

// Run carries out the plan and returns the figures, stamps included.
func (r *Rig) Run(t testing.TB, g Generator, plan load.Plan) load.Figures {
	t.Helper()
	program := r.Loadgen
	if g.Name != "" {
		program = filepath.Join(t.TempDir(), g.Name)
		copyFile(t, r.Loadgen, program)
	}
	input, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	args := append(g.Wrap[:len(g.Wrap):len(g.Wrap)], program, "-stamps")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var figures load.Figures
	if err := json.Unmarshal(out, &figures); err != nil {
		t.Fatalf("decode figures: %v\n%s", err, out)
	}
	return figures
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatal(err)
	}
}
