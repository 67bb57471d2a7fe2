package kube

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weirstream/weir/proto"
	apitest "github.com/weirstream/weir/test/kube"
)

var (
	create   = metav1.CreateOptions{}
	patience = firstSync
)

// follow runs a Cluster with the kubeconfig until the test ends.
func follow(t *testing.T, kubeconfig string) (*Cluster, *lines) {
	t.Helper()
	c, err := New(Config{Kubeconfig: kubeconfig}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.patience = patience
	log := &lines{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, slog.New(slog.NewTextHandler(log, nil))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-c.Ready():
	case <-time.After(time.Minute):
		t.Fatalf("not ready: %s", log)
	}
	return c, log
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, within)
		}
	}
}

// podAt is the UID of the pod that had an address, or "".
func podAt(c *Cluster, ip string, at time.Time) string {
	c.Index.RLock()
	defer c.Index.RUnlock()
	who, _ := c.Index.At(netip.MustParseAddr(ip), at.UnixNano())
	if p, ok := who.(*Pod); ok {
		return p.uid
	}
	return ""
}

// endpoint is what a container is called now, by its id.
func endpoint(c *Cluster, id string) (e proto.Endpoint, known bool) {
	c.Index.RLock()
	defer c.Index.RUnlock()
	found := c.Index.Container(id)
	if found.Pod == nil {
		return e, false
	}
	p, known := found.Endpoint(time.Now().UnixNano())
	return *p, known
}

func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, Annotations: map[string]string{"note": "naïve ☃ 日本語"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "x"}}},
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Pods that the real controllers make of each kind of workload are named after
// what people call it.
func TestWorkloadsOfControllers(t *testing.T) {
	api := shared.API(t)
	c, _ := follow(t, api.Kubeconfig)
	ctx := t.Context()
	ns := must(api.Namespace(ctx, "workloads"))(t)
	if err := api.Node(ctx, "n1", "zone-a", []string{"192.0.2.1", "2001:db8::1"}, []string{"10.244.1.0/24"}); err != nil {
		t.Fatal(err)
	}
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: ns} }
	job := batchv1.JobSpec{Template: template("job")}
	job.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	apps, batch := api.Client.AppsV1(), api.Client.BatchV1()
	must(apps.Deployments(ns).Create(ctx, &appsv1.Deployment{ObjectMeta: meta("cart.v2"), Spec: appsv1.DeploymentSpec{Selector: selector("cart"), Template: template("cart")}}, create))(t)
	must(apps.StatefulSets(ns).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta("db"), Spec: appsv1.StatefulSetSpec{Selector: selector("db"), Template: template("db")}}, create))(t)
	must(apps.DaemonSets(ns).Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta("logs"), Spec: appsv1.DaemonSetSpec{Selector: selector("logs"), Template: template("logs")}}, create))(t)
	must(apps.ReplicaSets(ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta("bare"), Spec: appsv1.ReplicaSetSpec{Selector: selector("bare"), Template: template("bare")}}, create))(t)
	must(batch.Jobs(ns).Create(ctx, &batchv1.Job{ObjectMeta: meta("once"), Spec: job}, create))(t)
	suspended := true
	nightly := must(batch.CronJobs(ns).Create(ctx, &batchv1.CronJob{ObjectMeta: meta("nightly"), Spec: batchv1.CronJobSpec{
		Schedule: "0 3 * * *", Suspend: &suspended, JobTemplate: batchv1.JobTemplateSpec{Spec: job},
	}}, create))(t)
	now := &batchv1.Job{ObjectMeta: meta("nightly-now"), Spec: job} // as kubectl create job --from does
	now.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(nightly, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	must(batch.Jobs(ns).Create(ctx, now, create))(t)
	long := strings.Repeat("long-name.", 25) + "pod" // 253 characters
	for _, name := range []string{"bare-pod", long} {
		must(api.Client.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{ObjectMeta: meta(name), Spec: template("").Spec}, create))(t)
	}
	mirror := &corev1.Pod{ObjectMeta: meta("static-web-n1"), Spec: template("").Spec}
	mirror.Annotations = map[string]string{annotationMirror: "x", annotationHash: "fedcba9876543210fedcba9876543210"}
	mirror.Spec.NodeName, mirror.Spec.HostNetwork = "n1", true
	must(api.Client.CoreV1().Pods(ns).Create(ctx, mirror, create))(t)

	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pods := must(api.Pods(within, ns, 9, func(*corev1.Pod) bool { return true }))(t)
	want := map[string]int{
		"Deployment/cart.v2": 1, "StatefulSet/db": 1, "DaemonSet/logs": 1, "ReplicaSet/bare": 1, "Job/once": 1, "CronJob/nightly": 1,
		"Pod/bare-pod": 1, "Pod/" + long: 1, "Pod/static-web": 1,
	}
	for i := range pods {
		p := must(api.RunPod(ctx, &pods[i], "n1", fmt.Sprintf("10.244.1.%d", i+10), fmt.Sprintf("fd00:244::%d", i+10)))(t)
		_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
		var e proto.Endpoint
		eventually(t, 10*time.Second, p.Name+" is known", func() (known bool) {
			e, known = endpoint(c, id)
			return known
		})
		want[e.Kind+"/"+e.Workload]--
		if e.Namespace != ns || e.Pod != p.Name || e.Node != "n1" || e.Zone != "zone-a" || e.Container != "main" {
			t.Errorf("%s: %+v", p.Name, e)
		}
		for _, ip := range p.Status.PodIPs {
			who := string(p.UID)
			if p.Spec.HostNetwork {
				who = ""
			}
			if got := podAt(c, ip.IP, time.Now()); got != who {
				t.Errorf("%s has %s, not %q", p.Name, ip.IP, got)
			}
		}
	}
	for name, missing := range want {
		if missing != 0 {
			t.Errorf("%s: %d missing", name, missing)
		}
	}
	c.Index.RLock()
	defer c.Index.RUnlock()
	if p := c.Index.Pod("fedcba9876543210fedcba9876543210"); p == nil || p.name != "static-web-n1" {
		t.Error("the static pod is not found by the UID of its cgroup")
	}
	for _, ip := range []string{"192.0.2.1", "2001:db8::1"} {
		if who, _ := c.Index.At(netip.MustParseAddr(ip), time.Now().UnixNano()); who == nil || who.(*Node).name != "n1" {
			t.Errorf("%s is %v", ip, who)
		}
	}
}

