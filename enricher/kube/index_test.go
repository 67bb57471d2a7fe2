package kube

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/proto"
)

var epoch = time.Unix(1_800_000_000, 0)

// world is an index with a clock that stands until it is moved.
type world struct {
	*Index
	clock time.Time
}

func newWorld() *world {
	w := &world{clock: epoch}
	w.Index = NewIndex(func() time.Time { return w.clock })
	w.Filled()
	return w
}

func (w *world) after(d time.Duration) { w.clock = epoch.Add(d) }

// at is an event time.
func at(d time.Duration) int64 { return epoch.Add(d).UnixNano() }

func stamp(d time.Duration) metav1.Time { return metav1.Time{Time: epoch.Add(d).Truncate(time.Second)} }

// pod is one that was made at a time and runs.
func pod(name, ip string, made time.Duration) *corev1.Pod {
	start := stamp(made)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: stamp(made)},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, StartTime: &start},
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", ContainerID: "containerd://id-" + name,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: start}},
	}}
	return p
}

// ownedBy makes a pod's or a replica set's controller.
func ownedBy(kind, name string) []metav1.OwnerReference {
	yes := true
	group := map[string]string{"ReplicaSet": "apps/v1", "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1", "CronJob": "batch/v1"}[kind]
	return []metav1.OwnerReference{{APIVersion: group, Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: &yes}}
}

func ended(p *corev1.Pod, finished time.Duration) *corev1.Pod {
	p = p.DeepCopy()
	p.Status.Phase = corev1.PodFailed
	s := &p.Status.ContainerStatuses[0]
	s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: s.State.Running.StartedAt, FinishedAt: stamp(finished)}}
	return p
}

func partial(name string, owner []metav1.OwnerReference) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), OwnerReferences: owner}}
}

func endpointSlice(service, name string, pods ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
	}}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: p, UID: types.UID("uid-" + p)}})
	}
	return s
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: stamp(-time.Hour)},
		Spec:       corev1.ServiceSpec{ClusterIPs: []string{ip}},
	}
}

// name is what a pod's endpoint says, in short.
func (w *world) name(t *testing.T, uid string, at int64) string {
	t.Helper()
	p := w.Pod("uid-" + uid)
	if p == nil {
		t.Fatalf("no pod %s", uid)
	}
	e, known := Container{Pod: p}.Endpoint(at)
	if !known {
		return "?" + brief(e)
	}
	return brief(e)
}

func brief(e *proto.Endpoint) string {
	return fmt.Sprintf("%s/%s/%s %s %s %s@%s/%s", e.Namespace, e.Kind, e.Workload, e.Service, e.Pod, e.Container, e.Node, e.Zone)
}

func TestWorkloads(t *testing.T) {
	w := newWorld()
	w.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}})
	w.SetOwner(partial("cart-5d4", ownedBy("Deployment", "cart")))
	w.SetOwner(partial("bare", nil))
	w.SetOwner(partial("nightly-1", ownedBy("CronJob", "nightly")))
	w.SetOwner(partial("once", nil))
	w.SetOwner(partial("canary-7f", ownedBy("Rollout", "canary")))
	for _, tt := range []struct {
		pod, kind, owner, want string
	}{
		{"a", "ReplicaSet", "cart-5d4", "shop/Deployment/cart"},
		{"b", "ReplicaSet", "bare", "shop/ReplicaSet/bare"},
		{"c", "Job", "nightly-1", "shop/CronJob/nightly"},
		{"d", "Job", "once", "shop/Job/once"},
		{"e", "StatefulSet", "db", "shop/StatefulSet/db"},
		{"f", "DaemonSet", "log.v2", "shop/DaemonSet/log.v2"},
		{"g", "", "", "shop/Pod/g"},
		{"h", "ReplicaSet", "canary-7f", "shop/Rollout/canary"},
		{"i", "ReplicaSet", "unheard", "?shop/ReplicaSet/unheard"},
	} {
		p := pod(tt.pod, "10.0.0.1", 0)
		if tt.kind != "" {
			p.OwnerReferences = ownedBy(tt.kind, tt.owner)
		}
		w.SetPod(p)
		if got, want := w.name(t, tt.pod, at(0)), tt.want+"  "+tt.pod+" app@n1/z1"; got != want {
			t.Errorf("%s: %s, want %s", tt.pod, got, want)
		}
	}
	w.SetOwner(partial("unheard", ownedBy("Deployment", "late")))
	if got := w.name(t, "i", at(0)); got != "shop/Deployment/late  i app@n1/z1" {
		t.Errorf("after its replica set was heard of: %s", got)
	}
	// The replica set is gone before its pod's last update.
	w.OwnerGone("uid-cart-5d4")
	w.after(3 * time.Hour)
	w.sweep()
	w.SetPod(ended(func() *corev1.Pod {
		p := pod("a", "10.0.0.1", 0)
		p.OwnerReferences = ownedBy("ReplicaSet", "cart-5d4")
		return p
	}(), 0))
	if got := w.name(t, "a", at(0)); got != "shop/Deployment/cart  a app@n1/z1" {
		t.Errorf("after its replica set is gone: %s", got)
	}
}

