package agent

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestLeaveOutByConfiguration(t *testing.T) {
	o, err := newLeftOut([]string{"curl", "a-name-longer-than-15", "/system.slice/backup.service/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, cgroup string
		want         bool
	}{
		{"curl", "0::/\n", true},
		{"curly", "0::/\n", false},
		{"a-name-longer-t", "0::/\n", true},
		{"nginx", "0::/system.slice/backup.service\n", true},
		{"nginx", "0::/system.slice/backup.service/worker\n", true},
		{"nginx", "0::/system.slice/backup.service2\n", false},
		{"nginx", "0::/user.slice/system.slice/backup.service\n", false},
		{"nginx", "0::/../../system.slice/backup.service\n", true},
		{"nginx", "12:cpu,cpuacct:/system.slice/backup.service\n0::/\n", true},
		{"", "", false},
	} {
		if got := o.configured(tt.name, tt.cgroup); got != tt.want {
			t.Errorf("%q in %q: %v", tt.name, tt.cgroup, got)
		}
	}
	for _, wrong := range []string{"", "/", "system.slice/backup.service"} {
		if _, err := newLeftOut([]string{wrong}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("leave out %q", wrong)) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// What is left out is no loss either: a request without an answer when its
// connection is dropped, and one whose records were lost.
func TestNothingLeftOutIsLost(t *testing.T) {
	for _, out := range []bool{false, true} {
		w := newWire(t, 1)
		if out {
			w.tracker.procs.leftOut.names = []string{"app"}
		}
		info := w.info()
		info.Tgid = 1 << 30
		copy(info.Comm[:], "app")
		w.feed(record{Record: &bpf.Record{Kind: bpf.KindConn, Cookie: 1, Flags: bpf.FlagFresh}, info: info})
		w.receive(get("/a"))
		w.open(2) // takes its place
		if got := w.lost[proto.LossTracked+" "+proto.UnitExchanges]; (got == 0) != out {
			t.Errorf("left out: %v, lost: %v", out, w.lost)
		}
	}
}

// pod makes the cgroups of a pod as a kubelet does, systemd's or its own, and
// returns that of its container.
func pod(t *testing.T, root, uid string, systemd bool) string {
	t.Helper()
	path := filepath.Join(root, "kubepods", "burstable", "pod"+uid, strings.Repeat("0f", 32))
	if systemd {
		path = filepath.Join(root, "kubepods.slice", "kubepods-burstable.slice",
			"kubepods-burstable-pod"+strings.ReplaceAll(uid, "-", "_")+".slice", "cri-containerd-"+strings.Repeat("0e", 32)+".scope")
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for dir := path; dir != root; dir = filepath.Dir(dir) {
			_ = os.Remove(dir) // what other pods are in stays for them
		}
	})
	return path
}

// village is pods that ask each other while an agent looks.
type village struct {
	*testing.T
	conn    *bus.Conn
	metrics *prometheus.Registry
	pods    map[string]*client // by UID
	addrs   map[string]string
	want    map[string]int // events by pod, side and route
}

// TestPodsAreLeftOut: what the bucket says holds for what ends in the pod, and
// for nothing else; the bucket may be missing, be made later, or be away; and
// who is named no more is measured again, also on connections that were open.
func TestPodsAreLeftOut(t *testing.T) {
	require(t)
	root := group(t)
	server := bustest.Start(t)
	v := newVillage(t, server)
	bustest.DeleteStream(t, server.URL, "KV_"+proto.BucketLeftOut) // an older release made none
	const a, b, late = "0a1b2c3d-1111-2222-3333-444455556666", "0a1b2c3d-1111-2222-3333-444455557777", "0a1b2c3d-1111-2222-3333-444455558888"
	v.start(a, "127.0.0.1:18393", pod(t, root, a, false))
	v.start(b, "127.0.0.1:18394", pod(t, root, b, true))

	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan Info, 1), make(chan error, 1)
	cfg := Config{
		Node: "node.1", Connect: connected(v.conn), Cgroup: root, LockFile: filepath.Join(t.TempDir(), "lock"),
		Metrics: v.metrics, Ready: func(i Info) { ready <- i },
	}
	go func() { done <- Run(ctx, cfg, bustest.Logger(t)) }()
	var info Info
	select {
	case info = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	v.ask("/users/before")
	bustest.Provision(t, v.conn, 1, 1)
	v.say("node.1", a, late)
	v.ask("/users/without-one", a)
	v.start(late, "127.0.0.1:18395", pod(t, root, late, true)) // listed before it is there
	v.ask("/users/without-two", a, late)
	server.Restart()
	v.ask("/users/away", a, late)
	v.say("node.1", a, b, late)
	v.ask("/users/nobody", a, b, late)
	v.say("node.1", b)
	v.ask("/users/changed", b)
	v.say("node.1")
	v.ask("/users/again")
	if n := v.metric("weir_agent_left_out_connections_total"); (n == 0) != (info.NoWait != "") {
		t.Errorf("the kernel leaves out %g connections", n)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	v.check()
}

// TestNATSIsAwayAtTheStart: the agent measures before it has ever reached NATS,
// and publishes nothing of the pods that it then hears are left out.
func TestNATSIsAwayAtTheStart(t *testing.T) {
	require(t)
	root := group(t)
	v := newVillage(t, bustest.Start(t))
	const a, b = "0a1b2c3d-1111-2222-3333-444455556666", "0a1b2c3d-1111-2222-3333-444455557777"
	v.start(a, "127.0.0.1:18396", pod(t, root, a, false))
	v.start(b, "127.0.0.1:18397", pod(t, root, b, true))
	ctx, stop := context.WithCancel(t.Context())
	ready, connect, done := make(chan Info, 1), make(chan struct{}), make(chan error, 1)
	cfg := Config{
		Node: "node.1", Cgroup: root, LockFile: filepath.Join(t.TempDir(), "lock"), Metrics: v.metrics, Ready: func(i Info) { ready <- i },
		Connect: func(context.Context) (*bus.Conn, int, error) { <-connect; return v.conn, 1, nil },
	}
	go func() { done <- Run(ctx, cfg, bustest.Logger(t)) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	v.ask("/users/early", a)
	bustest.Eventually(t, func() bool { return v.metric("weir_agent_spool_bytes") > 0 }, "nothing waits for NATS")
	if err := v.list("node.1", a); err != nil {
		t.Fatal(err)
	}
	close(connect)
	v.say("node.1", a)
	v.ask("/users/late", a)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	v.check()
}

func newVillage(t *testing.T, server *bustest.Server) *village {
	v := &village{
		T: t, conn: bustest.Connect(t, server.URL), metrics: prometheus.NewRegistry(),
		pods: map[string]*client{}, addrs: map[string]string{}, want: map[string]int{},
	}
	bustest.Provision(t, v.conn, 1, 1)
	return v
}

// check compares what is stored with what was asked.
func (v *village) check() {
	v.Helper()
	events, losses := stored(v.T, v.conn)
	for _, l := range losses {
		v.Errorf("lost: %+v", l)
	}
	got := map[string]int{}
	for _, e := range events {
		got[fmt.Sprintf("%s %s %s", e.Process.PodUID, e.Side, e.Route)]++
	}
	if !maps.Equal(got, v.want) {
		v.Errorf("events\n%v, want\n%v", got, v.want)
	}
}

func (v *village) start(uid, addr, cgroup string) {
	v.Helper()
	v.pods[uid], v.addrs[uid] = startTraffic(v.T, addr, cgroup), addr
}

// say has the bucket name pods, and waits until the agent knows.
func (v *village) say(node string, pods ...string) {
	v.Helper()
	var err error
	bustest.Eventually(v.T, func() bool { // the server may just have restarted
		err = v.list(node, pods...)
		return err == nil
	}, "write: %v", &err)
	bustest.Eventually(v.T, func() bool { return v.metric("weir_agent_left_out_pods") == float64(len(pods)) }, "the agent doesn't hear of %v", pods)
}

// list has the bucket name pods.
func (v *village) list(node string, pods ...string) error {
	table, err := v.conn.OpenTable(v.Context(), proto.BucketLeftOut)
	if err != nil {
		return err
	}
	var data []byte
	if len(pods) > 0 {
		if data, err = proto.EncodeLeftOut(&proto.LeftOut{Node: node, Pods: pods}); err != nil {
			return err
		}
	}
	return table.Put(v.Context(), proto.LeftOutKey(node), data)
}

// ask has every pod ask every pod, itself too, and expects all of it to be seen
// at both ends but for what is left out.
func (v *village) ask(path string, out ...string) {
	v.Helper()
	const n = 7
	for from, c := range v.pods {
		for to, addr := range v.addrs {
			for range n {
				c.do(v.T, "GET", "http://"+addr+path, "200")
			}
			for end, uid := range map[string]string{from + " client": from, to + " server": to} {
				if !slices.Contains(out, uid) {
					v.want[end+" "+path] += n
				}
			}
		}
	}
}

func (v *village) metric(name string) float64 {
	families, err := v.metrics.Gather()
	if err != nil {
		v.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return -1
}
