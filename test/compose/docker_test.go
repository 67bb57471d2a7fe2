//go:build installs

package compose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const netns = "weir-compose"

// docker is an engine that belongs to the test.
type docker struct {
	t   *testing.T
	dir string
	env []string // of its clients
}

func startDocker(t *testing.T) *docker {
	t.Helper()
	for _, program := range []string{"dockerd", "docker", "docker-compose", "iptables", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: apt-get install docker.io docker-compose iptables iproute2", err)
		}
	}
	// Not t.TempDir: the paths of sockets below it may be 108 bytes long.
	dir, err := os.MkdirTemp("", "weir-docker-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &docker{t: t, dir: dir, env: append(os.Environ(), "DOCKER_HOST=unix://"+dir+"/docker.sock", "DOCKER_BUILDKIT=0")}
	d.namespace()
	d.start()
	return d
}

func (d *docker) root() string { return filepath.Join(d.dir, "root") }

// namespace is where the engine's bridges and rules are.
func (d *docker) namespace() {
	d.t.Helper()
	_ = exec.Command("ip", "netns", "del", netns).Run() // of a run that was killed
	d.run("ip", "netns", "add", netns)
	d.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", netns).Run() })
	d.run("ip", "-n", netns, "link", "set", "lo", "up")
}

// inside is a command in the engine's network. Not with `ip netns exec`, which
// takes the cgroup mounts away.
func (d *docker) inside(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + netns}, args...)...)
	cmd.Env = d.env
	return cmd
}

func (d *docker) start() {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.dir, "dockerd.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	// Its mounts are its own, so that none is left.
	cmd := d.inside("unshare", "--mount", "--propagation", "private", "dockerd",
		"--data-root", d.root(), "--exec-root", filepath.Join(d.dir, "exec"), "--pidfile", filepath.Join(d.dir, "docker.pid"),
		"--cgroup-parent", "/"+netns, "--host", "unix://"+d.dir+"/docker.sock")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is told to end, or its log says why it did
	}()
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it ends what it started
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if d.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			d.t.Logf("dockerd:\n%s", text[max(0, len(text)-4000):])
		}
		left, _ := filepath.Glob("/sys/fs/cgroup/*/" + netns)
		for _, folder := range append(left, "/sys/fs/cgroup/"+netns) {
			_ = os.Remove(folder) // where there is one
		}
	})
	d.eventually(60*time.Second, "dockerd answers", func() error {
		if _, err := d.try("docker", "version"); err != nil {
			return err
		}
		return nil
	})
}

// run runs a client and returns what it prints; try doesn't mind failures.
func (d *docker) run(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *docker) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = d.env, repository
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

func (d *docker) eventually(within time.Duration, what string, do func() error) {
	d.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: not after %s: %v", what, within, err)
		}
	}
}
