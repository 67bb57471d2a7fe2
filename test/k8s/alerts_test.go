//go:build installs

package k8s

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// TestAlerts: a rule of the chart's values fires on the traffic that it looks at
// and is over after it, and both are said once, whoever is the alerter meanwhile.
func TestAlerts(t *testing.T) {
	c := need(t)
	const ns = "alerts"
	c.namespace(t, ns)
	c.deploy(t, workload{Name: "server1", Namespace: ns, Image: weirImg, Args: "shop, stock", Port: 8080, Node: "node1"}, client(ns, "client2", "node2"))
	c.helm(t, "upgrade", "weir", chart, "--reuse-values", "--values", "testdata/alerts.yaml", "--wait", "--timeout=5m")
	t.Cleanup(func() { c.helm(t, "rollback", "weir", "--wait", "--timeout=5m") })
	begin := time.Now()

	s := c.beginSteady(t, ns, "called", "client2", "server1")
	for _, state := range []string{"firing", "resolved"} {
		for range 3 { // the one that works, sooner or later
			pod := c.get(t, "pods", "-n", "weir", "-l", part("alerter"))[0].Metadata.Name
			c.kubectl(t, "", "-n", "weir", "delete", "pod", pod, "--grace-period=1")
			c.ready(t, "weir", "deployment/weir-alerter")
		}
		if state == "resolved" {
			s.stop(t)
		}
		c.alertIs(t, state)
	}

	var said []string
	for msg, err := range c.connect(t).Messages(t.Context(), bus.ReadConfig{Stream: proto.StreamAlerts, Subjects: []string{proto.AlertSubject("page", "Called")},
		StartTime: begin, StopAtEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		change, err := proto.DecodeAlertChange(msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, change.Status+" "+change.Labels["workload"])
	}
	if want := []string{"firing server1", "resolved server1"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}

	out := c.weir(t, "query", "-o", "json", `http_server_request_duration_seconds_count{namespace="alerts",http_route="/called"}`)
	if !strings.Contains(string(out), `"server1"`) {
		t.Errorf("kubectl weir query doesn't know what the rule looks at:\n%s", out)
	}
}

// alertIs waits until the state of the only alert Called is the one.
func (c *cluster) alertIs(t *testing.T, state string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(2 * time.Second) {
		var alerts []proto.Alert
		out, err := c.try("", "weir", "alerts", "--all", "-o", "json") // may find no alerter at work
		if err == nil {
			err = json.Unmarshal(out, &alerts)
		}
		called := slices.IndexFunc(alerts, func(a proto.Alert) bool { return a.Labels["alertname"] == "Called" })
		if called >= 0 && string(alerts[called].State) == state {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the alert isn't %s: %s %v", state, out, err)
		}
	}
}
