package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The agent is privileged, and on every node: it links no Kubernetes client.
func TestLinksNoKubernetes(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "github.com/weirstream/weir/agent") {
		t.Fatalf("not the agent's packages: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "k8s.io/") {
			t.Errorf("links %s", strings.TrimSpace(line))
		}
	}
}
