package bpf

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A cgroup that is left out costs what an ignored socket costs: nothing of it
// is captured, at whatever depth the sockets are, not even on connections that
// were open before; and once it is back, they are captured again.
func TestCgroupsAreLeftOut(t *testing.T) {
	c, ring := capture(t, Config{})
	if c.NoWait != "" {
		if err := c.LeaveOut([]uint64{1}); err == nil {
			t.Error("programs that can't leave out say nothing")
		}
		return
	}
	pod := filepath.Join(c.Root, "weir-test-"+strconv.Itoa(os.Getpid()), "kubepods", "podx")
	inside := filepath.Join(pod, "container", "deeper")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for dir := inside; dir != c.Root; dir = filepath.Dir(dir) {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	self := func(dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	home := "/"
	if text, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				home = path
			}
		}
	}
	self(inside) // so that the child is born there: its sockets are of where they are made
	in := start(t, "127.0.0.1:0")
	self(filepath.Join(c.Root, home))
	out := start(t, "127.0.0.1:0")

	// seen counts the segments with this path, at the ends in the cgroup and outside.
	seen := func(path string) (inCgroup, outside int) {
		t.Helper()
		url := "http://" + in.addr + "/" + path
		for _, who := range []*child{in, out} { // from inside, and from outside
			if got := who.get(t, url); got != "200" {
				t.Fatal(got)
			}
		}
		conns := map[uint64]*ConnInfo{}
		for _, s := range records(t, ring) {
			if s.info != nil {
				conns[s.Cookie] = s.info
			}
			if !strings.Contains(s.data, path+" ") {
				continue
			}
			switch i := conns[s.Cookie]; {
			case i != nil && i.Cgroup == cgroupOf(t, inside):
				inCgroup++
			default:
				outside++
			}
		}
		return inCgroup, outside
	}
	check := func(path string, wantIn, wantOut int) {
		t.Helper()
		if gotIn, gotOut := seen(path); gotIn != wantIn || gotOut != wantOut {
			t.Errorf("%s: seen %d times in the cgroup, %d times outside; want %d, %d", path, gotIn, gotOut, wantIn, wantOut)
		}
	}
	check("before", 3, 1)
	if err := c.LeaveOut([]uint64{cgroupOf(t, pod)}); err != nil {
		t.Fatal(err)
	}
	check("left-out", 0, 1)
	before, err := c.Counters()
	if err != nil || before.LeftOut != 3 {
		t.Errorf("%d sockets left out, want 3: %v", before.LeftOut, err)
	}
	if err := c.LeaveOut([]uint64{1 << 40}); err != nil { // another, that isn't there
		t.Fatal(err)
	}
	check("back", 3, 1)
	if err := c.LeaveOut(make([]uint64, 1025)); err == nil || !strings.Contains(err.Error(), "at most 1024") {
		t.Errorf("1,025 cgroups: %v", err)
	}
}

func cgroupOf(t *testing.T, dir string) uint64 {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}