// A static pod's cgroup has another UID than the pod that the API shows.
func TestStaticPods(t *testing.T) {
	w := newWorld()
	p := pod("etcd-n1", "10.1.0.1", 0)
	p.OwnerReferences = ownedBy("Node", "n1")
	p.Annotations = map[string]string{annotationMirror: "0123", annotationHash: "0123456789abcdef0123456789abcdef"}
	p.Spec.HostNetwork = true
	w.SetPod(p)
	w.RLock()
	defer w.RUnlock()
	found := w.Pod("0123456789abcdef0123456789abcdef")
	if found == nil || found != w.Pod("uid-etcd-n1") {
		t.Fatal("not found by the UID of its cgroup")
	}
	if e, _ := (Container{Pod: found}).Endpoint(at(0)); e.Workload != "etcd" || e.Kind != "Pod" || !found.HostNetwork() {
		t.Errorf("%+v", e)
	}
	if who, _ := w.At(netip.MustParseAddr("10.1.0.1"), at(0)); who != nil {
		t.Error("a host network pod has its node's address")
	}
}

func TestContainers(t *testing.T) {
	w := newWorld()
	p := pod("a", "10.0.0.1", 0)
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "proxy"})
	p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
		Name: "proxy", ContainerID: "cri-o://id-proxy-2",
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "cri-o://id-proxy-1"}},
	})
	w.SetPod(p)
	for id, want := range map[string]string{"id-a": "app", "id-proxy-1": "proxy", "id-proxy-2": "proxy"} {
		c := w.Container(id)
		if c.Pod == nil {
			t.Fatalf("%s: not found", id)
		}
		if e, _ := c.Endpoint(at(0)); e.Container != want {
			t.Errorf("%s: container %q, want %q", id, e.Container, want)
		}
	}
	if e, _ := (Container{Pod: w.Pod("uid-a")}).Endpoint(at(0)); e.Container != "" {
		t.Errorf("one of two containers is guessed: %q", e.Container)
	}
	for i := range 3 * maxContainers { // it restarts for ever
		p.Status.ContainerStatuses[0].ContainerID = fmt.Sprint("containerd://", i)
		w.SetPod(p)
	}
	if len(w.containers) > maxContainers {
		t.Errorf("%d containers are kept", len(w.containers))
	}
	if w.Container(fmt.Sprint(3*maxContainers-1)).Pod == nil {
		t.Error("the last container is not known")
	}
}

