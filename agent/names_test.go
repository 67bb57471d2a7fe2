package agent

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// answer is a DNS server's, with an alias in front of the addresses.
func answer(t testing.TB, question string, addrs ...string) []byte {
	t.Helper()
	name, err := dnsmessage.NewName(question)
	if err != nil {
		t.Fatal(err)
	}
	alias := dnsmessage.MustNewName("edge.cdn.example.")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers:   []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: alias}}},
	}
	for _, text := range addrs {
		a := netip.MustParseAddr(text)
		var body dnsmessage.ResourceBody = &dnsmessage.AAAAResource{AAAA: a.As16()}
		if a.Is4() {
			body = &dnsmessage.AResource{A: a.As4()}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: alias, Class: dnsmessage.ClassINET}, Body: body})
	}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNamesAreWhatWasAskedFor(t *testing.T) {
	var n names
	n.learn(1, answer(t, "API.Example.com.", "203.0.113.1", "2001:db8::1"))
	n.learn(2, answer(t, "other.example.com.", "203.0.113.1"))
	n.learn(3, answer(t, "bad name.example.", "203.0.113.3"))
	n.learn(3, answer(t, strings.Repeat("a.", 100), "203.0.113.4"))
	whole := answer(t, "cut.example.", "203.0.113.5", "203.0.113.6")
	n.learn(3, whole[:len(whole)-3])
	for _, tt := range []struct {
		cgroup     uint64
		addr, want string
	}{
		{1, "203.0.113.1", "api.example.com"},
		{1, "2001:db8::1", "api.example.com"},
		{2, "203.0.113.1", "other.example.com"},
		{2, "2001:db8::1", "api.example.com"}, // asked for by one only
		{4, "203.0.113.1", ""},                // by several
		{3, "203.0.113.3", ""},
		{3, "203.0.113.4", strings.Repeat("a.", 99) + "a"},
		{3, "203.0.113.5", "cut.example"},
		{3, "203.0.113.6", ""},
		{1, "203.0.113.9", ""},
	} {
		if got := n.find(tt.cgroup, netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("cgroup %d knows %s as %q, want %q", tt.cgroup, tt.addr, got, tt.want)
		}
	}
	n.learn(1, answer(t, "new.example.com.", "203.0.113.1"))
	if got := n.find(1, netip.MustParseAddr("203.0.113.1")); got != "new.example.com" {
		t.Errorf("after a new answer it is %q", got)
	}
}

func TestNamesAreBounded(t *testing.T) {
	var n names
	used := netip.MustParseAddr("203.0.113.1")
	n.learn(1, answer(t, "used.example.", used.String()))
	message := answer(t, "many.example.", "10.0.0.0")
	for i := range uint32(10 * maxNames) {
		binary.BigEndian.PutUint32(message[len(message)-4:], 10<<24|i)
		n.learn(2, message)
		if len(n.young)+len(n.old) > 2*maxNames {
			t.Fatalf("%d names are kept", len(n.young)+len(n.old))
		}
		if n.find(1, used) == "" {
			t.Fatalf("a name in use is gone after %d others", i)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add(answer(f, "api.example.com.", "203.0.113.1", "2001:db8::1"))
	f.Add(answer(f, "x.", "203.0.113.1")[:20])
	f.Fuzz(func(t *testing.T, message []byte) {
		var n names
		n.learn(1, message)
		for _, name := range n.young {
			if len(name) > 254 || strings.ToLower(name) != name || strings.ContainsAny(name, "<>\"' \x00") {
				t.Errorf("name %q", name)
			}
		}
	})
}
