package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirstream/weir/enricher/kube"
	apitest "github.com/weirstream/weir/test/kube"
	"github.com/weirstream/weir/test/rig"
)

const (
	clusterPods = 10_000
	podWriters  = 16
	changes     = 1000 // a second
)

// kubernetes measures an enricher that follows a large cluster.
func kubernetes(t *testing.T, out *table) {
	api := apitest.Start(t)
	ids := make([]string, clusterPods)
	inParallel(t, clusterPods, func(i int) error {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", i), Namespace: "default"},
			Spec:       corev1.PodSpec{NodeName: fmt.Sprint("node-", i/100), Containers: []corev1.Container{{Name: "app", Image: "x"}}},
		}
		p, err := api.Client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		p, err = api.RunPod(t.Context(), p, "", podAddr(i, 0).String())
		if err == nil {
			ids[i] = p.Status.ContainerStatuses[0].ContainerID[len("containerd://"):]
		}
		return err
	})

	c := machine.Idle(t)
	defer c.Stop()
	enricher := c.Services[0]
	enricher.Args = append(enricher.Args, "--kubeconfig", api.Kubeconfig)
	enricher.Start()
	index := follow(t, api)
	rig.Eventually(t, time.Minute, "the enricher knows the pods", func() bool { return index.Len() == clusterPods })

	settled := time.Now().UnixNano() // every pod has its first address

	var peak int64
	var made atomic.Int64
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 5*spell())
	defer cancel()
	var writers sync.WaitGroup
	for w := range podWriters {
		writers.Go(func() { made.Add(change(ctx, t, api, w)) })
	}
	for ctx.Err() == nil {
		peak = max(peak, enricher.RSS())
		time.Sleep(100 * time.Millisecond)
	}
	writers.Wait()
	rate := float64(made.Load()) / time.Since(begun).Seconds()
	lookup := testing.Benchmark(func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			index.RLock()
			if index.Container(ids[i*7919%clusterPods]).Pod == nil {
				b.Fatal("a container is not known")
			}
			if who, _ := index.At(podAddr(i*7919%clusterPods, 0), settled); who == nil {
				b.Fatal("an address is not known")
			}
			index.RUnlock()
		}
	})
	out.atMost(fmt.Sprintf("enricher with 10,000 pods, %.0f changes/s, RSS in MiB", rate), float64(peak)/(1<<20), 300, "%.0f")
	out.atMost("look up both ends of an event among 10,000 pods, ns an end", float64(lookup.NsPerOp())/2, 200, "%.0f")
}

// podAddr is the n-th address of the i-th pod.
func podAddr(i, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n), byte(i >> 8), byte(i)})
}

// follow fills an index as the enricher does, to be looked into.
func follow(t *testing.T, api *apitest.API) *kube.Index {
	c, err := kube.New(kube.Config{Kubeconfig: api.Kubeconfig}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-c.Ready()
	return c.Index
}

// change gives pods of its share another address, each time round another one,
// at its share of the rate, and returns how often.
func change(ctx context.Context, t *testing.T, api *apitest.API, share int) (made int64) {
	tick := time.NewTicker(time.Second * podWriters / changes)
	defer tick.Stop()
	for i := share; ; i += podWriters {
		pod := i % clusterPods
		ip := podAddr(pod, 1+i/clusterPods)
		patch := fmt.Sprintf(`{"status":{"podIP":%q,"podIPs":[{"ip":%q}]}}`, ip, ip)
		_, err := api.Client.CoreV1().Pods("default").Patch(ctx, fmt.Sprint("pod-", pod),
			types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		if ctx.Err() != nil {
			return made
		}
		if err != nil {
			t.Error(err)
			return made
		}
		made++
		select {
		case <-ctx.Done():
			return made
		case <-tick.C:
		}
	}
}

func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range podWriters {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
