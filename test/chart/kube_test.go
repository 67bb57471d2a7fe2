package chart

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/kube"
)

// before is what is in a cluster before the install.
const before = `
apiVersion: v1
kind: Namespace
metadata:
  name: weir
  labels: {pod-security.kubernetes.io/warn: restricted, pod-security.kubernetes.io/enforce: privileged}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: PodMonitor, plural: podmonitors}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
`

// cluster is a Kubernetes API and its clients.
type cluster struct {
	t   *testing.T
	api *kube.API
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	Program(t, "helm")
	Program(t, "kubectl")
	c := &cluster{t, kube.Start(t)}
	c.kubectl(before, "apply", "-f", "-")
	c.kubectl("", "wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com", "--timeout=30s")
	return c
}

// kubectl returns what it prints, warnings included.
func (c *cluster) kubectl(input string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(Program(c.t, "kubectl"), append([]string{"--kubeconfig", c.api.Kubeconfig, "--cache-dir", c.api.Dir}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func (c *cluster) helm(args ...string) (string, error) {
	c.t.Helper()
	out, err := Helm(c.t, append(args, "--kubeconfig", c.api.Kubeconfig, "--namespace", "weir")...)
	return string(out), err
}

func (c *cluster) must(args ...string) string {
	c.t.Helper()
	out, err := c.helm(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// TestServerTakesIt puts every object before a real API server, which checks
// names, types and values. It warns of pods that the restricted standard
// wouldn't take: the agent is the only one.
func TestServerTakesIt(t *testing.T) {
	c := startCluster(t)
	for name, args := range values(t) {
		out, err := Template(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		said := c.kubectl(string(out), "apply", "--dry-run=server", "--validate=strict", "--namespace", "weir", "-f", "-")
		var warned []string
		for line := range strings.Lines(said) {
			if strings.HasPrefix(line, "Warning:") {
				warned = append(warned, line)
			}
		}
		if len(warned) != 1 || !strings.Contains(warned[0], `hostPID=true`) || !strings.Contains(warned[0], `container "agent"`) {
			t.Errorf("%s: warnings: %q", name, warned)
		}
	}
}

// TestLife installs, upgrades, rolls back and uninstalls.
func TestLife(t *testing.T) {
	c := startCluster(t)
	notes := c.must("install", "weir", Folder())
	if !strings.Contains(notes, "kubectl weir latency -A") {
		t.Errorf("notes say nothing of what to do next:\n%s", notes)
	}
	first := c.secrets()
	if len(first) != 11 { // the CA and certificate, nine users, the token of the page
		t.Errorf("secrets are %v", slices.Sorted(maps.Keys(first)))
	}

	// More requests: larger streams, the same users, another Job.
	notes = c.must("upgrade", "weir", Folder(), "--set", "sizing.requestsPerSecond=2000", "--set", "enricher.replicas=3")
	if !strings.Contains(notes, "and can't change that: docs/kubernetes.md says how to enlarge them") {
		t.Errorf("notes say nothing of the volumes:\n%s", notes)
	}
	c.same(first, "upgrade")
	if v := c.must("get", "values", "weir"); strings.Contains(v, "state") {
		t.Errorf("what the chart works out is kept with the values:\n%s", v)
	}
	if jobs := strings.Fields(c.kubectl("", "get", "jobs", "-n", "weir", "-o", "name")); len(jobs) != 1 {
		t.Errorf("jobs are %v", jobs)
	}
	if _, err := c.helm("upgrade", "weir", Folder(), "--set", "sizing.requestsPerSecond=20000"); err == nil || !strings.Contains(err.Error(), "enlarge the volumes first") {
		t.Errorf("streams larger than the volumes: %v", err)
	}

	c.must("rollback", "weir", "1")
	c.same(first, "rollback")
	if n := c.kubectl("", "get", "deployment", "weir-enricher", "-n", "weir", "-o", "jsonpath={.spec.replicas}"); n != "2" {
		t.Errorf("after the rollback there are %s enrichers", n)
	}

	// Other names: another certificate, and so another CA, but the same users.
	c.must("upgrade", "weir", Folder(), "--set", "nats.extraNames={nats.example}")
	renamed := c.secrets()
	if renamed["weir-nats-tls"] == first["weir-nats-tls"] {
		t.Error("the certificate stays though its names don't")
	}
	if password(renamed["weir-nats-agent"]) != password(first["weir-nats-agent"]) {
		t.Error("a new certificate changes passwords")
	}
	// A Secret that was deleted is made anew, and nothing else.
	c.kubectl("", "delete", "secret", "weir-nats-agent", "-n", "weir")
	c.must("upgrade", "weir", Folder(), "--set", "nats.extraNames={nats.example}")
	for name, text := range c.secrets() {
		if same := text == renamed[name]; same == (name == "weir-nats-agent") {
			t.Errorf("Secret %s: the same is %v", name, same)
		}
	}

	// No node here runs the Job that tells the agents.
	if _, err := c.helm("uninstall", "weir", "--wait"); err == nil || !strings.Contains(err.Error(), "weir-retire") {
		t.Errorf("uninstall without nodes: %v", err)
	}
	c.must("uninstall", "weir", "--wait", "--no-hooks")
	c.nothingLeft()
}

// secrets are the data of the chart's Secrets.
func (c *cluster) secrets() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	out := c.kubectl("", "get", "secrets", "-n", "weir", "-l", "app.kubernetes.io/instance=weir", "-o", `jsonpath={range .items[*]}{.metadata.name} {.data}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		name, data, _ := strings.Cut(line, " ")
		all[name] = data
	}
	return all
}

func password(data string) string {
	_, after, _ := strings.Cut(data, `"password":"`)
	before, _, _ := strings.Cut(after, `"`)
	return before
}

func (c *cluster) same(want map[string]string, after string) {
	c.t.Helper()
	if got := c.secrets(); !maps.Equal(got, want) {
		c.t.Errorf("after the %s other Secrets: %v", after, slices.Sorted(maps.Keys(got)))
	}
}

// nothingLeft looks for objects of every kind that can be listed.
func (c *cluster) nothingLeft() {
	c.t.Helper()
	kinds := strings.Fields(c.kubectl("", "api-resources", "--verbs=list", "-o", "name"))
	// Volumes are kept; events go by themselves; of the last two kubectl warns.
	leave := []string{"persistentvolumeclaims", "events", "events.events.k8s.io", "componentstatuses", "endpoints"}
	kinds = slices.DeleteFunc(kinds, func(kind string) bool { return slices.Contains(leave, kind) })
	var left string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		left = c.kubectl("", "get", strings.Join(kinds, ","), "-A", "-l", "app.kubernetes.io/instance=weir", "-o", "name", "--ignore-not-found")
		if left == "" {
			return
		}
	}
	c.t.Errorf("left behind:\n%s", left)
}

func TestMain(m *testing.M) {
	// Clients of this test must not find another cluster by themselves.
	if err := os.Unsetenv("KUBECONFIG"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