// Services name pods by the endpoint slices that the real controller makes.
func TestServicesOfControllers(t *testing.T) {
	api := shared.API(t)
	c, _ := follow(t, api.Kubeconfig)
	ctx := t.Context()
	ns := must(api.Namespace(ctx, "services"))(t)
	dual := corev1.IPFamilyPolicyRequireDualStack
	svc := must(api.Client.CoreV1().Services(ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "cart"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "cart"}, Ports: []corev1.ServicePort{{Port: 80}}, IPFamilyPolicy: &dual},
	}, create))(t)
	replicas := int32(2)
	must(api.Client.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "cart-v1"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}, Template: template("cart"),
	}}, create))(t)
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pods := must(api.Pods(within, ns, 2, func(*corev1.Pod) bool { return true }))(t)
	for i := range pods {
		p := must(api.RunPod(ctx, &pods[i], "n1", fmt.Sprintf("10.244.2.%d", i+1), fmt.Sprintf("fd00:245::%d", i+1)))(t)
		_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
		eventually(t, 15*time.Second, p.Name+" is behind the service", func() bool {
			e, known := endpoint(c, id)
			return known && e.Service == "cart" && e.Workload == "cart-v1"
		})
	}
	for _, ip := range svc.Spec.ClusterIPs {
		eventually(t, 10*time.Second, ip+" is the service's", func() bool {
			c.Index.RLock()
			defer c.Index.RUnlock()
			who, _ := c.Index.At(netip.MustParseAddr(ip), time.Now().UnixNano())
			s, ok := who.(*Service)
			return ok && s.Name() == "cart" && s.Endpoint().Workload == "cart-v1" && s.Endpoint().Kind == "Deployment"
		})
	}
}

// An address goes from one pod to another at once, and the first one's deletion
// is seen late.
func TestReuseOfAnAddress(t *testing.T) {
	api := shared.API(t)
	c, _ := follow(t, api.Kubeconfig)
	ctx := t.Context()
	ns := must(api.Namespace(ctx, "reuse"))(t)
	pod := func(name string) *corev1.Pod {
		return must(api.Client.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template("").Spec}, create))(t)
	}
	const ip = "10.244.3.1"
	a, b := pod("a"), pod("b")
	a = must(api.RunPod(ctx, a, "n1", ip))(t)
	eventually(t, 10*time.Second, "a has the address", func() bool { return podAt(c, ip, time.Now()) == string(a.UID) })
	early := time.Now()
	eventually(t, 10*time.Second, "a second has passed", func() bool { return time.Since(early) > 2*time.Second }) // the API's times are of seconds
	must(api.EndPod(ctx, a))(t)
	b = must(api.RunPod(ctx, b, "n1", ip))(t)
	eventually(t, 10*time.Second, "b has the address", func() bool { return podAt(c, ip, time.Now()) == string(b.UID) })
	if got := podAt(c, ip, early); got != string(a.UID) {
		t.Errorf("before, the address was %q's", got)
	}
	if err := api.DeletePod(ctx, a); err != nil { // seen now
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "a is gone", func() bool {
		c.Index.RLock()
		defer c.Index.RUnlock()
		return c.Index.Pod(string(a.UID)).gone != forever
	})
	if podAt(c, ip, time.Now()) != string(b.UID) || podAt(c, ip, early) != string(a.UID) {
		t.Error("the late deletion changed whose the address was")
	}
	// Deleted without a word, and made anew under the same name with the same address.
	if err := api.DeletePod(ctx, b); err != nil {
		t.Fatal(err)
	}
	again := must(api.RunPod(ctx, pod("b"), "n1", ip))(t)
	eventually(t, 10*time.Second, "the new b has the address", func() bool { return podAt(c, ip, time.Now()) == string(again.UID) })
}

