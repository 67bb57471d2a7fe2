//go:build installs

package k8s

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// weirOnHost runs only the agents in the cluster, as a DaemonSet; the rest
// runs on this machine and asks the API for names.
func (c *cluster) weirOnHost(t *testing.T) rig.Streams {
	t.Helper()
	dir := t.TempDir()
	start := func(name string, args ...string) *rig.Process {
		p := rig.NewProcess(t, name, filepath.Join(dir, name+".log"), append([]string{machine.Weir}, args...)...)
		p.Start()
		return p
	}
	nats := address(t, host)
	start("nats", "nats", "--data-dir", filepath.Join(dir, "nats"), "--nats", nats)
	rig.Eventually(t, 20*time.Second, "nats listens", func() bool {
		conn, err := net.Dial("tcp", nats)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	streams := machine.Streams(t, "nats://"+nats)
	if out, err := streams.Weir("provision"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := []string{"--server", streams.NATS}
	start("enricher", append(server, "enricher", "--http", address(t, "127.0.0.1"), "--kubeconfig", c.kubeconfig)...)
	start("aggregator", append(server, "aggregator", "--http", address(t, "127.0.0.1"))...)

	c.kubectl(t, manifest(t, "agent.yaml", map[string]string{"SERVER": streams.NATS}), "apply", "-f", "-")
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := c.try("", "-n", "weir", "logs", "-l", "app=weir-agent", "--prefix", "--tail=20")
			t.Logf("agents:\n%s", logs)
		}
		c.kubectl(t, "", "delete", "namespace", "weir", "--wait", "--timeout=60s")
	})
	c.ready(t, "weir", "daemonset/weir-agent")
	return streams
}

// address is a free one of this machine.
func address(t *testing.T, host string) string {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// edge is who sent how many requests to whom.
type edge struct {
	client, server string
	n              uint64
}

// checkEdges waits until the edges are counted, at both ends as often as sent.
func checkEdges(t *testing.T, streams rig.Streams, namespace string, want []edge) {
	t.Helper()
	deadline := time.Now().Add(settle)
	for {
		rows := streams.Latency("--by", "peer")
		problems := compare(rows, namespace, want)
		if len(problems) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, row := range rows {
				t.Logf("%s: %s/%s, peer %s: %d", row.Side, row.Namespace, row.Workload, row.PeerWorkload, row.Count)
			}
			t.Fatalf("after %v:\n%s", settle, strings.Join(problems, "\n"))
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func compare(rows []rig.Row, namespace string, want []edge) (problems []string) {
	for _, e := range want {
		for side, ends := range map[string][2]string{"client": {e.client, e.server}, "server": {e.server, e.client}} {
			var n uint64
			for _, row := range rows {
				if row.Side == side && row.Namespace == namespace && row.Workload == ends[0] && row.PeerWorkload == ends[1] {
					n += row.Count
				}
			}
			if n != e.n {
				problems = append(problems, fmt.Sprintf("%s → %s: %d seen by the %s, want %d", e.client, e.server, n, side, e.n))
			}
		}
	}
	return problems
}

const settle = 60 * time.Second // a window, and what a busy machine needs
