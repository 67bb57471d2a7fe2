package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
)

// The programs leave their own process out, so traffic comes from others: the
// test binary again, as the server or the client that WEIR_TEST_ROLE names.
func TestMain(m *testing.M) {
	switch role := os.Getenv("WEIR_TEST_ROLE"); role {
	case "":
		os.Exit(m.Run())
	case "server":
		serve()
	default:
		fmt.Fprintln(os.Stderr, "unknown role", role)
		os.Exit(2)
	}
}

func serve() {
	l, err := net.Listen("tcp", os.Getenv("WEIR_TEST_ADDR"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	// Both ends in one process, so that one child is enough.
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "hello")
		}))
	}()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() { // each line is a URL to get
		resp, err := http.Get(in.Text())
		if err != nil {
			fmt.Println(err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
}

// require skips where the kernel or the user can't do it, and fails there in CI.
func require(t *testing.T) {
	t.Helper()
	if err := CheckHost(); err != nil {
		if os.Getenv("WEIR_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func capture(t *testing.T, cfg Config) (*Capture, *Ring) {
	t.Helper()
	require(t)
	c, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Ring()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, r
}

// child is a process with a server, which gets what it is told to.
type child struct {
	addr string
	in   io.Writer
	out  *bufio.Scanner
}

func start(t *testing.T, addr string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE=server", "WEIR_TEST_ADDR="+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	c := &child{in: in, out: bufio.NewScanner(out)}
	if !c.out.Scan() {
		t.Fatal("server did not start")
	}
	c.addr = c.out.Text()
	return c
}

func (c *child) get(t *testing.T, url string) string {
	t.Helper()
	fmt.Fprintln(c.in, url)
	if !c.out.Scan() {
		t.Fatal("client ended")
	}
	return c.out.Text()
}

type seen struct {
	Record
	info *ConnInfo
	data string
}

// records reads until the ring has been empty for a while.
func records(t *testing.T, r *Ring) []seen {
	t.Helper()
	var out []seen
	take := func(b []byte) {
		s := seen{Record: *(*Record)(unsafe.Pointer(&b[0]))}
		b = b[unsafe.Sizeof(s.Record):]
		if s.Kind == KindConn || s.Kind == KindProc || s.Kind == KindEarly {
			info := *(*ConnInfo)(unsafe.Pointer(&b[0]))
			s.info, b = &info, b[unsafe.Sizeof(info):]
		}
		s.data = string(b[:s.Caplen])
		out = append(out, s)
	}
	for quiet := 0; quiet < 5; {
		before := len(out)
		for !r.Read(100, take) {
		}
		if err := r.Wait(20 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if quiet++; len(out) > before {
			quiet = 0
		}
	}
	return out
}

func TestProgramsPassTheVerifier(t *testing.T) {
	require(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	objects := map[string]func() (*ebpf.CollectionSpec, error){"weirold": loadWeirold}
	if v, err := kernelVersion(); err != nil || v >= kernel(5, 12) {
		objects["weir"] = loadWeir
	}
	for name, load := range objects {
		t.Run(name, func(t *testing.T) {
			spec, err := load()
			if err != nil {
				t.Fatal(err)
			}
			c, err := ebpf.NewCollection(spec)
			if err != nil {
				t.Fatalf("%+v", err)
			}
			c.Close()
		})
	}
}

func TestAKernelWithoutTheReadHookMeasuresWithoutWait(t *testing.T) {
	require(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	var c Capture
	err := c.load(Config{}, func() (*ebpf.CollectionSpec, error) {
		spec, err := loadWeir()
		if err == nil {
			spec.Programs["weir_read"].AttachTo = "no_such_tracepoint"
		}
		return spec, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.collection.Close()
	if c.NoWait == "" || c.collection.Programs["weir_read"] != nil {
		t.Errorf("reason %q, programs %v", c.NoWait, c.collection.Programs)
	}
}

func TestGoLayoutsAreTheCLayouts(t *testing.T) {
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"record": Record{}, "conn_info": ConnInfo{}, "counters": Counters{}} {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Fatal(err)
		}
		g := reflect.TypeOf(v)
		if int(c.Size) != int(g.Size()) {
			t.Errorf("struct %s: %d bytes in C, %d in Go", name, c.Size, g.Size())
		}
		fields := reflect.VisibleFields(g)[1:] // the first is structs.HostLayout
		if len(fields) != len(c.Members) {
			t.Fatalf("struct %s: %d fields in C, %d in Go", name, len(c.Members), len(fields))
		}
		for i, m := range c.Members {
			if f := fields[i]; int(m.Offset.Bytes()) != int(f.Offset) {
				t.Errorf("%s.%s at %d in C, %s at %d in Go", name, m.Name, m.Offset.Bytes(), f.Name, f.Offset)
			}
		}
	}
}

func TestBothEndsOfARequestAreSeen(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			loaded, ring := capture(t, Config{})
			c := start(t, addr)
			if got := c.get(t, "http://"+c.addr+"/some/path"); got != "200" {
				t.Fatal(got)
			}
			port := c.addr[strings.LastIndexByte(c.addr, ':')+1:]
			ip := net.ParseIP(strings.Trim(addr[:strings.LastIndexByte(addr, ':')], "[]"))
			var server, client []seen
			conns := map[uint64]*ConnInfo{}
			for _, s := range records(t, ring) {
				if s.Kind == KindConn {
					conns[s.Cookie] = s.info
				}
				i := conns[s.Cookie]
				if i == nil {
					continue // somebody else's
				}
				if port == fmt.Sprint(i.Lport) || port == fmt.Sprint(i.Rport) {
					for _, b := range [][16]uint8{i.Laddr, i.Raddr} {
						if got := net.IP(b[:map[uint8]int{4: 4, 6: 16}[i.Family]]); !got.Equal(ip) {
							t.Errorf("address %v, want %v", got, ip)
						}
					}
					if i.PeerPort != 0 {
						t.Errorf("peer %v:%d, but there is no NAT", i.Peer, i.PeerPort)
					}
				}
				switch port {
				case fmt.Sprint(i.Lport):
					server = append(server, s)
				case fmt.Sprint(i.Rport):
					client = append(client, s)
				}
			}
			check := func(side string, got []seen, request, response uint16) {
				var data []seen
				for _, s := range got {
					if s.Kind == KindData {
						data = append(data, s)
					}
				}
				if len(data) != 2 {
					t.Fatalf("%s: %d segments, want 2: %+v", side, len(data), data)
				}
				if !strings.HasPrefix(data[0].data, "GET /some/path HTTP/1.1\r\n") || data[0].Flags&FlagOut != request {
					t.Errorf("%s: request %q flags %b", side, data[0].data, data[0].Flags)
				}
				if !strings.HasPrefix(data[1].data, "HTTP/1.1 200 OK\r\n") || data[1].Flags&FlagOut != response {
					t.Errorf("%s: response %q flags %b", side, data[1].data, data[1].Flags)
				}
				if data[0].Turn+1 != data[1].Turn || data[0].TimeNs > data[1].TimeNs {
					t.Errorf("%s: response in turn %d at %d after turn %d at %d", side, data[1].Turn, data[1].TimeNs, data[0].Turn, data[0].TimeNs)
				}
				if side == "server" && loaded.NoWait == "" && (data[1].ReadNs < data[0].TimeNs || data[1].ReadNs > data[1].TimeNs) {
					t.Errorf("read at %d, not between request %d and response %d", data[1].ReadNs, data[0].TimeNs, data[1].TimeNs)
				}
				comm := ""
				for _, s := range got {
					if s.info != nil {
						comm = strings.TrimRight(string(s.info.Comm[:]), "\x00")
					}
				}
				if comm == "" || !strings.HasPrefix("bpf.test", comm[:min(len(comm), 8)]) {
					t.Errorf("%s: process %q", side, comm)
				}
			}
			check("server", server, 0, FlagOut)
			check("client", client, FlagOut, 0)
		})
	}
}

func TestWhatIsNotHTTPIsLeftAlone(t *testing.T) {
	_, ring := capture(t, Config{})
	a, b := tcpPair(t)
	for range 40 {
		exchange(t, a, b, "\x00\x01binary")
		exchange(t, b, a, "PING\r\n")
	}
	exchange(t, a, b, "GET /too/late HTTP/1.1\r\n\r\n")
	for _, s := range records(t, ring) {
		if strings.Contains(s.data, "binary") || strings.Contains(s.data, "PING") || strings.Contains(s.data, "/too/late") {
			t.Errorf("captured %q", s.data)
		}
	}
}

// tcpPair is a connection of this process. Only its connecting end is our own
// to the programs, since they know that one's process from the start.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

func exchange(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, len(text))); err != nil {
		t.Fatal(err)
	}
}

func TestACgroupThatIsNone(t *testing.T) {
	require(t)
	if _, err := Load(Config{Cgroup: "/tmp"}); !errors.Is(err, ErrNoCgroup) {
		t.Errorf("got %v", err)
	}
}
