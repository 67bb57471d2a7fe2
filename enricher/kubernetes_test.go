package enricher

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/proto"
)

// town is a cluster of two nodes, and a Namer for it.
type town struct {
	*kubernetes
	clock time.Time
	stale bool
}

func newTown() *town {
	w := &town{clock: time.Unix(0, start).Add(-time.Minute)}
	now := func() time.Time { return w.clock }
	x := kube.NewIndex(now)
	x.Filled()
	w.kubernetes = newKubernetes(x, func() bool { return w.stale }, now, nil)
	for i, name := range []string{"n1", "n2"} {
		x.SetNode(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "z" + name[1:]}},
			Spec:       corev1.NodeSpec{PodCIDRs: []string{fmt.Sprintf("10.244.%d.0/24", i+1)}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Address: fmt.Sprintf("192.168.0.%d", i+1)}}},
		})
	}
	w.pod("n1", "web-0", "web", "10.244.1.5", false)
	w.pod("n2", "cart-0", "cart", "10.244.2.5", false)
	w.pod("n2", "cart-1", "cart", "10.244.2.6", false)
	w.pod("n2", "proxy-x", "proxy", "192.168.0.2", true)
	x.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-svc"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.7"}}})
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "cart-svc"}}}
	for _, p := range []string{"cart-0", "cart-1"} {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: types.UID("uid-" + p)}})
	}
	x.SetSlice(s)
	w.clock = time.Unix(0, start)
	return w
}

func (w *town) pod(node, name, workload, ip string, hostNetwork bool) {
	yes := true
	made := metav1.Time{Time: w.clock}
	w.index.SetPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: made,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: workload, Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: node, HostNetwork: hostNetwork, Containers: []corev1.Container{{Name: "main"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, StartTime: &made, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", ContainerID: "containerd://id-" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: made}},
		}}},
	})
}

// in is a process in a pod.
func in(pod string) proto.Process {
	return proto.Process{PID: uint32(len(pod)) * 7, Name: "app", Container: "id-" + pod, PodUID: "uid-" + pod}
}

func on(node string, events ...proto.Event) *proto.Frame {
	return &proto.Frame{Node: node, Events: events}
}

// say is who is at an end, in short.
func say(e *proto.Endpoint) string {
	return fmt.Sprintf("%s/%s/%s:%s:%s:%s:%s:%s", e.Namespace, e.Kind, e.Workload, e.Pod, e.Container, e.Service, e.Node, e.Zone)
}

const (
	web   = "shop/StatefulSet/web:web-0:main::n1:z1"
	cart0 = "shop/StatefulSet/cart:cart-0:main:cart-svc:n2:z2"
	cart  = "shop/StatefulSet/cart:::cart-svc::"
	relay = "shop/StatefulSet/proxy:proxy-x:main::n2:z2"
	node2 = "host/Node/n2::::n2:z2"
)

var (
	kubelet = proto.Process{PID: 3, Name: "kubelet", Unit: "kubelet.service"}
	unheard = proto.Process{PID: 4, Name: "app", Container: "id-new", PodUID: "uid-new"}
)

func TestKubernetesNames(t *testing.T) {
	via := func(e proto.Event, peer string) proto.Event { e.Peer = addr(peer); return e }
	client := func(p proto.Process, source, destination string) proto.Event {
		return seen(proto.SideClient, p, source, destination, 0)
	}
	server := func(p proto.Process, source, destination string) proto.Event {
		return seen(proto.SideServer, p, source, destination, 0)
	}
	asked := func(e proto.Event) proto.Event { e.ServerName = "api.example.com"; return e }
	for _, tt := range []struct {
		name       string
		learn      *proto.Frame // of another node
		frame      *proto.Frame
		from, to   string
		unresolved bool
		missing    Missing
	}{
		{name: "pod to pod", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "10.244.2.5:80")), from: web, to: cart0},
		{name: "seen by the server", frame: on("n2", server(in("cart-0"), "10.244.1.5:40000", "10.244.2.5:80")), from: web, to: cart0},
		{name: "mapped addresses", frame: on("n2", server(in("cart-0"), "[::ffff:10.244.1.5]:40000", "[::ffff:10.244.2.5]:80")), from: web, to: cart0},
		{name: "service, pod known", frame: on("n1", via(client(in("web-0"), "10.244.1.5:40000", "10.96.0.7:80"), "10.244.2.5:8080")), from: web, to: cart0},
		{name: "service, pod unknown", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "10.96.0.7:80")), from: web, to: cart, missing: Anything},
		{
			name:  "service, seen by the server",
			learn: on("n2", server(in("cart-0"), "10.244.1.5:40000", "10.244.2.5:8080"), server(in("cart-1"), "10.244.1.5:40001", "10.244.2.6:8080")),
			frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "10.96.0.7:80")), from: web, to: cart0,
		},
		{name: "node address", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "192.168.0.2:90")), from: web, to: node2, missing: Anything},
		{
			name:  "host network, seen by the server",
			learn: on("n2", server(in("proxy-x"), "10.244.1.9:1", "192.168.0.2:90")),
			frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "192.168.0.2:90")), from: web, to: relay,
		},
		{
			name:  "probe",
			learn: on("n2", client(kubelet, "10.244.2.1:50000", "10.244.2.5:80")),
			frame: on("n2", server(in("cart-0"), "10.244.2.1:50000", "10.244.2.5:80")),
			from:  "host/unit/kubelet::::n2:z2", to: cart0,
		},
		{name: "a pod's loopback", frame: on("n2", server(in("cart-0"), "127.0.0.1:5", "127.0.0.1:80")), from: cart0, to: cart0},
		{name: "a node's loopback", frame: on("n2", client(kubelet, "127.0.0.1:5", "127.0.0.1:80")), from: "host/unit/kubelet::::n2:z2", to: node2, unresolved: true, missing: NextFrame},
		{name: "outside", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "203.0.113.9:443")), from: web, to: "external/address/203.0.113.9:::::"},
		{name: "outside, by name", frame: on("n1", asked(client(in("web-0"), "10.244.1.5:40000", "203.0.113.9:443"))), from: web, to: "external/domain/api.example.com:::::"},
		{name: "in a node's range, nobody's", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "10.244.2.99:80")), from: web, to: "external/address/10.244.2.99:::::", unresolved: true, missing: Anything},
		{name: "private, nobody's yet", frame: on("n1", client(in("web-0"), "10.244.1.5:40000", "172.31.0.9:80")), from: web, to: "external/address/172.31.0.9:::::", unresolved: true, missing: Anything},
		{
			name: "a pod not heard of", frame: on("n2", server(unheard, "10.244.1.5:40000", "10.244.2.5:80")),
			from: web, to: "host/address/10.244.2.5::::n2:z2", unresolved: true, missing: Anything,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTown()
			if tt.learn != nil {
				w.Learn(tt.learn)
			}
			w.Learn(tt.frame)
			missing := w.Name(tt.frame)
			e := &tt.frame.Events[0]
			if from, to := say(&e.From), say(&e.To); from != tt.from || to != tt.to {
				t.Errorf("%s → %s, want %s → %s", from, to, tt.from, tt.to)
			}
			if unresolved := e.Flags&proto.FlagUnresolved != 0; unresolved != tt.unresolved || missing != tt.missing {
				t.Errorf("unresolved %v, missing %d; want %v, %d", unresolved, missing, tt.unresolved, tt.missing)
			}
			if e.Flags&proto.FlagStale != 0 {
				t.Error("stale")
			}
			w.stale = true
			if w.Name(tt.frame); e.Flags&proto.FlagStale == 0 {
				t.Error("not stale while the API is away")
			}
		})
	}
}

