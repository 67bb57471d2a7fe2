//go:build installs

package k8s

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// events reads what ended since a time from WEIR_ENRICHED, to its present end.
func (c *cluster) events(t *testing.T, since time.Time, visit func(*proto.Frame, *proto.Event)) {
	t.Helper()
	for msg, err := range c.connect(t).Messages(context.WithoutCancel(t.Context()), bus.ReadConfig{
		Stream: proto.StreamEnriched, Subjects: []string{proto.SubjectsEnriched}, StartTime: since, StopAtEnd: true,
	}) {
		var frame proto.Frame
		if err != nil {
			t.Fatal(err)
		}
		if err := frame.Decode(msg.Data); err != nil {
			t.Fatalf("decode frame %d: %v", msg.Sequence, err)
		}
		for i := range frame.Events {
			if frame.Events[i].EndNS >= since.UnixNano() {
				visit(&frame, &frame.Events[i])
			}
		}
	}
}

// checker compares names with what the API said, and sums up what is wrong.
type checker struct {
	*directory
	unsure                      bool           // the event says that an end could not be named
	wrong, kinds                map[string]int // kinds: of the unresolved
	events, unresolved, byPod   int            // byPod: remote ends that were named with their pod
	hostNetwork, hostNamedAsPod int            // remote ends of host network, and those that were told apart from their node
}

func (c *cluster) checker(t *testing.T) *checker {
	return &checker{directory: c.directory(t), wrong: map[string]int{}, kinds: map[string]int{}}
}

// check compares both ends of an event.
func (k *checker) check(f *proto.Frame, e *proto.Event) {
	k.events++
	k.unsure = e.Flags&proto.FlagUnresolved != 0
	if k.unsure {
		k.unresolved++
		k.kinds[fmt.Sprintf("%s side: %s/%s (%s) → %s/%s (%s)", e.Side, e.From.Namespace, e.From.Workload, e.Source.Addr(), e.To.Namespace, e.To.Workload, e.Destination.Addr())]++
	}
	local, remote, far := &e.From, &e.To, e.Destination
	if e.Side == proto.SideServer {
		local, remote, far = remote, local, e.Source
	}
	k.checkLocal(f, e, local)
	if far.Addr().IsLoopback() { // within a pod, or a node
		if remote.Pod != local.Pod || remote.Node != f.Node {
			k.err(e, "%+v speaks over loopback to %+v", *local, *remote)
		}
		return
	}
	k.checkRemote(e, remote, far.Addr().Unmap())
}

// checkLocal goes by the pod's UID, which is in the path of the process's cgroup.
func (k *checker) checkLocal(f *proto.Frame, e *proto.Event, got *proto.Endpoint) {
	if e.Process.PodUID == "" {
		if got.Namespace != proto.NamespaceHost || got.Node != f.Node {
			k.err(e, "process %q of %s, which is in no pod, is %+v", e.Process.Name, f.Node, *got)
		}
		return
	}
	want := k.byUID[e.Process.PodUID]
	switch {
	case k.nobody(got):
	case want == nil:
		k.err(e, "the API never told of a pod %s", e.Process.PodUID)
	case !same(got, want, true) || got.Node != f.Node:
		k.err(e, "pod %s on %s is %+v, want %+v", e.Process.PodUID, f.Node, *got, want.Endpoint)
	}
}

// checkRemote goes by the address at the time.
func (k *checker) checkRemote(e *proto.Event, got *proto.Endpoint, a netip.Addr) {
	if service, ok := k.services[a.String()]; ok {
		if got.Service != service.Metadata.Name {
			k.err(e, "service of %s is %q, want %q", a, got.Service, service.Metadata.Name)
		}
		if e.Peer.IsValid() {
			a = e.Peer.Addr().Unmap()
		} else if got.Pod == "" { // which of its pods isn't known
			if got.Kind != "Service" && !slices.ContainsFunc(k.of(got.Namespace, got.Workload), func(p *person) bool { return p.Kind == got.Kind }) ||
				got.Namespace != service.Metadata.Namespace {
				k.err(e, "behind %s is %+v", a, *got)
			}
			return
		} else {
			k.isAny(e, got, k.of(got.Namespace, got.Workload))
			return
		}
	}
	if node, ok := k.nodes[a.String()]; ok {
		k.hostNetwork++
		switch {
		case got.Node != node:
			k.err(e, "%s is %s's, not that of %+v", a, node, *got)
		case got.Pod != "":
			k.hostNamedAsPod++
			k.isAny(e, got, k.byHost[node])
		case got.Namespace != proto.NamespaceHost:
			k.err(e, "%s is a node's, not that of %+v", a, *got)
		}
		return
	}
	want := k.at(a.String(), e.StartNS)
	switch {
	case k.nobody(got):
	case want != nil && !same(got, want, false):
		k.err(e, "%s is %+v, want %+v", a, *got, want.Endpoint)
	case want != nil:
		k.byPod++
	case got.Pod != "":
		k.isAny(e, got, k.byAddress[a.String()])
	}
}

// of are the pods of a workload.
func (k *checker) of(namespace, workload string) (all []*person) {
	for _, p := range k.byUID {
		if p.Namespace == namespace && p.Workload == workload {
			all = append(all, p)
		}
	}
	return all
}

func (k *checker) isAny(e *proto.Event, got *proto.Endpoint, people []*person) {
	if !slices.ContainsFunc(people, func(p *person) bool { return same(got, p, false) }) {
		k.err(e, "no such pod could have been there: %+v", *got)
	}
}

// same compares all but the service, which is of the call. The container isn't
// known of an address.
func same(got *proto.Endpoint, want *person, container bool) bool {
	w := want.Endpoint
	w.Service = got.Service
	if got.Container == "" && !container {
		w.Container = ""
	}
	return *got == w
}

// nobody is an end that is called by its address, as it may be if that is said.
func (k *checker) nobody(got *proto.Endpoint) bool {
	return k.unsure && got.Kind == "address" && got.Pod == ""
}

func (k *checker) err(e *proto.Event, format string, args ...any) {
	k.wrong[fmt.Sprintf("%s side of %s, flags %d: ", e.Side, e.Operation(), e.Flags)+fmt.Sprintf(format, args...)]++
}

// report fails the test for each thing that is wrong.
func (k *checker) report(t *testing.T) {
	t.Helper()
	t.Logf("compared %d events: %d unresolved, %d remote ends by their pod's address; %d of host network, %d of them told apart",
		k.events, k.unresolved, k.byPod, k.hostNetwork, k.hostNamedAsPod)
	for what, n := range k.kinds {
		t.Logf("%d times unresolved: %s", n, what)
	}
	shown := 0
	for what, n := range k.wrong {
		if shown++; shown > 20 {
			t.Errorf("and %d other kinds", len(k.wrong)-20)
			return
		}
		t.Errorf("%d times: %s", n, what)
	}
}
