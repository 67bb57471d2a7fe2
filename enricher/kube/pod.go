package kube

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirstream/weir/proto"
)

// Annotations of mirror pods, by which the API shows static ones.
const (
	annotationMirror = "kubernetes.io/config.mirror"
	annotationHash   = "kubernetes.io/config.hash" // the UID that the pod's cgroup has
)

// Pod is a pod that runs or ran within the retention.
type Pod struct {
	uid, static     string // static: a static pod's UID in its cgroup
	namespace, name string
	node            *Node
	owner           metav1.OwnerReference // its controller, if there is one
	workload        workload
	resolved        bool // the owner's owner is known
	waits           bool // is in the list of an owner not yet heard of
	addrs           []netip.Addr
	names           []string // of containers
	ids             []string // of containers
	only            string   // the container's name, if there is one only
	sure            int64    // it certainly ran from here on
	life            life
	updated         int64
	hostNetwork     bool
	choice          string // what the annotation says, whether it is to be measured
	leftOut         string // the node that is to leave it out, or ""
	ending, over    bool   // it is to go; its addresses are released
	gone            int64  // it left the API
	versions        []version
}

// version is what the pod was called from a time on.
type version struct {
	from     int64
	service  string
	resolved bool
	ends     []proto.Endpoint // of the pod, and of each of its containers
}

// Container is one of a pod's.
type Container struct {
	Pod *Pod
	n   int // in version.ends
}

// On is the name of the pod's node.
func (p *Pod) On() string {
	if p.node == nil {
		return ""
	}
	return p.node.name
}

// Endpoint is what the container was called at time t. It is the pod's
// without a container's name if the container is zero but for its Pod. Then
// known is false if the owner of its owner has not been heard of.
func (c Container) Endpoint(t int64) (e *proto.Endpoint, known bool) {
	v := c.Pod.at(t)
	if c.n < len(v.ends) {
		return &v.ends[c.n], v.resolved
	}
	return &v.ends[0], v.resolved
}

// HostNetwork tells whether the pod shares its node's addresses.
func (p *Pod) HostNetwork() bool { return p.hostNetwork }

func (p *Pod) at(t int64) *version {
	for i := len(p.versions) - 1; i > 0; i-- {
		if p.versions[i].from <= t {
			return &p.versions[i]
		}
	}
	return &p.versions[0]
}

// SetPod takes a pod as the API has it now.
func (x *Index) SetPod(o *corev1.Pod) {
	x.Lock()
	defer x.Unlock()
	now := x.now().UnixNano()
	p := x.pods[string(o.UID)]
	if p == nil {
		p = &Pod{uid: string(o.UID), namespace: o.Namespace, name: o.Name, sure: forever, gone: forever}
		x.pods[p.uid] = p
	}
	if p.gone != forever { // an API server that is behind another told last
		p.gone, p.over = forever, false
	}
	if p.static == "" && o.Annotations[annotationMirror] != "" {
		p.static = o.Annotations[annotationHash]
		x.pods[p.static] = p // the newest of that UID: a kubelet makes mirrors anew
	}
	if p.node == nil || p.node.name != o.Spec.NodeName {
		x.place(p, o.Spec.NodeName)
	}
	p.hostNetwork, p.choice = o.Spec.HostNetwork, choiceOf(o)
	p.ending = o.DeletionTimestamp != nil
	x.setContainers(p, o)
	x.setOwner(p, o)
	x.setAddrs(p, o, now)
	x.refresh(p, now)
	x.measure(p)
	p.updated = now
}

// PodGone says that a pod left the API. If that was missed, the time at which
// it did lies between heard, when the API was last heard of, and now.
func (x *Index) PodGone(uid string, heard int64) {
	x.Lock()
	defer x.Unlock()
	p := x.pods[uid]
	if p == nil || p.gone != forever {
		return
	}
	now := x.now().UnixNano()
	p.gone = now
	x.releaseAll(p, heard, now)
}

func (x *Index) setContainers(p *Pod, o *corev1.Pod) {
	p.only = ""
	if len(o.Spec.Containers) == 1 && len(o.Spec.EphemeralContainers) == 0 &&
		!slices.ContainsFunc(o.Spec.InitContainers, func(c corev1.Container) bool { return c.RestartPolicy != nil }) {
		p.only = o.Spec.Containers[0].Name
	}
	for s := range statuses(o) {
		x.setContainer(p, s.Name, s.ContainerID)
		if r := s.LastTerminationState.Terminated; r != nil {
			x.setContainer(p, s.Name, r.ContainerID)
		}
	}
}

func (x *Index) setContainer(p *Pod, name, url string) {
	_, id, _ := strings.Cut(url, "://") // containerd://ID
	if _, ok := x.containers[id]; ok || id == "" {
		return
	}
	n := slices.Index(p.names, name)
	if n < 0 {
		n = len(p.names)
		p.names = append(p.names, name)
	}
	if len(p.ids) >= maxContainers {
		delete(x.containers, p.ids[0])
		p.ids = p.ids[1:]
	}
	p.ids = append(p.ids, id)
	x.containers[id] = Container{p, n + 1}
}

