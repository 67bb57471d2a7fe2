package kube

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestParseOptOut(t *testing.T) {
	for _, good := range []string{"", "env=dev", "env in (dev,test),!keep", "kubernetes.io/metadata.name=secret"} {
		if _, err := parseOptOut(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if _, err := New(Config{OptOut: "env=(dev"}, nil); err == nil {
		t.Error("a wrong selector is accepted")
	}
	if s, _ := parseOptOut(""); s.Matches(nil) {
		t.Error("no selector selects a namespace")
	}
}

// The list follows a pod through its life, and tells only of changes.
func TestLeftOutThroughAPodsLife(t *testing.T) {
	now := time.Unix(1_760_000_000, 0)
	x := NewIndex(func() time.Time { return now })
	var err error
	if x.optOut.selector, err = parseOptOut("env=dev"); err != nil {
		t.Fatal(err)
	}
	namespace := func(env string) {
		x.SetNamespace(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "lab", Labels: map[string]string{"env": env}}})
	}
	pod := func(name, node string, annotations map[string]string, phase corev1.PodPhase) {
		x.SetPod(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: name, UID: types.UID("uid-" + name), Annotations: annotations},
			Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
		})
	}
	node := func(name string) { x.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}) }
	no, yes, empty := map[string]string{annotationMeasure: "no"}, map[string]string{annotationMeasure: "true"}, map[string]string{annotationMeasure: ""}
	static := map[string]string{annotationMeasure: "false", annotationMirror: "x", annotationHash: "hash"}
	for _, step := range []struct {
		name    string
		do      func()
		changed bool
		want    map[string][]string
	}{
		{"nodes", func() { node("n1"); node("n2") }, false, nil},
		{"a pod", func() { pod("a", "", nil, corev1.PodPending) }, false, nil},
		{"opts out before it has a node", func() { pod("a", "", no, corev1.PodPending) }, false, nil},
		{"is given one", func() { pod("a", "n1", no, corev1.PodPending) }, true, map[string][]string{"n1": {"uid-a"}}},
		{"runs", func() { pod("a", "n1", no, corev1.PodRunning) }, false, map[string][]string{"n1": {"uid-a"}}},
		{"says nothing", func() { pod("a", "n1", empty, corev1.PodRunning) }, false, map[string][]string{"n1": {"uid-a"}}},
		{"a static pod", func() { pod("s", "n2", static, corev1.PodRunning) }, true, map[string][]string{"n1": {"uid-a"}, "n2": {"hash"}}},
		{"opts in", func() { pod("a", "n1", yes, corev1.PodRunning) }, true, map[string][]string{"n2": {"hash"}}},
		{"its namespace is left out", func() { namespace("dev") }, false, map[string][]string{"n2": {"hash"}}},
		{"it says no more", func() { pod("a", "n1", nil, corev1.PodRunning) }, true, map[string][]string{"n1": {"uid-a"}, "n2": {"hash"}}},
		{"its namespace is another's", func() { namespace("prod") }, true, map[string][]string{"n2": {"hash"}}},
		{"and back", func() { namespace("dev") }, true, map[string][]string{"n1": {"uid-a"}, "n2": {"hash"}}},
		{"deleted by force", func() { x.PodGone("uid-a", now.UnixNano()) }, false, map[string][]string{"n1": {"uid-a"}, "n2": {"hash"}}},
		{"the namespace goes too", func() { x.NamespaceGone("lab") }, false, map[string][]string{"n1": {"uid-a"}, "n2": {"hash"}}},
		{"a minute later", func() { now = now.Add(2 * time.Minute); x.sweep() }, true, map[string][]string{"n2": {"hash"}}},
		{"a job", func() { pod("j", "n1", no, corev1.PodRunning) }, true, map[string][]string{"n1": {"uid-j"}, "n2": {"hash"}}},
		{"has done it", func() { pod("j", "n1", no, corev1.PodSucceeded) }, true, map[string][]string{"n2": {"hash"}}},
		{"a node goes", func() { x.NodeGone("n2", now.UnixNano()) }, true, nil},
		{"comes back", func() { node("n2") }, true, map[string][]string{"n2": {"hash"}}},
	} {
		step.do()
		changed := false
		select {
		case <-x.LeftOutChanged():
			changed = true
		default:
		}
		if got := x.LeftOut(); changed != step.changed || !maps.EqualFunc(got, step.want, slices.Equal) {
			t.Errorf("%s: changed %v, %v; want %v, %v", step.name, changed, got, step.changed, step.want)
		}
	}
}
