//go:build installs

package k8s

import (
	"encoding/json"
	"os"
	"strings"
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
		w := workload{Name: name, Namespace: namespace, Image: weirImg, Args: "shop, " + name, Replicas: 2, Port: 8080}
		if name == "payment" {
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

// send carries out a plan in a client's pod.
func (c *cluster) send(t *testing.T, namespace, client string, plan load.Plan) load.Figures {
	t.Helper()
	input, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	var f load.Figures
	out := c.kubectl(t, string(input), "-n", namespace, "exec", "-i", "deployment/"+client, "--", "/loadgen")
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("decode figures: %v\n%s", err, out)
	}
	if f.Done != plan.Requests || f.Error != "" {
		t.Errorf("%s: %d of %d requests answered: %s", client, f.Done, plan.Requests, f.Error)
	}
	return f
}

// manifest reads one with ${NAME} replaced.
func manifest(t *testing.T, name string, values map[string]string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return os.Expand(string(text), func(key string) string { return values[key] })
}
