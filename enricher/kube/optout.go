package kube

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// annotationMeasure on a pod says whether it is measured. It is named for what
// is done to the pod, as sidecar.istio.io/inject and prometheus.io/scrape are:
// so "true" can bring back a pod whose namespace is left out.
const annotationMeasure = "weir.io/measure"

// keepLeftOut is how long a pod stays left out after it left the API: if it was
// deleted by force, its processes may outlive it.
const keepLeftOut = int64(time.Minute)

// optOut is which namespaces' pods are not to be measured.
type optOut struct {
	selector   labels.Selector
	namespaces map[string]bool // that it selects
	changed    chan struct{}   // has something in it if pods came or went
}

// parseOptOut reads a label selector as kubectl takes it; "" selects nothing.
func parseOptOut(text string) (labels.Selector, error) {
	if text == "" {
		return labels.Nothing(), nil
	}
	s, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read --opt-out-namespaces %q: not a label selector such as env=dev,team in (a,b): %w", text, err)
	}
	return s, nil
}

// LeftOutChanged tells when [Index.LeftOut] has something else to say.
func (x *Index) LeftOutChanged() <-chan struct{} { return x.optOut.changed }

// LeftOut returns the pods that are not to be measured, by node: their UIDs as
// their cgroups have them, sorted.
func (x *Index) LeftOut() map[string][]string {
	x.RLock()
	defer x.RUnlock()
	nodes := map[string][]string{}
	for uid, p := range x.pods {
		if p.leftOut != "" && uid == p.uid {
			nodes[p.leftOut] = append(nodes[p.leftOut], cmp.Or(p.static, p.uid))
		}
	}
	for _, uids := range nodes {
		slices.Sort(uids)
	}
	return nodes
}

// measure looks again whether a pod is left out, and where: on a node that the
// API has.
func (x *Index) measure(p *Pod) {
	node := ""
	if !p.over && p.node.gone == forever && x.leavesOut(p) {
		node = p.node.name
	}
	x.setLeftOut(p, node)
}

func (x *Index) setLeftOut(p *Pod, node string) {
	if p.leftOut == node {
		return
	}
	p.leftOut = node
	select {
	case x.optOut.changed <- struct{}{}:
	default: // it is known
	}
}

func (x *Index) leavesOut(p *Pod) bool {
	if p.choice != "" {
		return p.choice != "true" // whoever says "no" or "off" doesn't want it either
	}
	return x.optOut.namespaces[p.namespace]
}

// choiceOf is what the annotation says, "" if there is none.
func choiceOf(o *corev1.Pod) string {
	choice, ok := o.Annotations[annotationMeasure]
	if ok && choice == "" {
		return "false"
	}
	return choice
}

// SetNamespace takes a namespace as the API has it now.
func (x *Index) SetNamespace(o *metav1.PartialObjectMetadata) {
	x.Lock()
	defer x.Unlock()
	out := x.optOut.selector.Matches(labels.Set(o.Labels))
	if x.optOut.namespaces[o.Name] == out {
		return
	}
	x.optOut.namespaces[o.Name] = out
	for _, p := range x.pods {
		if p.namespace == o.Name && p.gone == forever {
			x.measure(p)
		}
	}
}

// NamespaceGone says that a namespace left the API, after its pods.
func (x *Index) NamespaceGone(name string) {
	x.Lock()
	defer x.Unlock()
	delete(x.optOut.namespaces, name)
}
