package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/agent/protocol"
)

// proxy stands between real clients and a real server and shows every
// connection's bytes to a Conn, captured within a budget a turn as the kernel does it.
type proxy struct {
	net.Listener
	server string
	budget [2]int

	wg     sync.WaitGroup
	mu     sync.Mutex // all connections share one goroutine's worth of state
	shared *Shared
	got    recorder
}

func startProxy(t *testing.T, server string, budget [2]int) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: ln, server: server, budget: budget, shared: NewShared()}
	p.wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(client) })
		}
	})
	return p
}

// stop waits for the end of all connections and returns what was found.
func (p *proxy) stop() *recorder {
	p.Close()
	p.wg.Wait()
	return &p.got
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	w := &wire{proxy: p, last: 2}
	w.c.Reset(p.shared, &p.got, false)
	var both sync.WaitGroup
	both.Go(func() { w.copy(protocol.In, server, client) })
	both.Go(func() { w.copy(protocol.Out, client, server) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	w.c.Close(time.Now().UnixNano())
}

// wire is one connection through the proxy.
type wire struct {
	*proxy
	c    Conn
	off  [2]uint64
	left [2]int
	last protocol.Dir
}

func (w *wire) copy(dir protocol.Dir, to, from net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.segment(dir, buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				from.Close() // as a reset does, through a proxy
				return
			}
		}
		if err != nil {
			w.mu.Lock()
			w.c.FIN(dir, w.off[dir], time.Now().UnixNano())
			w.mu.Unlock()
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

func (w *wire) segment(dir protocol.Dir, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	turn := w.last != dir
	if turn || bytes.HasPrefix(b, []byte("HTTP/1.")) {
		w.left[dir] = w.budget[dir]
	}
	s := protocol.Segment{Dir: dir, Time: time.Now().UnixNano(), Off: w.off[dir], Len: len(b), Turn: turn}
	s.Data = b[:min(len(b), w.left[dir])]
	s.Tail = b[max(len(s.Data), len(b)-8):]
	w.left[dir] -= len(s.Data)
	w.off[dir], w.last = s.End(), dir
	w.c.Segment(&s)
}

// shop answers as its paths say.
func shop() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/size/{n}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = io.CopyN(w, filler{}, int64(n))
	})
	mux.HandleFunc("/chunked/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		for range 5 {
			_, _ = io.CopyN(w, filler{}, int64(n))
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/status/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		w.WriteHeader(n)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/cookies", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", strings.Repeat("c", 20_000))
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "hello")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	return mux
}

type filler struct{}

func (filler) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = "0\r\n"[i%3]
	}
	return len(b), nil
}

// Real servers and clients, kept alive and not, at once: every request that
// was made is an exchange with its method, path and status.
func TestRealTraffic(t *testing.T) {
	budgets := map[string][2]int{"captured whole": {1 << 40, 1 << 40}, "captured as the kernel does": {8 << 10, 4 << 10}, "captured hardly": {512, 256}}
	for name, budget := range budgets {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(shop())
			server.Config.ErrorLog = nil
			server.Start()
			defer server.Close()
			p := startProxy(t, server.Listener.Addr().String(), budget)

			var mu sync.Mutex
			want := make(map[string]int)
			var clients sync.WaitGroup
			for i := range 8 {
				clients.Go(func() {
					transport := &http.Transport{DisableKeepAlives: i%4 == 3, ExpectContinueTimeout: time.Second, DisableCompression: true}
					defer transport.CloseIdleConnections()
					for _, line := range drive(&http.Client{Transport: transport}, "http://"+p.Addr().String(), 4) {
						mu.Lock()
						want[line]++
						mu.Unlock()
					}
				})
			}
			clients.Wait()
			upgrade(t, p.Addr().String())
			want["GET /upgrade 101 "]++

			got := make(map[string]int)
			found := p.stop()
			for _, e := range found.exchanges {
				if e.Error == protocol.ErrorNoResponse {
					e.Error = "" // the client only knows that it got none
				}
				got[fmt.Sprintf("%s %s %d %s", e.Method, e.Path, e.Status, e.Error)]++
			}
			if !maps.Equal(got, want) || found.lost != 0 {
				t.Errorf("%d lost\ngot  %v\nwant %v", found.lost, got, want)
			}
		})
	}
}

// drive makes requests of all kinds and returns what they were, as the client saw it.
func drive(client *http.Client, base string, rounds int) (made []string) {
	for range rounds {
		for _, r := range []struct {
			method, path, failure string
			body                  int
			chunked, wait         bool
		}{
			{method: "GET", path: "/size/0"},
			{method: "GET", path: "/size/100"},
			{method: "GET", path: "/size/100000"},
			{method: "HEAD", path: "/size/100000"},
			{method: "GET", path: "/chunked/10"},
			{method: "GET", path: "/chunked/10000"},
			{method: "POST", path: "/size/10", body: 100},
			{method: "PUT", path: "/size/0", body: 200_000},
			{method: "POST", path: "/size/10", body: 50_000, chunked: true},
			{method: "POST", path: "/size/10", body: 5_000, wait: true},
			{method: "POST", path: "/early", body: 5_000, wait: true},
			{method: "POST", path: "/early", body: 1000},
			{method: "DELETE", path: "/status/204"},
			{method: "GET", path: "/status/304"},
			{method: "PATCH", path: "/status/500"},
			{method: "GET", path: "/missing"},
			{method: "GET", path: "/hints"},
			{method: "GET", path: "/cookies"},
			{method: "POST", path: "/abort", body: 1},
			{method: "POST", path: "/half", body: 1, failure: protocol.ErrorIncomplete},
		} {
			req, _ := http.NewRequest(r.method, base+r.path+"?q=1", http.NoBody)
			if r.body > 0 {
				req.Body, req.ContentLength = io.NopCloser(io.LimitReader(filler{}, int64(r.body))), int64(r.body)
			}
			if r.chunked {
				req.ContentLength = -1
			}
			if r.wait {
				req.Header.Set("Expect", "100-continue")
			}
			status := 0
			if res, err := client.Do(req); err == nil {
				status = res.StatusCode
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			made = append(made, fmt.Sprintf("%s %s %d %s", r.method, r.path, status, r.failure))
		}
	}
	return made
}

// upgrade talks another protocol after the upgrade, one that looks like HTTP.
func upgrade(t *testing.T, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	const echo = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	_, _ = io.WriteString(c, echo)
	if b := make([]byte, len(echo)); true {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
	}
}
