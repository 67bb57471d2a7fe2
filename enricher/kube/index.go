package kube

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/weirstream/weir/proto"
)

const (
	// retention is how long the dead are known: raw events are kept for 2 h.
	retention = int64(2*time.Hour + 5*time.Minute)
	// young is the age up to which what is heard of a pod is taken to have been
	// so from its start: the API's resources tell in any order.
	young = int64(10 * time.Second)

	maxClaims     = 64 // of an address; the oldest go
	maxVersions   = 8  // of a pod's names; the oldest go
	maxContainers = 64 // of a pod that restarts them; the oldest go
)

// Index answers who had an address, a pod UID or a container id at a time.
// Lookups need its read lock, one for any number of them; what they return may
// be kept.
type Index struct {
	sync.RWMutex
	now func() time.Time

	addrs      addresses
	fronts     addresses            // of load balancers: they count if the address is in addrs of nobody
	pods       map[string]*Pod      // by UID; static pods by that of their cgroup, too
	containers map[string]Container // by container id
	services   map[string]*Service  // by namespace/name
	slices     map[string]*slice    // by namespace/name
	members    map[string][]*member // by pod UID
	nodes      map[string]*Node     // by name
	owners     map[string]*owner    // replica sets and jobs, by UID
	ranges     map[netip.Prefix]int // of pod addresses: how many nodes have it
	lengths    []int                // of the prefixes in ranges
	filling    bool                 // the first lists are still coming
	optOut     optOut
}

// NewIndex makes an empty one.
func NewIndex(now func() time.Time) *Index {
	return &Index{
		now:        now,
		addrs:      addresses{},
		fronts:     addresses{},
		pods:       map[string]*Pod{},
		containers: map[string]Container{},
		services:   map[string]*Service{},
		slices:     map[string]*slice{},
		members:    map[string][]*member{},
		nodes:      map[string]*Node{},
		owners:     map[string]*owner{},
		ranges:     map[netip.Prefix]int{},
		filling:    true,
		optOut:     optOut{labels.Nothing(), map[string]bool{}, make(chan struct{}, 1)},
	}
}

// Container returns the container with an id; its Pod is nil if there is none.
func (x *Index) Container(id string) Container { return x.containers[id] }

// Pod returns the pod with a UID, or nil.
func (x *Index) Pod(uid string) *Pod { return x.pods[uid] }

// Node returns the node with a name, or nil.
func (x *Index) Node(name string) *Node { return x.nodes[name] }

// At returns whose an address was at time t, or nil. Then ours tells whether
// it is the cluster's own all the same: it has been somebody's, or it is in the
// range of a node's pods.
func (x *Index) At(a netip.Addr, t int64) (who Owner, ours bool) {
	a = plain(a)
	if c, ok := x.addrs[a]; ok {
		return c.at(t), true
	}
	if who := x.fronts[a].at(t); who != nil {
		return who, true
	}
	for _, n := range x.lengths {
		if p, err := a.Prefix(n); err == nil && x.ranges[p] > 0 {
			return nil, true
		}
	}
	return nil, false
}

// plain is an address as the API writes it.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Len is the number of pods known, the dead of the last hours among them.
func (x *Index) Len() int {
	x.RLock()
	defer x.RUnlock()
	return len(x.pods)
}

// Filled says that everything was listed once.
func (x *Index) Filled() {
	x.Lock()
	defer x.Unlock()
	x.filling = false
}

// addresses is who has or had them.
type addresses map[netip.Addr]claims

// claim says that who has the address since from, for certain since sure.
func (m addresses) claim(a netip.Addr, who Owner, from, sure int64) {
	c := m[a]
	if own := c.of(who); own != nil {
		own.from, own.sure = min(own.from, from), min(own.sure, sure)
		own.end, own.until = forever, forever
		return
	}
	if len(c) >= maxClaims {
		c = slices.Delete(c, 0, 1)
	}
	m[a] = append(c, claim{who, from, sure, forever, forever})
}

// release says that who certainly had the address until end, and no longer
// than until.
func (m addresses) release(a netip.Addr, who Owner, end, until int64) {
	if own := m[a].of(who); own != nil && own.until == forever {
		own.end, own.until = min(end, until), until
	}
}

func (m addresses) sweep(old int64) {
	for a, c := range m {
		c = slices.DeleteFunc(c, func(s claim) bool { return s.until < old })
		if len(c) == 0 {
			delete(m, a)
		} else {
			m[a] = c
		}
	}
}

// sweep forgets what was over before the retention.
func (x *Index) sweep() {
	x.Lock()
	defer x.Unlock()
	now := x.now().UnixNano()
	old := now - retention
	x.addrs.sweep(old)
	x.fronts.sweep(old)
	for uid, p := range x.pods {
		if p.gone < now-keepLeftOut {
			x.setLeftOut(p, "")
		}
		if p.gone < old {
			delete(x.pods, uid)
			for _, id := range p.ids {
				delete(x.containers, id)
			}
			delete(p.node.pods, p)
		}
	}
	for _, s := range x.services {
		s.sweep(old)
		if s.gone < old && s.slices == 0 && len(s.behind) == 0 {
			delete(x.services, s.key())
		}
	}
	for name, n := range x.nodes {
		if n.gone < old && len(n.pods) == 0 {
			delete(x.nodes, name)
		}
	}
	for uid, o := range x.owners {
		if o.gone < old || !o.heard && !slices.ContainsFunc(o.waiting, func(p *Pod) bool { return p.gone == forever }) {
			delete(x.owners, uid)
		}
	}
}

// workload is what owns pods.
type workload struct{ name, kind string }

func (w workload) of(e *proto.Endpoint) bool { return e.Workload == w.name && e.Kind == w.kind }
