//go:build installs

package k8s

import (
	"strings"
	"testing"
)

// TestUninstall: nothing is left but the volumes; and what is on them is there
// again after an install with less to be sized for.
func TestUninstall(t *testing.T) {
	c := need(t)
	before := c.latency(t, "kube-system")
	c.uninstall(t)

	kinds := strings.Fields(string(c.kubectl(t, "", "api-resources", "--verbs=list", "-o", "name")))
	left := c.kubectl(t, "", "get", strings.Join(kinds, ","), "-A", "-l", "app.kubernetes.io/instance=weir", "-o", "name")
	for _, name := range strings.Fields(string(left)) {
		if !strings.HasPrefix(name, "persistentvolumeclaim/data-weir-nats-") {
			t.Errorf("%s is left", name)
		}
	}
	for _, name := range strings.Fields(string(c.kubectl(t, "", "-n", "weir", "get", "secrets,configmaps", "-o", "name"))) {
		if name != "configmap/kube-root-ca.crt" {
			t.Errorf("%s is left", name)
		}
	}
	for _, node := range []string{"1", "2"} {
		out, err := c.script("exec", node, "find", "/run", "/sys/fs/bpf", "/var/lib", "-maxdepth", "1", "-name", "*weir*", "-size", "+0")
		if err != nil || len(out) > 0 {
			t.Errorf("on node %s is left: %s (%v)", node, out, err)
		}
	}

	c.helm(t, "install", "weir", chart, "--values", "testdata/values.yaml", "--set=sizing.requestsPerSecond=50", "--wait", "--timeout=4m")
	c.installed = true
	count := func(rows []row) (n uint64) {
		for _, r := range rows {
			n += r.Count
		}
		return n
	}
	if was, is := count(before), count(c.latency(t, "kube-system")); was == 0 || is < was {
		t.Errorf("%d requests were counted before, %d are now", was, is)
	}
}
