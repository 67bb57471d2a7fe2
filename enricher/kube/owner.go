package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	kindPod     = "Pod"
	kindNode    = "Node"
	kindService = "Service"
)

// owner is a replica set or a job: of interest is whose it is.
type owner struct {
	heard      bool // of it, rather than of a pod that it owns
	controller workload
	waiting    []*Pod // for it to be heard of
	gone       int64
}

// SetOwner takes a replica set or job as the API has it now.
func (x *Index) SetOwner(o *metav1.PartialObjectMetadata) {
	x.Lock()
	defer x.Unlock()
	now := x.now().UnixNano()
	own := x.ownerOf(string(o.UID))
	own.gone = forever
	var controller workload
	if c := metav1.GetControllerOfNoCopy(o); c != nil {
		controller = workload{c.Name, c.Kind}
	}
	changed := own.heard && own.controller != controller
	own.heard, own.controller = true, controller
	for _, p := range own.waiting {
		p.waits = false
		x.refresh(p, now)
	}
	own.waiting = nil
	if changed { // adopted or orphaned, which is rare
		for _, p := range x.pods {
			if p.owner.UID == o.UID {
				p.resolved = false
				x.refresh(p, now)
			}
		}
	}
}

// OwnerGone says that a replica set or job left the API: before its pods.
func (x *Index) OwnerGone(uid string) {
	x.Lock()
	defer x.Unlock()
	if o := x.owners[uid]; o != nil && o.gone == forever {
		o.gone = x.now().UnixNano()
	}
}

func (x *Index) ownerOf(uid string) *owner {
	o := x.owners[uid]
	if o == nil {
		o = &owner{gone: forever}
		x.owners[uid] = o
	}
	return o
}

// setOwner notes whose the pod is.
func (x *Index) setOwner(p *Pod, o *corev1.Pod) {
	var ref metav1.OwnerReference
	if c := metav1.GetControllerOfNoCopy(o); c != nil {
		ref = *c
	}
	if ref.UID != p.owner.UID || ref.Kind != p.owner.Kind {
		p.owner, p.resolved = ref, false
	}
}

// resolve finds the pod's workload: the owner of its owner where that is a
// replica set or a job which has one, else its owner, else itself.
func (x *Index) resolve(p *Pod) {
	if p.resolved {
		return
	}
	p.workload, p.resolved = workload{p.owner.Name, p.owner.Kind}, true
	switch {
	case p.owner.Kind == "" || p.owner.Kind == kindNode:
		// A static pod is named NAME-NODE; it is NAME on every node.
		p.workload = workload{p.name, kindPod}
		if p.static != "" {
			p.workload.name = strings.TrimSuffix(p.name, "-"+p.node.name)
		}
	case isIntermediate(&p.owner):
		own := x.ownerOf(string(p.owner.UID))
		switch {
		case !own.heard:
			p.resolved = false
			if !p.waits {
				p.waits = true
				own.waiting = append(own.waiting, p)
			}
		case own.controller != workload{}:
			p.workload = own.controller
		}
	}
	x.recount(p)
}

// isIntermediate tells whether people name a workload by the owner's owner.
func isIntermediate(o *metav1.OwnerReference) bool {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	return o.Kind == "ReplicaSet" && group == "apps" || o.Kind == "Job" && group == "batch"
}
