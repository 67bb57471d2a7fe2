package bpf

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What Weir itself asks and answers is not measured: as a client nothing is
// captured, as a server what was captured until the process read it is
// taken back, where reads are seen; a port of our own is left out from the first packet.
func TestOurOwnTrafficIsLeftOut(t *testing.T) {
	listen := func() (net.Listener, uint16) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() { _ = http.Serve(l, http.NotFoundHandler()) }()
		return l, uint16(l.Addr().(*net.TCPAddr).Port)
	}
	named, namedPort := listen()
	other, otherPort := listen()
	loaded, ring := capture(t, Config{OwnPorts: []uint16{namedPort}})
	c := start(t, "127.0.0.1:0")
	for _, l := range []net.Listener{named, other} {
		if got := c.get(t, "http://"+l.Addr().String()+"/own-server"); got != "404" {
			t.Fatal(got)
		}
	}
	resp, err := http.Get("http://" + c.addr + "/own-client")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()

	forgotten := map[uint16]bool{}
	conns := map[uint64]*ConnInfo{}
	for _, s := range records(t, ring) {
		if s.Kind == KindConn {
			conns[s.Cookie] = s.info
		}
		i := conns[s.Cookie]
		if i == nil {
			continue
		}
		forgotten[i.Lport] = forgotten[i.Lport] || s.Kind == KindClose && s.Flags&FlagForget != 0
		if strings.Contains(s.data, "/own-client") && fmt.Sprint(i.Rport) == c.addr[strings.LastIndexByte(c.addr, ':')+1:] {
			t.Errorf("our own request was captured at our end: %q", s.data)
		}
		if i.Lport == namedPort {
			t.Errorf("captured at a port of our own: %+v", s)
		}
	}
	if loaded.NoWait == "" && !forgotten[otherPort] {
		t.Error("what came for our own process was not taken back")
	}
}
