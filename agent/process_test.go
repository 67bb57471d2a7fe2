package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	nodeID      = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	podUID      = "0a1b2c3d-1111-2222-3333-444455556666"
	staticUID   = "d5c1bd3de5a3f3ad8c2b2c9c2b0b4d9a" // the hash of a manifest
)

// TestIdentityFromCgroups has a path as each runtime and driver makes it. In
// them {c} is a container, {n} one that is a cluster's node, {p} a pod's UID,
// {_} the same as systemd has it, {s} a static pod's.
func TestIdentityFromCgroups(t *testing.T) {
	fill := strings.NewReplacer("{c}", containerID, "{n}", nodeID, "{p}", podUID, "{_}", strings.ReplaceAll(podUID, "-", "_"), "{s}", staticUID)
	for _, tt := range []struct{ name, text, unit, container, pod string }{
		// plain hosts
		{"nothing", "0::/", "", "", ""},
		{"unit", "0::/system.slice/nginx.service", "nginx.service", "", ""},
		{"unit, v1 and v2", "5:pids:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service", "nginx.service", "", ""},
		{"templated unit", "0::/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service", "", ""},
		{"unit with colons", "0::/user.slice/user-0.slice/user@0.service/dbus-:1.2-org.example.Shop@0.service", "dbus-:1.2-org.example.Shop@0.service", "", ""},
		{"session", "0::/user.slice/user-0.slice/session-3.scope", "", "", ""},
		{"user manager", "0::/user.slice/user-0.slice/user@0.service/init.scope", "", "", ""},
		{"user's unit", "0::/user.slice/user-0.slice/user@0.service/app.slice/syncthing.service", "syncthing.service", "", ""},
		{"unit in an LXC container", "0::/lxc.payload.web/system.slice/nginx.service", "nginx.service", "", ""},

		// containers without Kubernetes
		{"Docker, cgroupfs, v1 and v2", "4:memory:/docker/{c}\n0::/", "", "{c}", ""},
		{"Docker, cgroupfs, hybrid", "4:memory:/docker/{c}\n0::/system.slice/docker.service", "", "{c}", ""},
		{"Docker, systemd", "0::/system.slice/docker-{c}.scope", "", "{c}", ""},
		{"Docker, a unit inside", "0::/system.slice/docker-{c}.scope/system.slice/nginx.service", "", "{c}", ""},
		{"Docker in Docker", "0::/docker/{n}/docker/{c}", "", "{c}", ""},
		{"Docker, a cgroup parent", "0::/actions_job/{c}", "", "{c}", ""},
		{"containerd, nerdctl", "0::/default/{c}", "", "{c}", ""},
		{"containerd, nerdctl, systemd", "0::/system.slice/nerdctl-{c}.scope", "", "{c}", ""},
		{"podman", "0::/machine.slice/libpod-{c}.scope/container", "", "{c}", ""},
		{"podman, cgroupfs", "0::/libpod_parent/libpod-{c}", "", "{c}", ""},
		{"podman, a pod", "0::/machine.slice/machine-libpod_pod_{n}.slice/libpod-{c}.scope/container", "", "{c}", ""},
		{"podman, rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{c}.scope/container", "", "{c}", ""},
		{"podman's monitor", "0::/machine.slice/libpod-conmon-{c}.scope", "", "", ""},
		{"ECS on EC2", "9:memory:/ecs/0aa1bb2233cc4455dd6677ee8899ff00/{c}", "", "{c}", ""},
		{"ECS on Fargate", "9:memory:/ecs/0aa1bb2233cc4455dd6677ee8899ff00/0aa1bb2233cc4455dd6677ee8899ff00-2531612879", "", "0aa1bb2233cc4455dd6677ee8899ff00-2531612879", ""},

		// kubelet
		{"containerd, cgroupfs, burstable", "0::/kubepods/burstable/pod{p}/{c}", "", "{c}", "{p}"},
		{"containerd, cgroupfs, guaranteed", "0::/kubepods/pod{p}/{c}", "", "{c}", "{p}"},
		{"containerd, cgroupfs, v1", "11:memory:/kubepods/besteffort/pod{p}/{c}\n1:name=systemd:/kubepods/besteffort/pod{p}/{c}", "", "{c}", "{p}"},
		{"containerd, cgroupfs, hybrid", "11:memory:/kubepods/besteffort/pod{p}/{c}\n0::/system.slice/containerd.service", "", "{c}", "{p}"},
		{"containerd, systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"containerd, systemd, guaranteed", "0::/kubepods.slice/kubepods-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"containerd, not told of systemd", "0::/system.slice/containerd.service/kubepods-burstable-pod{_}.slice:cri-containerd:{c}", "", "{c}", "{p}"},
		{"CRI-O, systemd", "0::/kubepods.slice/kubepods-pod{_}.slice/crio-{c}.scope", "", "{c}", "{p}"},
		{"CRI-O, systemd, a folder inside", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/crio-{c}.scope/container", "", "{c}", "{p}"},
		{"CRI-O, cgroupfs", "0::/kubepods/burstable/pod{p}/crio-{c}", "", "{c}", "{p}"},
		{"CRI-O's monitor", "0::/kubepods.slice/kubepods-pod{_}.slice/crio-conmon-{c}.scope", "", "", "{p}"},
		{"cri-dockerd, systemd", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/docker-{c}.scope", "", "{c}", "{p}"},
		{"cri-dockerd, cgroupfs, v1", "11:memory:/kubepods/besteffort/pod{p}/{c}\n0::/", "", "{c}", "{p}"},
		{"kata", "0::/kubepods/burstable/pod{p}/kata_{c}", "", "{c}", "{p}"},
		{"static pod, cgroupfs", "0::/kubepods/burstable/pod{s}/{c}", "", "{c}", "{s}"},
		{"static pod, systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{s}.slice/cri-containerd-{c}.scope", "", "{c}", "{s}"},
		{"another cgroup root", "0::/cluster/kubepods/pod{p}/{c}", "", "{c}", "{p}"},
		{"another cgroup root, systemd", "0::/cluster.slice/cluster-kubepods.slice/cluster-kubepods-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"units inside a container", "0::/kubepods/pod{p}/{c}/system.slice/cron.service", "", "{c}", "{p}"},
		{"the pod's own folder", "0::/kubepods/burstable/pod{p}", "", "", "{p}"},
		{"a cgroup that is gone", "0::/kubepods/burstable/pod{p}/{c} (deleted)", "", "{c}", "{p}"},
		{"the kubelet", "0::/system.slice/kubelet.service", "kubelet.service", "", ""},

		// clusters in containers
		{"kind, v2", "0::/docker/{n}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"kind, v1", "11:memory:/docker/{n}/kubelet/kubepods/besteffort/pod{p}/{c}", "", "{c}", "{p}"},
		{"kind, podman", "0::/machine.slice/libpod-{n}.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"kind, its kubelet", "0::/docker/{n}/system.slice/kubelet.service", "", "{n}", ""},
		{"k3d", "0::/docker/{n}/kubepods/burstable/pod{p}/{c}", "", "{c}", "{p}"},
		{"k3s, rootless", "0::/user.slice/user-1000.slice/user@1000.service/k3s-rootless.service/kubepods/burstable/pod{p}/{c}", "", "{c}", "{p}"},

		// seen from the agent's own cgroup namespace
		{"namespaced, cgroupfs, same class", "0::/../../pod{p}/{c}", "", "{c}", "{p}"},
		{"namespaced, systemd", "0::/../../kubepods-burstable-pod{_}.slice/cri-containerd-{c}.scope", "", "{c}", "{p}"},
		{"namespaced, same pod", "0::/../{c}", "", "{c}", ""},
		{"namespaced, unit", "0::/../../../../system.slice/nginx.service", "nginx.service", "", ""},

		// none of all
		{"a sandbox's own folder", "4:memory:/sandbox/92c077a8c07aa5fb2dde833acf869eb1\n0::/", "", "", ""},
		{"63 digits", "0::/docker/" + containerID[1:], "", "", ""},
		{"65 digits", "0::/docker/0{c}", "", "", ""},
		{"capitals", "0::/docker/" + strings.ToUpper(containerID), "", "", ""},
		{"not a pod's UID", "0::/kubepods/podcast/{c}", "", "{c}", ""},
		{"a longer word", "0::/kubepods/tripod{p}/x", "", "", ""},
		{"nonsense", "hello\n::::\n\n0:\n:\x00", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			unit, container, pod := identify(fill.Replace(tt.text) + "\n")
			if unit != tt.unit || container != fill.Replace(tt.container) || pod != fill.Replace(tt.pod) {
				t.Errorf("got unit %q, container %q, pod %q", unit, container, pod)
			}
		})
	}
}

// TestUsableProcfs: process numbers are looked up only where they are the kernel's.
func TestUsableProcfs(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	dir := t.TempDir()
	if err := os.Symlink("4711", filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	if got := usableProcfs(dir, 4711, log); got != dir || out.Len() > 0 {
		t.Errorf("got %q, logged %q", got, &out)
	}
	for _, tt := range []struct{ name, path string }{{"another number", dir}, {"no self", t.TempDir()}} {
		out.Reset()
		if got := usableProcfs(tt.path, 1, log); got != "" || !strings.Contains(out.String(), "pid namespace") {
			t.Errorf("%s: got %q, logged %q", tt.name, got, &out)
		}
	}
}

// TestProcessOfAnotherNamespace: the socket's cgroup tells the container where
// the process can't be looked up.
func TestProcessOfAnotherNamespace(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "kubepods/besteffort/pod"+podUID, containerID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := newProcesses("", root, &leftOut{})
	got := p.lookup(uint32(os.Getpid()), "cart", inode(t, dir), 1)
	if got.Container != containerID || got.PodUID != podUID || got.Name != "cart" || got.PID != uint32(os.Getpid()) {
		t.Errorf("got %+v", got)
	}
}

func TestCheckProcfs(t *testing.T) {
	if err := CheckProcfs("/proc"); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{t.TempDir(): "is not a proc file system", "/nonexistent": "no such file"} {
		if err := CheckProcfs(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(fmt.Sprint(err), "--procfs "+path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
