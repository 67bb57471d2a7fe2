//go:build installs

package k8s

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/test/rig"
)

const chart = "../../charts/weir"

// row is one of `kubectl weir latency`.
type row = rig.Row

// install installs the chart, unless it is, as its documentation says. A test
// that takes it away leaves the next one to install it again.
func (c *cluster) install(t *testing.T) {
	t.Helper()
	if c.installed {
		return
	}
	if _, err := c.run("helm", "-n", "weir", "status", "weir"); err == nil { // a run before has left it
		c.uninstall(t)
	}
	begin := time.Now()
	c.helm(t, "install", "weir", chart, "--create-namespace", "--values", "testdata/values.yaml", "--wait", "--timeout=4m")
	c.installed = true
	t.Logf("installed in %s", time.Since(begin).Round(time.Second))
	c.helm(t, "test", "weir", "--timeout=2m")
}

func (c *cluster) uninstall(t *testing.T) {
	t.Helper()
	c.helm(t, "uninstall", "weir", "--wait", "--timeout=3m")
	c.kubectl(t, "", "-n", "weir", "wait", "--for=delete", "pods", "-l", "app.kubernetes.io/instance=weir", "--timeout=90s")
	c.installed = false
}

// helm runs it in the namespace of the install.
func (c *cluster) helm(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := c.run(append([]string{"helm", "-n", "weir"}, args...)...)
	if err != nil {
		pods, _ := c.try("", "-n", "weir", "get", "pods", "-o", "wide")
		logs, _ := c.try("", "-n", "weir", "logs", "-l", "app.kubernetes.io/instance=weir", "--all-containers", "--prefix", "--tail=5")
		t.Fatalf("%v\n%s\n%s\n%s", err, out, pods, logs)
	}
	return out
}

// weir runs `kubectl weir`, which finds the install by itself.
func (c *cluster) weir(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := c.try("", append([]string{"weir"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// latency is what `kubectl weir latency` counts of this run in a namespace.
func (c *cluster) latency(t *testing.T, namespace string) (rows []row) {
	t.Helper()
	out := c.weir(t, "latency", "-n", namespace, "--by", "peer,operation", "--from", c.history.began.Format(time.RFC3339), "-o", "json")
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatalf("decode rows: %v\n%s", err, out)
	}
	return rows
}

// lost is what is known to be lost on all nodes; and the books must balance.
func (c *cluster) lost(t *testing.T) (exchanges uint64) {
	t.Helper()
	var ledger struct {
		Balanced bool
		Nodes    []struct{ Lost uint64 }
	}
	out := c.weir(t, "ledger", "--since", "2h", "-o", "json")
	if err := json.Unmarshal(out, &ledger); err != nil {
		t.Fatalf("decode ledger: %v\n%s", err, out)
	}
	if !ledger.Balanced {
		t.Errorf("the ledger isn't balanced:\n%s", out)
	}
	for _, n := range ledger.Nodes {
		exchanges += n.Lost
	}
	return exchanges
}

// connect signs in as the user of the Secret for events, through the Service.
func (c *cluster) connect(t *testing.T) *bus.Conn {
	t.Helper()
	var secret struct{ Data map[string][]byte }
	if err := json.Unmarshal(c.kubectl(t, "", "-n", "weir", "get", "secret", "weir-nats-events", "-o", "json"), &secret); err != nil {
		t.Fatal(err)
	}
	const host = "weir-nats.weir.svc"
	address := c.get(t, "services", "-n", "weir", "--field-selector=metadata.name=weir-nats")[0].Spec.ClusterIP
	conn, err := bus.Connect(t.Context(), bus.Options{
		Name: "test", URL: strings.Replace(string(secret.Data["server"]), host, address, 1), FixedURL: true,
		TLSServerName: host, TLSCAData: secret.Data["ca.crt"],
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// edge is who sent how many requests to whom. A workload with its node's network
// may be called like the node by what is on another: addresses don't tell more.
type edge struct {
	client, server         string
	clientNode, serverNode string // of host network
	operation              string // "": all
	n                      int
}

// settle is a window, the way into the stream, and what a busy machine needs.
const settle = 90 * time.Second

// checkEdges waits until the edges are counted, at both ends as often as sent.
func (c *cluster) checkEdges(t *testing.T, namespace string, want []edge) {
	t.Helper()
	deadline := time.Now().Add(settle)
	for {
		rows := c.latency(t, namespace)
		problems := compare(rows, want)
		if len(problems) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, row := range rows {
				t.Logf("%s: %s, peer %s: %d %s", row.Side, row.Workload, row.PeerWorkload, row.Count, row.Operation)
			}
			t.Errorf("after %v:\n%s", settle, strings.Join(problems, "\n"))
			return
		}
	}
}

func compare(rows []row, want []edge) (problems []string) {
	for _, e := range want {
		asClient, asServer := 0, 0
		for _, row := range rows {
			is := func(name, want, node string) bool { return name == want || node != "" && name == node }
			switch {
			case e.operation != "" && row.Operation != e.operation:
			case row.Side == "client" && row.Workload == e.client && is(row.PeerWorkload, e.server, e.serverNode):
				asClient += int(row.Count)
			case row.Side == "server" && row.Workload == e.server && is(row.PeerWorkload, e.client, e.clientNode):
				asServer += int(row.Count)
			}
		}
		if asClient != e.n || asServer != e.n {
			problems = append(problems, fmt.Sprintf("%s → %s %s: %d sent, the client's side has %d, the server's %d",
				e.client, e.server, e.operation, e.n, asClient, asServer))
		}
	}
	return problems
}

// keep tells whether to leave everything for a look.
func keep() bool { return os.Getenv("WEIR_CLUSTER_KEEP") != "" }