// Dual stack: both families of pods, services and nodes; notations are as the
// kernel and as the API have them.
func TestDualStack(t *testing.T) {
	w := newWorld()
	p := pod("a", "10.0.0.1", 0)
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::0:1"}}
	w.SetPod(p)
	s := service("cart", "10.96.0.1")
	s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00:96::1", "None", "")
	s.Spec.ExternalIPs = []string{"203.0.113.7"}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "2001:db8::7"}, {IP: "192.168.0.1"}, {Hostname: "lb.example"}}
	w.SetService(s)
	w.SetNode(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/24", "fd00::/64", "nonsense"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}, {Type: corev1.NodeInternalIP, Address: "fd01::1"}, {Type: corev1.NodeHostName, Address: "n1"},
		}},
	})
	who := func(a string) (string, bool) {
		o, ours := w.At(netip.MustParseAddr(a), at(time.Minute))
		switch o := o.(type) {
		case *Pod:
			return o.name, ours
		case *Service:
			return o.name, ours
		case *Node:
			return o.name, ours
		}
		return "", ours
	}
	for a, want := range map[string]string{
		"10.0.0.1": "a", "::ffff:10.0.0.1": "a", "fd00::1": "a", "10.96.0.1": "cart", "fd00:96::1": "cart",
		"203.0.113.7": "cart", "2001:db8::7": "cart", // the balancer at 192.168.0.1 is on the node
		"192.168.0.1": "n1", "fd01::1": "n1", "10.0.0.77": "", "fd00::77": "", "::ffff:10.0.0.77": "",
	} {
		if got, ours := who(a); got != want || !ours {
			t.Errorf("%s is %q, ours %v; want %q", a, got, ours, want)
		}
	}
	if got, ours := who("10.0.1.1"); got != "" || ours {
		t.Errorf("10.0.1.1 is %q, ours %v", got, ours)
	}
}

// An event from before the API told of the pod's address is that pod's, unless
// another pod had the address then.
func TestEventsBeforeTheWatch(t *testing.T) {
	w := newWorld()
	who := func(d time.Duration) string {
		o, _ := w.At(netip.MustParseAddr("10.0.0.1"), at(d))
		if p, ok := o.(*Pod); ok {
			return p.name
		}
		return ""
	}
	check := func(want map[time.Duration]string) {
		t.Helper()
		for d, name := range want {
			if got := who(d); got != name {
				t.Errorf("at %v: %q, want %q", d, got, name)
			}
		}
	}
	a := pod("a", "10.0.0.1", 0)
	w.after(3 * time.Second) // the watch is late
	w.SetPod(a)
	check(map[time.Duration]string{-time.Second: "", 500 * time.Millisecond: "a", 2 * time.Second: "a", 3 * time.Second: "a"})

	// At once after a has ended b gets its address, and the API tells of b first.
	w.after(22 * time.Second)
	b := pod("b", "10.0.0.1", 20*time.Second)
	w.SetPod(b)
	check(map[time.Duration]string{19 * time.Second: "a", 21500 * time.Millisecond: "b", 30 * time.Second: "b"})
	w.after(25 * time.Second)
	w.SetPod(ended(a, 18*time.Second))
	w.PodGone("uid-a", at(25*time.Second))
	check(map[time.Duration]string{18 * time.Second: "a", 20 * time.Second: "b", 21500 * time.Millisecond: "b", 24 * time.Second: "b", time.Hour: "b"})
	w.PodGone("uid-a", at(25*time.Second)) // and again
	check(map[time.Duration]string{time.Hour: "b"})

	// Intervals outlive the pods, and are dropped then.
	w.after(time.Minute)
	w.PodGone("uid-b", at(time.Minute))
	w.after(2 * time.Hour)
	w.sweep()
	check(map[time.Duration]string{10 * time.Second: "a", 30 * time.Second: "b", 2 * time.Hour: ""})
	w.after(3 * time.Hour)
	w.sweep()
	check(map[time.Duration]string{10 * time.Second: "", 30 * time.Second: ""})
	if len(w.addrs)+len(w.pods)+len(w.containers)+len(w.nodes) != 0 {
		t.Errorf("kept: %d addresses, %d pods, %d containers, %d nodes", len(w.addrs), len(w.pods), len(w.containers), len(w.nodes))
	}
}