// While the API is away, what was known stays so and is called stale; when it is
// back, what has changed meanwhile is learned.
func TestAPIAway(t *testing.T) {
	api := apitest.Start(t)
	ctx := t.Context()
	c, log := follow(t, api.Kubeconfig)
	if c.Stale() {
		t.Error("stale from the start")
	}
	pod := func(name, ip string) *corev1.Pod {
		p := must(api.Client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template("").Spec}, create))(t)
		return must(api.RunPod(ctx, p, "n1", ip))(t)
	}
	a, b := pod("a", "10.0.0.1"), pod("b", "10.0.0.2")
	eventually(t, 10*time.Second, "b is known", func() bool { return podAt(c, "10.0.0.2", time.Now()) == string(b.UID) })
	api.StopServer()
	eventually(t, 30*time.Second, "stale", c.Stale)
	if got := podAt(c, "10.0.0.1", time.Now()); got != string(a.UID) {
		t.Errorf("while the API is away, a's address is %q's", got)
	}
	if text := log.String(); strings.Count(text, "kubernetes_stale") != 1 || !strings.Contains(text, "pods") {
		t.Errorf("log: %s", text)
	}
	late := startAway(t, api)
	if err := api.StartServer(); err != nil {
		t.Fatal(err)
	}
	// These come before the watches are back.
	if err := api.DeletePod(ctx, a); err != nil {
		t.Fatal(err)
	}
	d := pod("d", "10.0.0.1")
	eventually(t, 30*time.Second, "fresh", func() bool { return !c.Stale() })
	eventually(t, 10*time.Second, "d has a's address", func() bool { return podAt(c, "10.0.0.1", time.Now()) == string(d.UID) })
	if podAt(c, "10.0.0.2", time.Now()) != string(b.UID) {
		t.Error("b has lost its address")
	}
	if text := log.String(); strings.Count(text, "kubernetes_fresh") != 1 {
		t.Errorf("log: %s", text)
	}
	eventually(t, 30*time.Second, "what started without the API is fresh", func() bool { return !late.Stale() })
	eventually(t, 10*time.Second, "what started without the API knows d", func() bool {
		return podAt(late, "10.0.0.1", time.Now()) == string(d.UID)
	})
}

// startAway starts while the API is away: it is waited for, but not for ever.
func startAway(t *testing.T, api *apitest.API) *Cluster {
	t.Helper()
	patience = 500 * time.Millisecond
	defer func() { patience = firstSync }()
	c, log := follow(t, api.Kubeconfig)
	if text := log.String(); !c.Stale() || !strings.Contains(text, "kubernetes_away") || !strings.Contains(text, "refused") {
		t.Errorf("stale %v, log: %s", c.Stale(), text)
	}
	return c
}

// What may not be read is named, with what to add to the role.
func TestForbidden(t *testing.T) {
	api := shared.API(t)
	ctx := t.Context()
	rbac := api.Client.RbacV1()
	must(rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "half"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "services", "nodes"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"get", "list"}},
	}}, create))(t)
	must(rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "half"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "half"},
		Subjects: []rbacv1.Subject{{Kind: "User", Name: "halfway"}},
	}, create))(t)
	user := must(api.User("halfway"))(t)
	eventually(t, 20*time.Second, "the role is in force", func() bool {
		_, err := must(kubernetes.NewForConfig(must(api.Config(user))(t)))(t).CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err == nil
	})
	c, err := New(Config{Kubeconfig: user}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(ctx, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("runs")
	}
	for _, want := range []string{
		`add to the ClusterRole {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: [get, list, watch]}`,
		`may not watch replicasets: add to the ClusterRole {apiGroups: ["apps"], resources: ["replicasets"], verbs: [get, list, watch]}`,
		"halfway", api.URL, user,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), `"pods"`) {
		t.Errorf("what is allowed is named: %v", err)
	}
}

// A kubeconfig that won't do is said in a sentence.
func TestWrongKubeconfig(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}],
users: [{name: u, user: {}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Kubeconfig: "/nowhere/config"}, "read kubeconfig: stat /nowhere/config: no such file"},
		{Config{Kubeconfig: file("")}, "invalid configuration"},
		{Config{Kubeconfig: file("[nonsense")}, "yaml"},
		{Config{Kubeconfig: file(good), Context: "other"}, `context "other" does not exist`},
		{Config{}, "give --kubeconfig FILE"},
	} {
		_, err := New(tt.config, prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
	if _, err := New(Config{Kubeconfig: file(good)}, prometheus.NewRegistry()); err != nil {
		t.Error(err)
	}

	api := shared.API(t)
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	theirs := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})
	lines := strings.Split(string(must(os.ReadFile(api.Kubeconfig))(t)), "\n")
	for i, line := range lines {
		if before, _, ok := strings.Cut(line, "certificate-authority-data: "); ok {
			lines[i] = before + "certificate-authority-data: " + base64.StdEncoding.EncodeToString(theirs)
		}
	}
	c, err := New(Config{Kubeconfig: file(strings.Join(lines, "\n"))}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), slog.New(slog.DiscardHandler)); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "certificates don't match") {
		t.Errorf("another authority: %v", err)
	}
}
