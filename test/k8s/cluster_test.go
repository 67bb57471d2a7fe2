//go:build installs

package k8s

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/weirstream/weir/test/rig"
)

const (
	script  = "../cluster/cluster"
	host    = "10.200.0.254" // where pods reach this machine
	weirImg = "weir.local/weir:dev"
	loadImg = "weir.local/load:dev"
)

var (
	machine rig.Rig
	running cluster
)

func TestMain(m *testing.M) {
	os.Setenv("CGO_ENABLED", "0") // there is no C library in the images
	code := rig.Main(m, &machine)
	if err := running.down(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
		code = 1
	}
	os.Exit(code)
}

// cluster is the two nodes, for all tests of a run.
type cluster struct {
	start      sync.Once
	err        error
	kubeconfig string
	bin        string // folder of kubectl, helm, pause
}

// need starts the cluster unless it runs, with the images of the working tree.
func need(t *testing.T) *cluster {
	t.Helper()
	machine.Need(t)
	running.start.Do(func() { running.err = running.up() })
	if running.err != nil {
		t.Fatal(running.err)
	}
	return &running
}

var exports = regexp.MustCompile(`KUBECONFIG=(\S+) PATH=([^:]+):`)

func (c *cluster) up() error {
	out, err := c.script("up")
	if err != nil {
		return err
	}
	found := exports.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("cluster up: no KUBECONFIG in %q", out)
	}
	c.kubeconfig, c.bin = string(found[1]), string(found[2])
	if _, err := c.script("image", weirImg, machine.Weir, machine.Agent); err != nil {
		return err
	}
	_, err = c.script("image", loadImg, filepath.Join(c.bin, "pause"), machine.Loadgen)
	return err
}

func (c *cluster) down() error {
	if c.kubeconfig == "" || os.Getenv("WEIR_CLUSTER_KEEP") != "" {
		return nil
	}
	_, err := c.script("down")
	return err
}

func (c *cluster) script(args ...string) ([]byte, error) {
	return output(exec.Command(script, args...))
}

// kubectl runs it with a manifest or nothing as its input.
func (c *cluster) kubectl(t *testing.T, input string, args ...string) []byte {
	t.Helper()
	out, err := c.try(input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *cluster) try(input string, args ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return output(cmd)
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// namespace makes one for the test and deletes it at its end.
func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	c.kubectl(t, "", "delete", "namespace", name, "--ignore-not-found", "--timeout=60s") // a run before may have left it
	c.kubectl(t, "", "create", "namespace", name)
	t.Cleanup(func() {
		if os.Getenv("WEIR_CLUSTER_KEEP") == "" {
			c.kubectl(t, "", "delete", "namespace", name, "--wait", "--timeout=60s")
		}
	})
}

// ready waits until all replicas of a workload are.
func (c *cluster) ready(t *testing.T, namespace, workload string) {
	t.Helper()
	if _, err := c.try("", "-n", namespace, "rollout", "status", workload, "--timeout=90s"); err != nil {
		pods, _ := c.try("", "-n", namespace, "get", "pods", "-o", "wide")
		events, _ := c.try("", "-n", namespace, "get", "events")
		t.Fatalf("%v\n%s\n%s", err, pods, events)
	}
}
