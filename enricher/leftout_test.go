package enricher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	apitest "github.com/weirstream/weir/test/kube"
)

// county is a cluster's API, and enrichers that write what is left out.
type county struct {
	*testing.T
	api  *apitest.API
	conn *bus.Conn
}

// TestLeftOutOfTheAPI: two enrichers write what annotations and labels say,
// through every change of them, one after the other, and none but what is so.
func TestLeftOutOfTheAPI(t *testing.T) {
	c := &county{T: t, api: apitest.Start(t)}
	server := bustest.Start(t)
	c.conn = bustest.Connect(t, server.URL)
	bustest.Provision(t, c.conn, 1, 1)
	ctx := t.Context()
	for _, node := range []string{"n1", "n2.example"} {
		if err := c.api.Node(ctx, node, "", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	shop, secret := c.namespace("shop"), c.namespace("secret")
	a := c.pod(shop, "a", "n1", "")
	b := c.pod(shop, "b", "n1", "false")
	s := c.pod(secret, "s", "n2.example", "")
	kept := c.pod(secret, "kept", "n2.example", "true")

	stopFirst := c.enrich(ctx, "first")
	c.expect("n1", b)
	c.expect("n2.example")
	stopSecond := c.enrich(ctx, "second")

	c.label(secret, `{"metadata":{"labels":{"measure":"no"}}}`)
	c.expect("n2.example", s)
	c.annotate(a, `"no, thanks"`)
	c.expect("n1", a, b)
	c.annotate(b, `null`)
	c.expect("n1", a)
	c.annotate(kept, `null`)
	c.expect("n2.example", s, kept)

	stopFirst() // the second goes on with what it finds
	late := c.pod(secret, "late", "n1", "")
	c.expect("n1", a, late)
	if _, err := c.api.EndPod(ctx, late); err != nil { // a job's, say
		t.Fatal(err)
	}
	c.expect("n1", a)
	c.label(secret, `{"metadata":{"labels":{"measure":"yes"}}}`)
	c.expect("n2.example")
	c.annotate(kept, `"false"`)
	c.expect("n2.example", kept)
	if err := c.api.Client.CoreV1().Nodes().Delete(ctx, "n2.example", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.expect("n2.example")
	stopSecond()

	// What nobody saw change is put right by the next.
	table, err := c.conn.OpenTable(ctx, proto.BucketLeftOut)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Put(ctx, "gone", []byte("a node that was there once")); err != nil {
		t.Fatal(err)
	}
	if err := c.api.DeletePod(ctx, a); err != nil {
		t.Fatal(err)
	}
	b = c.annotate(b, `"0"`)
	stop := c.enrich(ctx, "third")
	defer stop()
	c.expect("n1", b)
	bustest.Eventually(t, func() bool {
		table, err := c.conn.OpenTable(ctx, proto.BucketLeftOut)
		return err == nil && slices.Equal(table.Keys(), []string{"n1"})
	}, "the key of a node that is no more stays")
}

// enrich runs an enricher until stop is called.
func (c *county) enrich(ctx context.Context, holder string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		return Run(ctx, Config{Bus: c.conn, Holder: holder, Kubernetes: &kube.Config{
			Kubeconfig: c.api.Kubeconfig, OptOut: "measure in (no,never)",
		}}, bustest.Logger(c.T))
	})
	return func() {
		c.Helper()
		cancel()
		if err := g.Wait(); err != nil {
			c.Error(err)
		}
	}
}

func (c *county) namespace(name string) string {
	c.Helper()
	name, err := c.api.Namespace(c.Context(), name)
	if err != nil {
		c.Fatal(err)
	}
	return name
}

func (c *county) pod(namespace, name, node, measure string) *corev1.Pod {
	c.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "x"}}},
	}
	if measure != "" {
		p.Annotations = map[string]string{"weir.io/measure": measure}
	}
	p, err := c.api.Client.CoreV1().Pods(namespace).Create(c.Context(), p, metav1.CreateOptions{})
	if err == nil {
		p, err = c.api.RunPod(c.Context(), p, node, "10.244.9.9")
	}
	if err != nil {
		c.Fatal(err)
	}
	return p
}

func (c *county) annotate(p *corev1.Pod, value string) *corev1.Pod {
	c.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"weir.io/measure":%s}}}`, value)
	p, err := c.api.Client.CoreV1().Pods(p.Namespace).Patch(c.Context(), p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return p
}

func (c *county) label(namespace, patch string) {
	c.Helper()
	_, err := c.api.Client.CoreV1().Namespaces().Patch(c.Context(), namespace, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		c.Fatal(err)
	}
}

// expect waits until the bucket names exactly these pods of the node.
func (c *county) expect(node string, pods ...*corev1.Pod) {
	c.Helper()
	var want []string
	for _, p := range pods {
		want = append(want, string(p.UID))
	}
	slices.Sort(want)
	var got *proto.LeftOut
	var err error
	bustest.Eventually(c.T, func() bool {
		var data []byte
		if data, err = c.conn.Value(c.Context(), proto.BucketLeftOut, proto.LeftOutKey(node)); err != nil {
			return false
		}
		if len(data) == 0 {
			return len(want) == 0
		}
		if got, err = proto.DecodeLeftOut(data); err != nil {
			return false
		}
		return got.Node == node && slices.Equal(got.Pods, want)
	}, "%s leaves out not just "+strings.Join(want, ", ")+": %v", node, &err)
}
