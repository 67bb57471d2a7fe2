package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

// What weir-agent may be given, as setpriv and containers call it.
var capabilities = []string{"bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"}

// allBut is a set of capabilities in setpriv's words.
func allBut(missing string) string {
	set := "-all"
	for _, c := range capabilities {
		if c != missing {
			set += ",+" + c
		}
	}
	return set
}

// TestPrivileges: root with exactly the listed capabilities, or another user
// who has them, and each one taken away.
func TestPrivileges(t *testing.T) {
	machine.Need(t)
	c := machine.Idle(t)
	agent := c.Agent.Args
	for _, missing := range capabilities {
		t.Run("without "+missing, func(t *testing.T) {
			p := rig.NewProcess(t, "agent", filepath.Join(t.TempDir(), "log"),
				append([]string{"setpriv", "--bounding-set", allBut(missing), "--inh-caps=-all"}, agent...)...)
			p.Start()
			var err error
			rig.Eventually(t, 10*time.Second, "the agent ends", func() bool {
				ended, ok := p.Exited()
				err = ended
				return ok
			})
			want := "^weir-agent: not enough privileges: [^\n]*; missing: " + strings.ToUpper(missing) + ", which [^\n;]*\n$"
			if err == nil || !regexp.MustCompile(want).MatchString(p.Log()) {
				t.Errorf("ended with %v and said %q", err, p.Log())
			}
		})
	}
	for _, service := range c.Services {
		service.Start()
	}
	for name, wrap := range map[string][]string{
		"root":    {"setpriv", "--bounding-set", allBut(""), "--inh-caps=-all"},
		"no root": {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", allBut(""), "--ambient-caps", allBut("")},
	} {
		t.Run(name, func(t *testing.T) {
			lock := filepath.Join(openDir(t), "lock")
			c.Agent.Args = append(append(wrap, openCopy(t, agent[0])), append(agent[1:], "--lock-file", lock)...)
			c.Agent.Env = []string{"GOMEMLIMIT=123MiB"}
			c.StartAgent()
			for _, status := range threads(t, c.Agent.PID()) {
				// SYS_PTRACE and DAC_READ_SEARCH are bits 19 and 2.
				for _, want := range []string{"CapPrm:\t0000000000080004", "CapEff:\t0000000000080004", "CapInh:\t0000000000000000",
					"CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
					if !strings.Contains(status, want) {
						t.Errorf("a thread lacks %q:\n%s", want, status)
					}
				}
			}
			if limit := fmt.Sprintf("go_gc_gomemlimit_bytes %g", float64(123<<20)); !strings.Contains(fetch(t, "http://"+c.AgentHTTP+"/metrics"), limit) {
				t.Errorf("no %q in /metrics", limit)
			}
			second := rig.NewProcess(t, "second", filepath.Join(t.TempDir(), "log"),
				append(agent[:len(agent)-1:len(agent)-1], "127.0.0.1:0", "--lock-file", lock)...)
			second.Start()
			rig.Eventually(t, 10*time.Second, "a second agent is refused", func() bool {
				_, ended := second.Exited()
				return ended
			})
			if want := fmt.Sprintf("another agent runs on this host (pid %d holds %s)", c.Agent.PID(), lock); !strings.Contains(second.Log(), want) {
				t.Errorf("said %q, want %q", second.Log(), want)
			}
			// What is left is enough to measure, name and publish.
			s := &scene{T: t, lossy: true} // the names matter here
			server := servers.Start(t, servers.Nginx())
			s.send("after-drop-"+strings.ReplaceAll(name, " ", "-"), "nginx", load.Plan{Addr: server.Addr(), Requests: 100, Mix: []load.Request{{Path: "/bytes/6"}}})
			c.Streams().For(t).Settle(settle)
			s.check(c.Streams().For(t))
			c.Agent.Stop(10 * time.Second)
		})
	}
}

const podContainer = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestAgentInAContainer: with network, pid and cgroup namespaces of its own, a
// file system that can't be written to, and folders of the host mounted.
func TestAgentInAContainer(t *testing.T) {
	machine.Need(t)
	c := machine.Idle(t)
	for _, service := range c.Services {
		service.Start()
	}
	ns, host, inside := network(t)
	at := inside + ":7071"
	mounts := openDir(t) // proc, cgroup and run of the host, as hostPath would mount them
	for _, dir := range []string{"proc", "run"} {
		if err := os.Mkdir(filepath.Join(mounts, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := filepath.Join(rig.CGroup2(t), "weir-e2e-agent")
	makeCgroup(t, own)
	const container = `set -e
echo $$ > "$1"/cgroup.procs
mount --rbind /proc "$2"/proc
mount --bind "$2"/run "$2"/run
mount -o remount,bind,ro /
shift 2
exec nsenter --net="/run/netns/$0" unshare --cgroup --pid --fork --kill-child --mount-proc "$@"`
	agent := append([]string{"unshare", "--mount", "sh", "-c", container, ns, own, mounts,
		"setpriv", "--bounding-set", allBut(""), "--inh-caps=-all"}, c.Agent.Args[0],
		"--server", "nats://"+forward(t, host+":0", strings.TrimPrefix(c.URL, "nats://")), "--http", at,
		"--lock-file", mounts+"/run/weir-agent.lock", "--node", "node-in-a-container")

	pod := filepath.Join(rig.CGroup2(t), "weir-e2e-kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666", podContainer)
	makeCgroup(t, pod)
	for name, tt := range map[string]struct {
		procfs string
		warns  bool
	}{
		"its own proc":    {"/proc", true}, // its own pid namespace's: containers by their sockets' cgroups
		"the host's proc": {mounts + "/proc", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := rig.NewProcess(t, "agent", filepath.Join(t.TempDir(), "log"), append(agent, "--procfs", tt.procfs)...)
			p.Start()
			rig.Eventually(t, 20*time.Second, "ready", func() bool {
				if err, ended := p.Exited(); ended {
					t.Fatalf("the agent ended: %v", err)
				}
				resp, err := http.Get("http://" + at + "/readyz")
				if err != nil {
					return false
				}
				resp.Body.Close()
				return resp.StatusCode == http.StatusOK
			})
			if warned := strings.Contains(p.Log(), "processes_not_looked_up"); warned != tt.warns {
				t.Errorf("warned %v:\n%s", warned, p.Log())
			}
			s := &scene{T: t, lossy: true} // the names matter here
			name := strings.NewReplacer(" ", "-", "'", "").Replace(name)
			// The agent's port is its own in its network namespace alone.
			server := servers.Start(t, servers.Go(), servers.Port(7071),
				servers.Wrap("sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, pod))
			s.send(name, podContainer[:12], load.Plan{Addr: server.Addr(), Requests: 100, Retry: 50 * time.Millisecond, Mix: []load.Request{{Path: "/bytes/6"}}})
			server.Stop()
			asked := "/asked-the-agent-" + name
			for range 10 {
				resp, err := http.Get("http://" + at + asked)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			c.Streams().For(t).Settle(settle)
			s.check(c.Streams().For(t))
			for _, row := range c.Streams().For(t).Latency() {
				if row.Side == "server" && row.Operation == "GET "+asked {
					t.Errorf("%d requests to the agent itself are measured at its end: %+v", row.Count, row)
				}
			}
			p.Kill() // unshare, and with it the agent
		})
	}
}

// network makes a network namespace and a cable to it, with an address at
// either end.
func network(t *testing.T) (ns, host, inside string) {
	t.Helper()
	ns, host, inside = "weir-agent-"+strconv.Itoa(os.Getpid()), "10.213.71.1", "10.213.71.2"
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
	run(t, "ip", "link", "add", "weir-e2e-a", "type", "veth", "peer", "name", "weir-e2e-b", "netns", ns)
	run(t, "ip", "address", "add", host+"/30", "dev", "weir-e2e-a")
	run(t, "ip", "link", "set", "weir-e2e-a", "up")
	run(t, "ip", "-n", ns, "address", "add", inside+"/30", "dev", "weir-e2e-b")
	run(t, "ip", "-n", ns, "link", "set", "weir-e2e-b", "up")
	run(t, "ip", "-n", ns, "link", "set", "lo", "up")
	return ns, host, inside
}

// forward passes connections on from one address to another, and returns the
// one that it listens at.
func forward(t *testing.T, from, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			pass := func(a, b net.Conn) { defer a.Close(); defer b.Close(); _, _ = io.Copy(a, b) }
			go pass(in, out)
			go pass(out, in)
		}
	}()
	return l.Addr().String()
}

func makeCgroup(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for root := rig.CGroup2(t); path != root; path = filepath.Dir(path) {
			os.Remove(path) // what others are in stays
		}
	})
}

// openDir is a folder that every user may enter and write to.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-agent-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// openCopy is a copy of a program that every user may run.
func openCopy(t *testing.T, program string) string {
	t.Helper()
	path := filepath.Join(openDir(t), filepath.Base(program))
	run(t, "install", "-m", "755", program, path)
	return path
}

// threads are the status files of a process's threads.
func threads(t *testing.T, pid int) []string {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(paths) < 2 {
		t.Fatalf("threads of %d: %v, %v", pid, paths, err)
	}
	var all []string
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil { // or it has ended
			all = append(all, string(text))
		}
	}
	return all
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}
