package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the shop's processes, and a parent to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		var err error
		switch os.Args[1] {
		case "shop":
			err = Child(context.Background(), os.Args[2], os.Stdin)
		case "parent":
			err = Run(context.Background(), config(os.Args[2]))
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func config(dir string) Config {
	return Config{Path: os.Args[0], Args: []string{os.Args[0], "shop"}, Dir: dir, Rate: 100, Output: os.Stderr}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 20 s", what)
		}
	}
}

// running finds the shop's processes of a folder by the links they came from.
func running(dir string) map[string]int {
	found := map[string]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range stats {
		comm, _ := os.ReadFile(path)
		name := strings.TrimSpace(string(comm))
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if strings.HasPrefix(name, "shop-") && bytes.Contains(env, []byte(envDir+"="+dir+"\x00")) {
			found[name], _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

func counts(t *testing.T, dir string) (c Counts) {
	t.Helper()
	out, err := os.ReadFile(filepath.Join(dir, CountsFile))
	if err != nil {
		return c
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShopCountsWhatItSends(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := config(dir)
	ready := make(chan string, 1)
	cfg.Ready = func(frontend string) { ready <- frontend }
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	defer cancel()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}

	eventually(t, "all six processes, by name", func() bool { return len(running(dir)) == 6 })
	for _, name := range append(names(), loadName) {
		if running(dir)["shop-"+name] == 0 {
			t.Errorf("no process is called shop-%s", name)
		}
	}
	eventually(t, "100 answers", func() bool {
		if err := syscall.Kill(running(dir)["shop-load"], syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		return counts(t, dir).Answered >= 100
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
	c := counts(t, dir)
	if c.Sent != c.Answered || c.Sent < 100 {
		t.Errorf("%d sent, %d answered: the load is to wait for all answers", c.Sent, c.Answered)
	}
	if sum(c.ByOperation) != c.Sent || sum(c.ByStatus) != c.Sent {
		t.Errorf("counts don't add up: %+v", c)
	}
	if c.ByStatus["200"] == 0 || c.ByStatus["201"] == 0 {
		t.Errorf("nothing went well: %v", c.ByStatus)
	}
	if left := running(dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func TestShopEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "parent", dir)
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all six processes", func() bool { return len(running(dir)) == 6 })
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "none of them", func() bool { return len(running(dir)) == 0 })
}

func TestShopEndsWhenAServiceDoes(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), config(dir)) }()
	eventually(t, "all six processes", func() bool { return len(running(dir)) == 6 })
	if err := syscall.Kill(running(dir)["shop-cart"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	if err == nil || !strings.Contains(err.Error(), "shop-cart ended by itself: signal: killed") {
		t.Errorf("Run returned %v", err)
	}
	if left := running(dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func TestServiceAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Alone(ctx, "catalogue", addr, 0) }()
	sh := newShop(func(string) string { return addr })
	eventually(t, "an answer", func() bool {
		return sh.call(ctx, "GET", "catalogue", "/products").status == 200
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	err = Alone(t.Context(), "bank", addr, 0)
	if err == nil || !strings.Contains(err.Error(), `no service "bank"; it has frontend`) {
		t.Errorf("unknown service: %v", err)
	}
}
