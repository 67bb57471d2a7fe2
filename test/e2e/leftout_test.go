package e2e

import (
	"bufio"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// TestLeftOut: of a pod that is left out, a process and a cgroup, nothing is in
// the streams; of everybody else every request, also of those who talk to them.
// The agent is the one that is installed, without the capabilities that it drops.
func TestLeftOut(t *testing.T) {
	machine.Need(t)
	c := machine.Idle(t)
	for _, service := range c.Services {
		service.Start()
	}
	const uid = "0a1b2c3d-1111-2222-3333-444455556666"
	root := rig.CGroup2(t)
	inPod := within(t, filepath.Join(root, "weir-e2e-kubepods/burstable/pod"+uid, podContainer))
	other := within(t, filepath.Join(root, "weir-e2e-kubepods/burstable/pod"+strings.Replace(uid, "6666", "7777", 1), strings.Replace(podContainer, "01", "10", 1)))
	below := within(t, filepath.Join(root, "weir-e2e-backup/deeper"))

	c.Agent.Args = append([]string{"setpriv", "--bounding-set", allBut(""), "--inh-caps=-all"},
		append(c.Agent.Args, "--node", "node.1", "--leave-out", "hushed,/weir-e2e-backup")...)
	leaveOut(t, c.URL, "node.1", uid)
	c.StartAgent() // which knows before it captures
	if got := metric(t, c.AgentHTTP, "weir_agent_left_out_pods"); got != 1 {
		t.Fatalf("the agent leaves out %g pods, want 1", got)
	}

	hidden := servers.Start(t, servers.Go(), servers.Wrap(inPod...))
	shown := servers.Start(t, servers.Go(), servers.Wrap(other...))
	hushed := servers.Start(t, servers.Go(), servers.Named("hushed"))
	backup := servers.Start(t, servers.Go(), servers.Wrap(below...))
	sent := map[string][2]uint64{} // by scene: requests to be seen at the server, at the client
	send := func(name string, g rig.Generator, server *servers.Server, atServer, atClient bool) {
		t.Helper()
		const n = 200
		f := machine.Run(t, g, load.Plan{
			Addr: server.Addr(), Requests: n, Conns: 4, Retry: 50 * time.Millisecond,
			Mix: []load.Request{{Path: "/" + name + "/bytes/6"}, {Path: "/" + name + "/chunked/1000"}},
		})
		if f.Done != n {
			t.Errorf("%s: %d of %d requests answered: %s", name, f.Done, n, f.Error)
		}
		var want [2]uint64
		if atServer {
			want[0] = uint64(f.Sent)
		}
		if atClient {
			want[1] = uint64(f.Sent)
		}
		sent[name] = want
	}
	send("to-a-hidden-pod", rig.Generator{Wrap: other}, hidden, false, true)
	send("from-a-hidden-pod", rig.Generator{Wrap: inPod}, shown, true, false)
	send("within-a-hidden-pod", rig.Generator{Wrap: inPod}, hidden, false, false)
	send("between-others", rig.Generator{Wrap: other}, shown, true, true)
	send("to-a-hushed-process", rig.Generator{}, hushed, false, true)
	send("from-a-hushed-process", rig.Generator{Name: "hushed"}, shown, true, false)
	send("to-a-hidden-cgroup", rig.Generator{}, backup, false, true)

	c.Streams().Settle(settle)
	rows := c.Streams().Latency()
	for name, want := range sent {
		for i, side := range []string{"server", "client"} {
			if got := rig.Count(rig.Case(rows, name, side)); got != want[i] {
				t.Errorf("%s: %d requests seen by the %s, want %d", name, got, side, want[i])
			}
		}
	}
	for _, row := range rows {
		if row.Lost != 0 {
			t.Fatalf("%d lost: what is left out is no loss", row.Lost)
		}
	}
	if got := metric(t, c.AgentHTTP, "weir_agent_left_out_connections_total"); got < 12 {
		t.Errorf("the kernel left out %g connections of the pod, want at least 12", got)
	}
	if got := metric(t, c.AgentHTTP, "weir_agent_left_out_exchanges_total"); got < 600 {
		t.Errorf("the agent left out %g exchanges, want those of three scenes at least", got)
	}
}

// within is a command that puts the one after it into a cgroup.
func within(t *testing.T, cgroup string) []string {
	t.Helper()
	makeCgroup(t, cgroup)
	return []string{"sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, cgroup}
}

// leaveOut writes what an enricher would.
func leaveOut(t *testing.T, url, node string, pods ...string) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: url, Name: t.Name()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	table, err := conn.OpenTable(t.Context(), proto.BucketLeftOut)
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.EncodeLeftOut(&proto.LeftOut{Node: node, Pods: pods})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Put(t.Context(), proto.LeftOutKey(node), data); err != nil {
		t.Fatal(err)
	}
}

// metric reads a metric without labels.
func metric(t *testing.T, addr, name string) (value float64) {
	t.Helper()
	for s := bufio.NewScanner(strings.NewReader(fetch(t, "http://"+addr+"/metrics"))); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), name+" %g", &value); err == nil {
			return value
		}
	}
	t.Fatalf("no %s in /metrics", name)
	return 0
}