// statuses are those of all containers of a pod.
func statuses(o *corev1.Pod) func(func(*corev1.ContainerStatus) bool) {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, list := range [][]corev1.ContainerStatus{
			o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses,
		} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// setAddrs claims the pod's addresses until it has ended.
func (x *Index) setAddrs(p *Pod, o *corev1.Pod, now int64) {
	p.life = lifeOf(o)
	p.sure = min(p.sure, p.life.sure)
	addrs := addrsOf(o)
	if len(addrs) > 0 {
		p.sure = min(p.sure, now)
	}
	moved := false
	for _, a := range p.addrs {
		if !slices.Contains(addrs, a) {
			moved = true
			x.addrs.release(a, p, p.updated, now)
		}
	}
	for _, a := range addrs {
		from, sure := p.life.from, p.sure
		if moved && !slices.Contains(p.addrs, a) {
			from, sure = p.updated, now // of a new sandbox
		}
		x.addrs.claim(a, p, from, sure)
	}
	p.addrs = addrs
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		x.releaseAll(p, now, now)
	}
}

// releaseAll releases the pod's addresses: it ended between heard and now, or
// when its status says.
func (x *Index) releaseAll(p *Pod, heard, now int64) {
	for _, a := range p.addrs {
		x.addrs.release(a, p, min(p.life.end, heard), min(p.life.until, now))
	}
	p.addrs, p.over = nil, true
}

// addrsOf are the addresses that are the pod's alone.
func addrsOf(o *corev1.Pod) []netip.Addr {
	if o.Spec.HostNetwork {
		return nil
	}
	var addrs []netip.Addr
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && text != o.Status.HostIP && !slices.Contains(addrs, plain(a)) {
			addrs = append(addrs, plain(a))
		}
	}
	add(o.Status.PodIP)
	for _, ip := range o.Status.PodIPs {
		add(ip.IP)
	}
	return addrs
}

// life is when a pod ran, as its status tells: possibly from, certainly from
// sure; certainly to end and possibly to until, if it says that it ends.
type life struct{ from, sure, end, until int64 }

func lifeOf(o *corev1.Pod) life {
	l := life{from: o.CreationTimestamp.UnixNano(), sure: forever, end: forever, until: forever}
	if o.Status.StartTime != nil {
		l.from = o.Status.StartTime.UnixNano()
	}
	finished, running := int64(0), false
	for s := range statuses(o) {
		started(&l, s.LastTerminationState.Terminated)
		started(&l, s.State.Terminated)
		if r := s.State.Terminated; r != nil {
			finished = max(finished, r.FinishedAt.UnixNano())
		}
		if r := s.State.Running; r != nil {
			running = true
			l.sure = min(l.sure, r.StartedAt.UnixNano()+second)
		}
	}
	switch {
	case finished > 0 && !running:
		l.end, l.until = finished, finished+second
	case o.DeletionTimestamp != nil:
		l.end = requested(o)
	}
	return l
}

func started(l *life, r *corev1.ContainerStateTerminated) {
	if r != nil && !r.StartedAt.IsZero() {
		l.sure = min(l.sure, r.StartedAt.UnixNano()+second)
	}
}

// requested is when somebody asked for the pod's deletion.
func requested(o *corev1.Pod) int64 {
	t := o.DeletionTimestamp.UnixNano()
	if o.DeletionGracePeriodSeconds != nil {
		t -= *o.DeletionGracePeriodSeconds * second
	}
	return t
}

// refresh names the pod anew. What has changed holds from now on, unless it
// has only just been learned.
func (x *Index) refresh(p *Pod, now int64) {
	x.resolve(p)
	service := x.serviceOf(p)
	v := version{service: service, resolved: p.resolved}
	n := len(p.versions)
	if n > 0 {
		last := &p.versions[n-1]
		if p.ending || p.over {
			v.service = last.service // it leaves its services, but what it served, it served for them
		}
		end := &last.ends[0]
		if last.resolved == v.resolved && last.service == v.service && p.workload.of(end) && len(last.ends) == 1+len(p.names) &&
			end.Zone == p.node.zone && end.Node == p.node.name && end.Container == p.only {
			return
		}
		v.from = last.from
		changed := last.resolved && !p.workload.of(end) || last.service != v.service
		if changed && !x.filling && now-p.sure > young {
			v.from = now
		}
	}
	v.ends = make([]proto.Endpoint, 1+len(p.names))
	for i := range v.ends {
		v.ends[i] = proto.Endpoint{
			Namespace: p.namespace, Workload: p.workload.name, Kind: p.workload.kind, Pod: p.name,
			Service: v.service, Node: p.node.name, Zone: p.node.zone, Container: p.only,
		}
		if i > 0 {
			v.ends[i].Container = p.names[i-1]
		}
	}
	if n > 0 && v.from == p.versions[n-1].from {
		p.versions[n-1] = v
		return
	}
	if n >= maxVersions {
		p.versions = slices.Delete(p.versions, 0, 1)
	}
	p.versions = append(p.versions, v)
}
