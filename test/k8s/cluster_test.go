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
	weirImg = "weir.local/weir:dev"
	natsImg = "weir.local/nats:dev"
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

// cluster is the two nodes, for all tests of a run, and the Weir on them.
type cluster struct {
	start     sync.Once
	err       error
	dir       string // of kubectl-weir and what else the run makes
	env       []string
	installed bool
	history   *history
}

// need starts the cluster unless it runs, with the images of the working tree,
// and installs Weir.
func need(t *testing.T) *cluster {
	t.Helper()
	machine.Need(t)
	running.start.Do(func() { running.err = running.up() })
	if running.err != nil {
		t.Fatal(running.err)
	}
	running.install(t)
	return &running
}

var exports = regexp.MustCompile(`KUBECONFIG=(\S+) PATH=([^:]+):`)

func (c *cluster) up() (err error) {
	out, err := c.script("up")
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "weir-k8s-"); err != nil {
		return err
	}
	found := exports.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("cluster up: no KUBECONFIG in %q", out)
	}
	bin := string(found[2])
	c.env = append(os.Environ(), "KUBECONFIG="+string(found[1]), "PATH="+c.dir+":"+bin+":"+os.Getenv("PATH"),
		"HELM_CONFIG_HOME="+c.dir, "HELM_CACHE_HOME="+c.dir, "HELM_DATA_HOME="+c.dir)
	// What kubectl runs for `kubectl weir`.
	if err := os.Symlink(machine.Weir, filepath.Join(c.dir, "kubectl-weir")); err != nil {
		return err
	}
	nats := filepath.Join(c.dir, "nats-server")
	if _, err := c.run("go", "build", "-trimpath", "-ldflags=-s -w", "-o", nats, "github.com/nats-io/nats-server/v2"); err != nil {
		return err
	}
	for image, files := range map[string][]string{
		weirImg: {machine.Weir, machine.Agent},
		natsImg: {nats},
		loadImg: {filepath.Join(bin, "pause"), machine.Loadgen},
	} {
		if _, err := c.script(append([]string{"image", image}, files...)...); err != nil {
			return err
		}
	}
	c.history = newHistory(c)
	return nil
}

func (c *cluster) down() error {
	if c.dir == "" {
		return nil
	}
	if c.history != nil {
		c.history.stop()
	}
	defer os.RemoveAll(c.dir)
	if keep() {
		return nil
	}
	_, err := c.script("down")
	return err
}

func (c *cluster) script(args ...string) ([]byte, error) {
	return output(exec.Command(script, args...))
}

// command of a user of the cluster.
func (c *cluster) command(args ...string) *exec.Cmd {
	name := args[0]
	for _, v := range c.env { // exec.Command looks into this process's PATH
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			for _, dir := range filepath.SplitList(path) {
				if file := filepath.Join(dir, args[0]); name == args[0] && isFile(file) {
					name = file
				}
			}
		}
	}
	cmd := exec.Command(name, args[1:]...)
	cmd.Env = c.env
	return cmd
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (c *cluster) run(args ...string) ([]byte, error) { return output(c.command(args...)) }

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
	cmd := c.command(append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return output(cmd)
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// namespace makes one for the test and deletes it at its end.
func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	c.kubectl(t, "", "delete", "namespace", name, "--ignore-not-found", "--timeout=60s") // a run before may have left it
	c.kubectl(t, "", "create", "namespace", name)
	t.Cleanup(func() {
		if !keep() {
			c.kubectl(t, "", "delete", "namespace", name, "--wait=false")
		}
	})
}

// ready waits until all replicas of a workload are.
func (c *cluster) ready(t *testing.T, namespace, workload string) {
	t.Helper()
	if _, err := c.try("", "-n", namespace, "rollout", "status", workload, "--timeout=120s"); err != nil {
		pods, _ := c.try("", "-n", namespace, "get", "pods", "-o", "wide")
		events, _ := c.try("", "-n", namespace, "get", "events")
		t.Fatalf("%v\n%s\n%s", err, pods, events)
	}
}
