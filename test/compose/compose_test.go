//go:build installs

package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/demo"
	"github.com/weirstream/weir/test/rig"
)

const requests = 2000 // that the load sends, at least

// TestShopByContainerName: every request of the shop is in the histograms, under
// the names of the containers at both ends.
func TestShopByContainerName(t *testing.T) {
	if os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("starts a Docker engine, and the agent as root; set WEIR_REQUIRE=all")
	}
	if os.Geteuid() != 0 {
		t.Fatal("WEIR_REQUIRE=all, but not root")
	}
	d := startDocker(t)
	weir := d.build()
	d.env = append(d.env, "WEIR_DOCKER_ROOT="+d.root(), "WEIR_CGROUP="+rig.CGroup2(t), "WEIR_SHOP_RATE=100")
	d.env = append(d.env, d.workarounds()...)

	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := d.try("docker-compose", "logs", "--no-color", "--tail=20")
			t.Log(logs)
		}
		if _, err := d.try("docker-compose", "down", "--volumes", "--timeout", "5"); err != nil {
			t.Error(err)
		}
	})
	// The load comes last: what it sends before the agent captures isn't counted.
	up := []string{"docker-compose", "up", "--detach", "--no-build"}
	services := strings.Fields(d.run("docker-compose", "config", "--services"))
	d.run(append(up, slices.DeleteFunc(services, func(s string) bool { return s == "load" })...)...)
	d.eventually(time.Minute, "agent captures", func() error { return d.logged("weir-agent", "lane_opened") })
	d.run(append(up, "load")...)

	d.eventually(2*time.Minute, "load has sent enough", func() error {
		sent, err := d.sent()
		if err == nil && sent.Answered < requests {
			err = fmt.Errorf("%d", sent.Answered)
		}
		return err
	})
	d.run("docker", "stop", "--time", "30", "shop-load")
	sent, err := d.sent()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the load sent %d requests", sent.Sent)
	if sent.Answered != sent.Sent {
		t.Errorf("of %d requests %d were answered", sent.Sent, sent.Answered)
	}
	rows := d.latency(weir)
	compare(t, rows, sent.ByOperation)
	for id := range strings.FieldsSeq(d.run("docker", "ps", "--all", "--quiet")) {
		for _, row := range rows {
			if row.Workload == id || row.PeerWorkload == id {
				t.Errorf("a container is called by its id: %+v", row)
			}
		}
	}
	ledger, err := d.inside(weir, "ledger").CombinedOutput()
	t.Logf("%s", ledger)
	if err != nil || !strings.Contains(string(ledger), "the histograms hold what was delivered") {
		t.Errorf("weir ledger: %v", err)
	}
}

// workarounds are what docs/docker.md tells users of old engines: Debian 12's
// doesn't know the capabilities BPF and PERFMON.
func (d *docker) workarounds() []string {
	d.t.Helper()
	id, err := d.try("docker", "create", "--cap-add", "BPF", d.image("nats"))
	if err == nil {
		d.run("docker", "rm", strings.TrimSpace(id))
		return nil
	}
	if !strings.Contains(err.Error(), "unknown capability") {
		d.t.Fatal(err)
	}
	return []string{"WEIR_CAP_BPF=SYS_ADMIN", "WEIR_CAP_PERFMON=NET_RAW", "WEIR_SECCOMP=seccomp=unconfined"}
}

func (d *docker) logged(container, what string) error {
	cmd := exec.Command("docker", "logs", container)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), what) {
		err = fmt.Errorf("%s has not logged %s:\n%s", container, what, out)
	}
	return err
}

// sent is what the load generator says it did: it is asked, and prints it.
func (d *docker) sent() (c demo.Counts, err error) {
	_, _ = d.try("docker", "kill", "--signal", "USR1", "shop-load") // it may have been stopped
	out, err := d.try("docker", "logs", "shop-load")
	if err != nil {
		return c, err
	}
	if at := strings.LastIndex(out, "\n}\n"); at >= 0 {
		out = out[strings.LastIndex(out[:at], "\n{")+1 : at+3]
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return c, fmt.Errorf("decode counts %q: %w", out, err)
	}
	return c, nil
}

// latency waits until all is counted.
func (d *docker) latency(weir string) (rows []rig.Row) {
	d.t.Helper()
	d.eventually(time.Minute, "weir latency", func() error {
		out, err := d.inside(weir, "latency", "--by", "operation,peer", "--since", "1h", "-o", "json").Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(out, &rows)
	})
	return rows
}

// compare: the front end got, and the load made, what the load counted; and what
// each service got is what its callers made.
func compare(t *testing.T, rows []rig.Row, want map[string]uint64) {
	t.Helper()
	served, called := map[string]uint64{}, map[string]uint64{}
	for _, row := range rows {
		switch {
		case row.Side == "server":
			served[row.Workload] += row.Count
		case strings.HasPrefix(row.Workload, "shop-"):
			called[row.PeerWorkload] += row.Count
		}
	}
	for _, service := range []string{"frontend", "catalogue", "cart", "stock", "payment"} {
		service = "shop-" + service
		if served[service] == 0 || served[service] != called[service] {
			t.Errorf("%s: %d requests as it saw them, %d as its callers did", service, served[service], called[service])
		}
	}
	for operation, n := range want {
		var server, client uint64
		for _, row := range rows {
			switch {
			case row.Operation != operation:
			case row.Side == "server" && row.Workload == "shop-frontend" && row.PeerWorkload == "shop-load":
				server += row.Count
			case row.Side == "client" && row.Workload == "shop-load" && row.PeerWorkload == "shop-frontend":
				client += row.Count
			}
		}
		if server != n || client != n {
			t.Errorf("%s: %d were sent, %d are counted at the front end, %d at the load", operation, n, server, client)
		}
	}
}