// A private address that is nobody's for a minute is no pod's: it is outside.
func TestStrangersTurnOutToBeOutside(t *testing.T) {
	w := newTown()
	call := func(d time.Duration) *proto.Frame {
		return on("n1", seen(proto.SideClient, in("web-0"), "10.244.1.5:40000", "172.31.0.9:80", d))
	}
	w.Name(call(0))
	w.clock = w.clock.Add(2 * time.Minute)
	f := call(2 * time.Minute)
	if missing := w.Name(f); missing != Nothing || f.Events[0].Flags&proto.FlagUnresolved != 0 {
		t.Errorf("after two minutes: missing %d, flags %d", missing, f.Events[0].Flags)
	}
	f = call(-time.Hour) // from before this enricher: it may have been a pod's
	if w.Name(f); f.Events[0].Flags&proto.FlagUnresolved == 0 {
		t.Error("what was before the start is guessed")
	}
	w.stale = true
	f = call(2 * time.Minute)
	if w.Name(f); f.Events[0].Flags&proto.FlagUnresolved == 0 {
		t.Error("while the API is away it is guessed")
	}
}

// A pod that the API tells of late is named when it does.
func TestPodHeardOfLate(t *testing.T) {
	w := newTown()
	f := on("n2",
		seen(proto.SideServer, unheard, "10.244.1.5:1", "10.244.2.9:80", time.Second),
		seen(proto.SideServer, in("cart-0"), "10.244.2.9:2", "10.244.2.5:80", time.Second))
	w.Learn(f)
	if missing := w.Name(f); missing != Anything {
		t.Fatalf("missing %d", missing)
	}
	w.pod("n2", "new", "fresh", "10.244.2.9", false)
	w.clock = w.clock.Add(time.Second)
	if missing := w.Name(f); missing != Nothing {
		t.Errorf("missing %d", missing)
	}
	const fresh = "shop/StatefulSet/fresh:new:main::n2:z2"
	if to, from := say(&f.Events[0].To), say(&f.Events[1].From); to != fresh || from != fresh {
		t.Errorf("%s, %s", to, from)
	}
}

// BenchmarkKubernetes names events of 10,000 pods.
func BenchmarkKubernetes(b *testing.B) {
	w := newTown()
	f := on("n1")
	for i := range 10_000 {
		name, ip := fmt.Sprint("p", i), fmt.Sprintf("10.250.%d.%d", i>>8, i&255)
		w.pod("n1", name, fmt.Sprint("w", i%100), ip, false)
		if i%10 == 0 {
			to := fmt.Sprintf("10.250.%d.%d:80", (i+5000)%10_000>>8, i&255)
			e := seen(proto.SideClient, in(name), ip+":40000", to, time.Minute)
			e.Process.PID = uint32(i)
			f.Events = append(f.Events, e)
		}
	}
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		i, t := 0, start+int64(time.Minute)
		for b.Loop() {
			e := &f.Events[i%len(f.Events)]
			i++
			if w.index.Container(e.Process.Container).Pod == nil {
				b.Fatal("nobody")
			}
			if who, _ := w.index.At(e.Source.Addr(), t); who == nil {
				b.Fatal("nobody")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/lookup")
	})
	b.Run("frame", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Learn(f)
			w.Name(f)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(f.Events)), "ns/event")
	})
}
