package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weirstream/weir/internal/bus"
)

// forwarder does what `kubectl port-forward` does, without a cluster: it says
// where it listens, and passes connections on to $WEIR_HOST. Its argument is
// LOCAL:REMOTE; $FORWARDER_PID is a file for its process id.
func forwarder() {
	local, _, _ := strings.Cut(os.Args[1], ":")
	l, err := net.Listen("tcp", "127.0.0.1:"+local)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: unable to listen on any of the requested ports:", err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Getenv("FORWARDER_PID"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("Forwarding from %s -> 4222\n", l.Addr())
	for {
		in, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		out, err := net.Dial("tcp", os.Getenv("WEIR_HOST"))
		if err != nil {
			in.Close()
			continue
		}
		pass := func(a, b net.Conn) { defer a.Close(); defer b.Close(); _, _ = io.Copy(a, b) }
		go pass(in, out)
		go pass(out, in)
	}
}

// TestForward: the forward comes back at the same port when it ends, and ends
// when it is stopped.
func TestForward(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "forwarder")); err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(dir, "pid")
	script := "#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec " + filepath.Join(dir, "forwarder") + " \"$1\"\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("FORWARDER_PID", pidFile)
	var service object
	service.Metadata.Name, service.Metadata.Namespace = "weir-nats", "weir"
	f, err := startForward(kubeFlags{}, service)
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	listens := func() bool {
		c, err := net.Dial("tcp", f.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !listens() {
		t.Fatalf("nobody listens at %s", f.address)
	}
	first := pidIn(t, pidFile)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is started again", func() bool { return pidIn(t, pidFile) != first && listens() })
	second := pidIn(t, pidFile)
	f.stop()
	if err := syscall.Kill(second, 0); err == nil {
		t.Error("it still runs after stop")
	}
}

func TestForwardFails(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'error: unable to forward port because pod is not running. Current status=Pending' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	_, err := startForward(kubeFlags{}, object{})
	if want := "reach Weir's NATS in the cluster: kubectl: unable to forward port because pod is not running. Current status=Pending"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(string(text)) // 0 while it is being written
	return pid
}

func TestThroughForward(t *testing.T) {
	for _, tt := range []struct {
		url  string
		ca   []byte
		want string // URL and the server's name
	}{
		{"tls://events:pw@weir-nats.weir.svc:4222", nil, "tls://events:pw@127.0.0.1:5 weir-nats.weir.svc"},
		{"nats://events:pw@weir-nats.weir.svc:4222", []byte("x"), "nats://events:pw@127.0.0.1:5 weir-nats.weir.svc"},
		{"nats://weir-nats.weir.svc:4222", nil, "nats://127.0.0.1:5 "},
		{"weir-nats", nil, ""},
		{"", nil, ""},
		{"tls://%zz", nil, ""},
	} {
		o, err := through(bus.Options{URL: tt.url, TLSCAData: tt.ca}, "127.0.0.1:5")
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), "holds no address such as") {
				t.Errorf("%q: got %+v, %v", tt.url, o, err)
			}
			continue
		}
		if got := o.URL + " " + o.TLSServerName; err != nil || got != tt.want || !o.FixedURL {
			t.Errorf("%q: got %q, %v", tt.url, got, err)
		}
	}
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"E1124 05:00:00 memcache.go:265] couldn't get\nThe connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n": "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
		"error: context \"x\" does not exist\n": `context "x" does not exist`,
		"Error from server (Forbidden): secrets is forbidden: User \"dev\" cannot list resource \"secrets\"\n": `secrets is forbidden: User "dev" cannot list resource "secrets"`,
	} {
		if got := lastLine([]byte(in)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
