//go:build installs

package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"

	"github.com/weirstream/weir/test/load"
)

// workload is a Deployment, and a Service if it has a port.
type workload struct {
	Name, Namespace string
	Image, Args     string
	Replicas        int
	Port            int    // 0: does not listen
	Probe           string // path; else the kubelet only connects
	Node            string // pinned to it; else spread
	HostNetwork     bool
}

func (c *cluster) deploy(t *testing.T, workloads ...workload) {
	t.Helper()
	manifest := template.Must(template.ParseFiles("testdata/workload.yaml"))
	var all strings.Builder
	for _, w := range workloads {
		w.Replicas = max(w.Replicas, 1)
		if err := manifest.Execute(&all, w); err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n---\n")
	}
	c.kubectl(t, all.String(), "apply", "-f", "-")
	for _, w := range workloads {
		c.ready(t, w.Namespace, "deployment/"+w.Name)
	}
}

// shop is the demo shop. Each service has a pod on both nodes, but for the
// overloaded one, whose single worker is the point of it.
func (c *cluster) shop(t *testing.T, namespace string) {
	t.Helper()
	var all []workload
	for _, name := range []string{"frontend", "catalogue", "cart", "stock", "payment"} {
		w := workload{Name: name, Namespace: namespace, Image: weirImg, Args: "shop, " + name, Replicas: 2, Port: 8080, Probe: "/"}
		switch name {
		case "frontend":
			w.Probe = "" // it would call the others
		case "payment":
			w.Replicas = 1
		}
		all = append(all, w)
	}
	c.deploy(t, all...)
}

// client is a pod that load can be sent from.
func client(namespace, name, node string) workload {
	return workload{Name: name, Namespace: namespace, Image: loadImg, Node: node}
}

// generator is a load generator at work in a pod.
type generator struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

var started atomic.Int64

// inside is a command in a pod's container. Not with `kubectl exec`, which
// would end with the API server; and a signal to ctr reaches the command.
func inside(pod object, command ...string) *exec.Cmd {
	id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), started.Add(1))
	return exec.Command(script, append([]string{"exec", strings.TrimPrefix(pod.Spec.NodeName, "node"),
		"ctr", "--namespace", "k8s.io", "tasks", "exec", "--exec-id", name, id}, command...)...)
}

// begin carries out a plan in a client's pod.
func (c *cluster) begin(t *testing.T, namespace, client string, plan load.Plan, args ...string) *generator {
	t.Helper()
	input, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{cmd: inside(c.pod(t, namespace, client, ""), append([]string{"/loadgen"}, args...)...)}
	g.cmd.Stdin, g.cmd.Stdout, g.cmd.Stderr = bytes.NewReader(input), &g.stdout, &g.stderr
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.cmd.Process.Kill() })
	return g
}

// end is what it has done when it is done.
func (g *generator) end(t *testing.T) (f load.Figures) {
	t.Helper()
	if err := g.cmd.Wait(); err != nil {
		t.Fatalf("load: %v\n%s", err, g.stderr.Bytes())
	}
	if err := json.Unmarshal(g.stdout.Bytes(), &f); err != nil {
		t.Fatalf("decode figures: %v\n%s", err, g.stdout.Bytes())
	}
	return f
}

// stop ends it; what was begun is finished.
func (g *generator) stop(t *testing.T) load.Figures {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return g.end(t)
}

// send carries out a plan to its end, which must be a good one.
func (c *cluster) send(t *testing.T, namespace, client string, plan load.Plan) int {
	t.Helper()
	f := c.begin(t, namespace, client, plan).end(t)
	if f.Done != plan.Requests || f.Error != "" {
		t.Fatalf("%s: %d of %d requests answered: %s", client, f.Done, plan.Requests, f.Error)
	}
	return f.Sent
}
