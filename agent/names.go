package agent

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxNames bounds the names kept in each of two generations: about 2 MB.
const maxNames = 8192

// names remembers by what name the programs of a host asked for addresses, from
// the answers of DNS servers.
type names struct {
	young, old map[named]string
}

// named is an address as a cgroup's programs know it. For cgroup 0 it is as
// everybody does: if they know it by several names, "".
type named struct {
	cgroup uint64
	addr   netip.Addr
}

// find returns the name by which a cgroup asked for an address last, else the
// only one by which anybody has (a resolver may ask for all), else "".
func (n *names) find(cgroup uint64, a netip.Addr) string {
	if name, ok := n.get(named{cgroup, a}); ok {
		return name
	}
	name, _ := n.get(named{addr: a})
	return name
}

func (n *names) get(k named) (string, bool) {
	name, ok := n.young[k]
	if !ok {
		if name, ok = n.old[k]; ok {
			n.put(k, name) // it is in use
		}
	}
	return name, ok
}

func (n *names) put(k named, name string) {
	if n.young == nil || len(n.young) >= maxNames {
		n.old, n.young = n.young, map[named]string{}
	}
	n.young[k] = name
}

// learn takes a DNS message, of which the end may be missing, that came for a
// cgroup's programs. What isn't an answer with addresses is passed over.
func (n *names) learn(cgroup uint64, message []byte) {
	var p dnsmessage.Parser
	if h, err := p.Start(message); err != nil || !h.Response || h.RCode != dnsmessage.RCodeSuccess {
		return
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return
	}
	name := hostName(questions[0].Name)
	if name == "" {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		var a netip.Addr
		switch h.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return
			}
			a = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return
			}
			a = netip.AddrFrom16(r.AAAA).Unmap()
		default: // aliases on the way
			if p.SkipAnswer() != nil {
				return
			}
			continue
		}
		n.put(named{cgroup, a}, name)
		if other, ok := n.get(named{addr: a}); !ok {
			n.put(named{addr: a}, name)
		} else if other != name {
			n.put(named{addr: a}, "")
		}
	}
}

// hostName is a domain name as people write it, "" if it isn't a host's.
func hostName(n dnsmessage.Name) string {
	name := strings.ToLower(strings.TrimSuffix(n.String(), "."))
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return ""
		}
	}
	return name
}