// A pod that ended while the API was away: until when it had its address isn't
// known.
func TestEndsThatWereMissed(t *testing.T) {
	w := newWorld()
	w.after(time.Second)
	w.SetPod(pod("a", "10.0.0.1", 0))
	w.after(600 * time.Second) // the API is back; it was last heard of at 60 s
	w.SetPod(pod("b", "10.0.0.1", 120*time.Second))
	w.PodGone("uid-a", at(60*time.Second))
	for d, want := range map[time.Duration]string{
		59 * time.Second: "a", 100 * time.Second: "a", 120500 * time.Millisecond: "", 122 * time.Second: "b", 599 * time.Second: "b",
	} {
		o, _ := w.At(netip.MustParseAddr("10.0.0.1"), at(d))
		if p, ok := o.(*Pod); ok != (want != "") || ok && p.name != want {
			t.Errorf("at %v: not %q", d, want)
		}
	}
}

// Services name their pods as they did when it happened.
func TestServices(t *testing.T) {
	w := newWorld()
	w.SetService(service("cart", "10.96.0.1"))
	for _, name := range []string{"a", "b"} {
		p := pod(name, "10.0.0."+name[:0]+map[string]string{"a": "1", "b": "2"}[name], 0)
		p.OwnerReferences = ownedBy("StatefulSet", "cart-db")
		w.SetPod(p)
	}
	is := func(uid string, d time.Duration) string {
		e, _ := Container{Pod: w.Pod("uid-" + uid)}.Endpoint(at(d))
		return e.Service
	}
	w.after(2 * time.Second)
	w.SetSlice(endpointSlice("cart", "cart-x", "a", "b"))
	if is("a", 0) != "cart" || is("b", time.Second) != "cart" {
		t.Error("what is heard late of a young pod does not hold from its start")
	}
	end := w.services["shop/cart"].Endpoint()
	if end.Workload != "cart-db" || end.Kind != "StatefulSet" || end.Service != "cart" || end.Pod != "" {
		t.Errorf("all pods are of one workload, but the service is %+v", end)
	}
	// Moving to another slice changes nothing; a second service makes it unclear.
	w.SetSlice(endpointSlice("cart", "cart-y", "a"))
	w.SetSlice(endpointSlice("cart", "cart-x", "b"))
	w.after(time.Minute)
	w.SetSlice(endpointSlice("cart-headless", "h", "a"))
	if is("a", 30*time.Second) != "cart" || is("a", 2*time.Minute) != "" || is("b", 2*time.Minute) != "cart" {
		t.Error("a second service is not from then on")
	}
	w.SliceGone("shop/h")
	if is("a", 2*time.Minute) != "cart" {
		t.Error("the second service's end is not noticed")
	}
	// A pod that goes keeps its service.
	gone := pod("b", "10.0.0.2", 0)
	gone.OwnerReferences = ownedBy("StatefulSet", "cart-db")
	now := stamp(2 * time.Minute)
	gone.DeletionTimestamp = &now
	w.after(2 * time.Minute)
	w.SetPod(gone)
	w.SetSlice(endpointSlice("cart", "cart-x"))
	if is("b", 3*time.Minute) != "cart" {
		t.Error("a pod that ends has lost its service")
	}
	// Another workload behind it, even if for a while only: which one it was
	// can't be told for as long as connections may last.
	w.SetPod(pod("c", "10.0.0.3", time.Minute))
	w.SetSlice(endpointSlice("cart", "cart-z", "c"))
	w.SliceGone("shop/cart-z")
	if end := w.services["shop/cart"].Endpoint(); end.Kind != "Service" || end.Workload != "cart" {
		t.Errorf("two workloads, but the service is %+v", end)
	}
	w.after(3 * time.Hour)
	w.sweep()
	if end := w.services["shop/cart"].Endpoint(); end.Kind != "StatefulSet" {
		t.Errorf("hours later the service is %+v", end)
	}
	s := w.services["shop/cart"]
	if !s.Serves(&proto.Endpoint{Namespace: "shop", Workload: "cart-db", Kind: "StatefulSet"}) || s.Serves(&proto.Endpoint{Namespace: "x", Workload: "cart-db", Kind: "StatefulSet"}) {
		t.Error("it serves the wrong ones")
	}
	// It goes, and its address is another's.
	w.ServiceGone("shop/cart", w.clock.UnixNano())
	w.after(3*time.Hour + time.Minute)
	other := service("other", "10.96.0.1")
	other.CreationTimestamp = metav1.Time{Time: w.clock}
	w.SetService(other)
	for d, want := range map[time.Duration]string{2 * time.Hour: "cart", 3*time.Hour + 2*time.Minute: "other"} {
		if o, _ := w.At(netip.MustParseAddr("10.96.0.1"), at(d)); o.(*Service).name != want {
			t.Errorf("at %v: not %s", d, want)
		}
	}
}

