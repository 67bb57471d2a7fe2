package kube

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weirstream/weir/proto"
)

// Service is a service that has or had cluster addresses, or pods.
type Service struct {
	namespace, name string
	addrs           []netip.Addr
	fronts          []netip.Addr // of its load balancers
	behind          map[workload]*presence
	unknown         int // endpoints of which the workload isn't known
	slices          int
	end             *proto.Endpoint
	gone            int64 // it left the API, or was never in it
}

// presence is how many pods of a workload are behind a service, or until when
// there were some.
type presence struct {
	pods  int
	until int64
}

// member is a pod's membership of a service.
type member struct {
	service *Service
	slices  int // that list the pod: one of each family, two while it moves
	counted *presence
}

// slice is part of a service's endpoints.
type slice struct {
	service *Service
	uids    []string // of pods
	others  int      // that are no pods
}

func (s *Service) key() string { return s.namespace + "/" + s.name }

// On is "": a service is on no node.
func (s *Service) On() string { return "" }

// Name is the service's.
func (s *Service) Name() string { return s.name }

// Endpoint is what the service's address is called where it isn't known which
// pod answered: the workload, if all pods that were behind it within the
// retention are of one; else the service.
func (s *Service) Endpoint() *proto.Endpoint { return s.end }

// Serves tells whether an endpoint's workload is, or has been, behind it.
func (s *Service) Serves(e *proto.Endpoint) bool {
	return e.Namespace == s.namespace && s.behind[workload{e.Workload, e.Kind}] != nil
}

func (s *Service) rename() {
	w := workload{s.name, kindService}
	if len(s.behind) == 1 && s.unknown == 0 {
		for w = range s.behind {
		}
	}
	if s.end == nil || !w.of(s.end) {
		s.end = &proto.Endpoint{Namespace: s.namespace, Workload: w.name, Kind: w.kind, Service: s.name}
	}
}

func (s *Service) sweep(old int64) {
	for w, p := range s.behind {
		if p.pods == 0 && p.until < old {
			delete(s.behind, w)
		}
	}
	s.rename()
}

// service returns the one with that name, which the API may not have told of.
func (x *Index) service(namespace, name string) *Service {
	key := namespace + "/" + name
	s := x.services[key]
	if s == nil {
		s = &Service{namespace: namespace, name: name, behind: map[workload]*presence{}}
		s.rename()
		x.services[key] = s
	}
	return s
}

// SetService takes a service as the API has it now.
func (x *Index) SetService(o *corev1.Service) {
	x.Lock()
	defer x.Unlock()
	s := x.service(o.Namespace, o.Name)
	s.gone = forever
	made, now := o.CreationTimestamp.UnixNano(), x.now().UnixNano()
	x.addrs.setAlways(s, &s.addrs, parsed(o.Spec.ClusterIPs), made, now)
	fronts := slices.Clone(o.Spec.ExternalIPs)
	for _, b := range o.Status.LoadBalancer.Ingress {
		fronts = append(fronts, b.IP)
	}
	x.fronts.setAlways(s, &s.fronts, parsed(fronts), made, now)
}

// ServiceGone says that a service left the API; see [Index.PodGone] for heard.
func (x *Index) ServiceGone(key string, heard int64) {
	x.Lock()
	defer x.Unlock()
	s := x.services[key]
	if s == nil || s.gone != forever {
		return
	}
	now := x.now().UnixNano()
	s.gone = now
	for _, a := range s.addrs {
		x.addrs.release(a, s, heard, now)
	}
	for _, a := range s.fronts {
		x.fronts.release(a, s, heard, now)
	}
	s.addrs, s.fronts = nil, nil
}

// parsed leaves out what isn't an address: "None", "".
func parsed(texts []string) (addrs []netip.Addr) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, plain(a))
		}
	}
	return addrs
}

// SetSlice takes an endpoint slice as the API has it now.
func (x *Index) SetSlice(o *discoveryv1.EndpointSlice) {
	name := o.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return // nobody's
	}
	x.Lock()
	defer x.Unlock()
	s := &slice{service: x.service(o.Namespace, name)}
	for i := range o.Endpoints {
		if t := o.Endpoints[i].TargetRef; t == nil || t.Kind != kindPod {
			s.others++
		} else if !slices.Contains(s.uids, string(t.UID)) {
			s.uids = append(s.uids, string(t.UID))
		}
	}
	key := o.Namespace + "/" + o.Name
	old := x.slices[key]
	x.slices[key] = s
	x.relist(old, s)
}

// SliceGone says that an endpoint slice left the API.
func (x *Index) SliceGone(key string) {
	x.Lock()
	defer x.Unlock()
	if old := x.slices[key]; old != nil {
		delete(x.slices, key)
		x.relist(old, nil)
	}
}

// relist puts one slice in the place of another; either may be nil.
func (x *Index) relist(from, to *slice) {
	now := x.now().UnixNano()
	var changed []string
	if to != nil { // first what comes: a pod may move between slices
		to.service.slices++
		to.service.unknown += to.others
		for _, uid := range to.uids {
			if x.join(uid, to.service) {
				changed = append(changed, uid)
			}
		}
		to.service.rename()
	}
	if from != nil {
		from.service.slices--
		from.service.unknown -= from.others
		for _, uid := range from.uids {
			if x.leave(uid, from.service, now) {
				changed = append(changed, uid)
			}
		}
		from.service.rename()
	}
	for _, uid := range changed {
		if p := x.pods[uid]; p != nil {
			x.recount(p)
			x.refresh(p, now)
		}
	}
}

// join tells whether the pod has become a member by it.
func (x *Index) join(uid string, s *Service) bool {
	if m := x.member(uid, s); m != nil {
		m.slices++
		return false
	}
	x.members[uid] = append(x.members[uid], &member{service: s, slices: 1})
	s.unknown++
	return true
}

// leave tells whether the pod is no member any more.
func (x *Index) leave(uid string, s *Service, now int64) bool {
	m := x.member(uid, s)
	if m.slices--; m.slices > 0 {
		return false
	}
	m.uncount(now)
	s.unknown--
	x.members[uid] = slices.DeleteFunc(x.members[uid], func(o *member) bool { return o == m })
	if len(x.members[uid]) == 0 {
		delete(x.members, uid)
	}
	return true
}

func (x *Index) member(uid string, s *Service) *member {
	for _, m := range x.members[uid] {
		if m.service == s {
			return m
		}
	}
	return nil
}

// recount counts the pod's workload in the services that it is behind.
func (x *Index) recount(p *Pod) {
	now := x.now().UnixNano()
	for _, m := range x.members[p.uid] {
		m.uncount(now)
		if p.resolved {
			m.count(p.workload)
		}
		m.service.rename()
	}
}

func (m *member) count(w workload) {
	m.counted = m.service.behind[w]
	if m.counted == nil {
		m.counted = &presence{}
		m.service.behind[w] = m.counted
	}
	m.counted.pods++
	m.service.unknown--
}

func (m *member) uncount(now int64) {
	if m.counted == nil {
		return
	}
	if m.counted.pods--; m.counted.pods == 0 {
		m.counted.until = now
	}
	m.counted = nil
	m.service.unknown++
}

// serviceOf is the name of the pod's service, if it has one only.
func (x *Index) serviceOf(p *Pod) string {
	if m := x.members[p.uid]; len(m) == 1 {
		return m[0].service.name
	}
	return ""
}
