//go:build installs

package k8s

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
)

// TestAPIServerAway: measuring goes on with what is known, and everything that
// shows names says that they may be old; afterwards it heals by itself.
func TestAPIServerAway(t *testing.T) {
	c := need(t)
	const ns = "away"
	c.namespace(t, ns)
	c.deploy(t, workload{Name: "server", Namespace: ns, Image: weirImg, Args: "shop, stock", Port: 8080, Node: "node2"}, client(ns, "client", "node1"))
	reader := c.reader(t)
	before := c.restarts(t)
	enrichers := c.get(t, "pods", "-n", "weir", "-l", part("enricher"))

	generator := c.begin(t, ns, "client", load.Plan{
		Addr: "server." + ns + ".svc.cluster.local:8080", Requests: 1 << 30, Conns: 4, Rate: 100, Mix: []load.Request{{Path: "/away"}},
	})
	if _, err := c.script("api-down"); err != nil {
		t.Fatal(err)
	}
	down := time.Now()
	back := false
	t.Cleanup(func() {
		if !back {
			_, _ = c.script("api-up")
		}
	})
	rig.Eventually(t, time.Minute, "every enricher says that names are stale", func() bool { return stale(t, enrichers) == len(enrichers) })
	silent := time.Since(down)
	rig.Eventually(t, time.Minute, "weir doctor says that names are stale", func() bool {
		check := reader.doctor(t)["names"]
		return check.Status == "warn" && strings.HasPrefix(check.Found, "stale for ")
	})
	rig.Eventually(t, time.Minute, "weir observe says that names are stale", func() bool {
		out := reader.weir(t, "observe", "server", "-n", ns, "--last", "10", "-o", "json")
		return strings.Count(string(out), `"stale":true`) == 10
	})
	shown := time.Since(down)
	for name, check := range reader.doctor(t) {
		if name != "names" && check.Status == "fail" {
			t.Errorf("weir doctor: %s: %s", name, check.Found)
		}
	}
	time.Sleep(time.Until(down.Add(time.Minute))) // how long it is away is what is tested

	up := time.Now()
	if _, err := c.script("api-up"); err != nil {
		t.Fatal(err)
	}
	back = true
	t.Logf("stale after %s, shown everywhere after %s, away for %s", silent.Round(time.Second), shown.Round(time.Second), time.Since(down).Round(time.Second))
	rig.Eventually(t, time.Minute, "no enricher says that names are stale", func() bool { return stale(t, enrichers) == 0 })
	healed := time.Now()
	t.Logf("healed %s after the API server was started", healed.Sub(up).Round(100*time.Millisecond))
	rig.Eventually(t, time.Minute, "weir doctor says that names are known", func() bool { return reader.doctor(t)["names"].Status == "ok" })
	f := generator.stop(t)
	if f.Error != "" || f.Failed > 0 {
		t.Errorf("the load itself went wrong: %s (%d failed)", f.Error, f.Failed)
	}
	c.checkEdges(t, ns, []edge{{client: "client", server: "server", operation: "GET /away", n: f.Sent}})

	k := c.checker(t)
	flagged := map[string][2]int{} // events, stale ones
	c.events(t, down, func(frame *proto.Frame, e *proto.Event) {
		if e.From.Namespace != ns && e.To.Namespace != ns {
			return
		}
		k.check(frame, e)
		when := "between"
		switch end := time.Unix(0, e.EndNS); {
		case end.After(down.Add(silent)) && end.Before(up.Add(-2*time.Second)): // a frame is a second old
			when = "away"
		case end.After(healed):
			when = "healed"
		}
		n := flagged[when]
		n[0]++
		if e.Flags&proto.FlagStale != 0 {
			n[1]++
		}
		flagged[when] = n
	})
	k.report(t)
	t.Logf("events and stale ones: %v", flagged)
	if n := flagged["away"]; n[0] == 0 || n[1] != n[0] {
		t.Errorf("of %d events while the API server was away %d are marked stale", n[0], n[1])
	}
	if n := flagged["healed"]; n[0] == 0 || n[1] != 0 {
		t.Errorf("of %d events after it healed %d are marked stale", n[0], n[1])
	}
	if after := c.restarts(t); !maps.Equal(after, before) {
		t.Errorf("containers restarted: %v, before %v", after, before)
	}
}

// restarts of Weir's containers, by pod.
func (c *cluster) restarts(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, p := range c.get(t, "pods", "-n", "weir", "-l", "app.kubernetes.io/name=weir") {
		for _, s := range p.Status.ContainerStatuses {
			n[p.Metadata.Name] += s.RestartCount
		}
	}
	return n
}

// stale is how many enrichers say so in their metrics.
func stale(t *testing.T, enrichers []object) (n int) {
	t.Helper()
	for _, p := range enrichers {
		n += int(metric(t, p, 7072, "weir_enricher_kubernetes_stale"))
	}
	return n
}

// metric reads one of a pod's. This machine has a route to it.
func metric(t *testing.T, pod object, port int, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no metric %s", pod.Metadata.Name, name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// reader is a pod that asks with a Secret of the install: that doesn't need the
// API server, as `kubectl weir` does.
type reader struct{ object }

func (c *cluster) reader(t *testing.T) reader {
	t.Helper()
	c.kubectl(t, "", "apply", "-f", "testdata/reader.yaml")
	t.Cleanup(func() { c.kubectl(t, "", "delete", "-f", "testdata/reader.yaml", "--wait=false") })
	c.ready(t, "weir", "deployment/reader")
	return reader{c.pod(t, "weir", "reader", "")}
}

func (r reader) weir(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := output(inside(r.object, append([]string{"/weir"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type check struct{ Name, Status, Found string }

func (r reader) doctor(t *testing.T) map[string]check {
	t.Helper()
	var list []check
	out, err := output(inside(r.object, "/weir", "doctor", "--no-host", "-o", "json"))
	if jsonErr := json.Unmarshal(out, &list); jsonErr != nil {
		t.Fatalf("decode checks: %v (%v)\n%s", jsonErr, err, out)
	}
	checks := map[string]check{}
	for _, c := range list {
		checks[c.Name] = c
	}
	return checks
}