// A kubelet's view of an address that many pods have one after another, and
// what the API tells of it: late, in whole seconds, each pod in its own time.
func TestReuseOfAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		type news struct {
			when time.Duration
			tell func()
		}
		type truth struct {
			name            string
			started, finish time.Duration
			tells           bool // how it ended; else only who asked for it, and when
		}
		var all []news
		var pods []truth
		ms := func(label string, most int) time.Duration {
			return time.Duration(rapid.IntRange(1, most).Draw(t, label)) * time.Millisecond
		}
		now := time.Duration(0)
		for i := range rapid.IntRange(2, 10).Draw(t, "pods") {
			name := fmt.Sprint("p", i)
			made := now - ms("made before the address was free", 5000)
			start := now + ms("sandbox and containers", 1500)
			finish := start + ms("run", 20_000)
			now = finish + ms("teardown", 800)
			p := pod(name, "10.0.0.1", made)
			p.Status.ContainerStatuses[0].State.Running.StartedAt = stamp(start)
			told := start + ms("late start", 3000)
			over := max(finish, told) + ms("late end", 3000)
			gone := over + ms("late deletion", 20_000)
			uid := "uid-" + name
			tells := rapid.Bool().Draw(t, "tells its end")
			pods = append(pods, truth{name, start, finish, tells})
			all = append(all, news{told, func() { w.SetPod(p) }})
			end := ended(p, finish)
			if !tells {
				end = p.DeepCopy()
				asked, grace := stamp(max(start, finish-ms("grace", 3000))+30*time.Second), int64(30)
				end.DeletionTimestamp, end.DeletionGracePeriodSeconds = &asked, &grace
			}
			all = append(all, news{over, func() { w.SetPod(end) }})
			all = append(all, news{gone, func() { w.PodGone(uid, w.clock.UnixNano()) }})
		}
		for len(all) > 0 { // in the order in which they are heard
			next := 0
			for i := range all {
				if all[i].when < all[next].when {
					next = i
				}
			}
			w.after(all[next].when)
			all[next].tell()
			all = append(all[:next], all[next+1:]...)
		}
		for _, p := range pods {
			for d := p.started; d <= p.finish; d += 50 * time.Millisecond {
				o, _ := w.At(netip.MustParseAddr("10.0.0.1"), at(d))
				unsure := d < p.started+2*time.Second || d > p.finish-2*time.Second ||
					!p.tells && d > p.finish-10*time.Second // the next may have it already
				if o == nil && unsure {
					continue
				}
				if o == nil || o.(*Pod).name != p.name {
					t.Fatalf("at %v %s, which had the address during %v–%v, is named %v", d, p.name, p.started, p.finish, o)
				}
			}
		}
	})
}

// What is odd in the API's answers is survived.
func TestOddities(t *testing.T) {
	w := newWorld()
	w.PodGone("unheard", 0)
	w.NodeGone("unheard", 0)
	w.ServiceGone("un/heard", 0)
	w.SliceGone("un/heard")
	w.OwnerGone("unheard")
	w.SetPod(&corev1.Pod{})
	w.SetNode(&corev1.Node{})
	w.SetService(&corev1.Service{})
	w.SetSlice(&discoveryv1.EndpointSlice{})
	w.SetOwner(&metav1.PartialObjectMetadata{})
	p := pod("a", "nonsense", 0)
	p.Status.PodIPs = []corev1.PodIP{{IP: ""}, {IP: "10.0.0.300"}}
	p.Status.ContainerStatuses[0].ContainerID = "://"
	w.SetPod(p)
	w.sweep()
	if who, ours := w.At(netip.Addr{}, at(0)); who != nil || ours {
		t.Errorf("no address is %v", who)
	}
}
