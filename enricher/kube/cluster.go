package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// firstSync is how long to wait for the API at the start. Raw events are
	// kept for 2 h: waiting costs only delay.
	firstSync = 30 * time.Second
	// maxBackoff between tries while the API is away. It has to come back to
	// all of a cluster's clients.
	maxBackoff = 5 * time.Second

	checkEvery = time.Second
	sweepEvery = time.Minute
)

// Cluster keeps an Index in step with the API.
type Cluster struct {
	Index *Index

	config    Config
	host      string
	patience  time.Duration // with the first lists
	resources []*resource
	ready     chan struct{}
	stale     atomic.Bool
}

// resource is one that is watched.
type resource struct {
	health    *health
	reflector *cache.Reflector
}

// New makes a Cluster, which [Cluster.Run] fills. It asks the API nothing yet.
func New(config Config, registry prometheus.Registerer) (*Cluster, error) {
	selector, err := parseOptOut(config.OptOut)
	if err != nil {
		return nil, err
	}
	rc, err := config.restConfig()
	if err != nil {
		return nil, err
	}
	rc.UserAgent = "weir-enricher"
	rc.WarningHandlerWithContext = rest.NoWarnings{}
	c := &Cluster{Index: NewIndex(time.Now), config: config, host: rc.Host, patience: firstSync, ready: make(chan struct{})}
	c.Index.optOut.selector = selector
	c.stale.Store(true)
	if err := c.watch(rc); err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API with %s: %w", config.source(), err)
	}
	c.register(registry)
	return c, nil
}

func (c *Cluster) watch(rc *rest.Config) error {
	shared, err := rest.HTTPClientFor(rc) // one connection for everything
	if err != nil {
		return err
	}
	core, err := client(rc, shared, corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	discovery, err := client(rc, shared, discoveryv1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfigAndClient(metadata.ConfigFor(rc), shared)
	if err != nil {
		return err
	}
	x := c.Index
	add(c, "", "nodes", objects(core, "nodes"), trimNode, x.SetNode,
		func(id identity, heard int64) { x.NodeGone(id.key, heard) })
	add(c, "apps", "replicasets", metadataOf(meta, "apps", "replicasets"), trimOwner, x.SetOwner,
		func(id identity, _ int64) { x.OwnerGone(id.uid) })
	add(c, "batch", "jobs", metadataOf(meta, "batch", "jobs"), trimOwner, x.SetOwner,
		func(id identity, _ int64) { x.OwnerGone(id.uid) })
	add(c, "", "services", objects(core, "services"), trimService, x.SetService,
		func(id identity, heard int64) { x.ServiceGone(id.key, heard) })
	add(c, "discovery.k8s.io", "endpointslices", objects(discovery, "endpointslices"), trimSlice, x.SetSlice,
		func(id identity, _ int64) { x.SliceGone(id.key) })
	if c.config.OptOut != "" {
		add(c, "", "namespaces", metadataOf(meta, "", "namespaces"), trimNamespace, x.SetNamespace,
			func(id identity, _ int64) { x.NamespaceGone(id.key) })
	}
	add(c, "", "pods", objects(core, "pods"), trimPod, x.SetPod,
		func(id identity, heard int64) { x.PodGone(id.uid, heard) })
	return nil
}

func objects(c rest.Interface, name string) *cache.ListWatch {
	return cache.NewListWatchFromClient(c, name, metav1.NamespaceAll, fields.Everything())
}

func metadataOf(c metadata.Interface, group, name string) *cache.ListWatch {
	r := c.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: name})
	return &cache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return r.Watch(ctx, o) },
	}
}

// add watches a resource.
func add[T interface {
	*P
	metav1.Object
	runtime.Object
}, P any](c *Cluster, group, name string, lw *cache.ListWatch, trim func(T) T, set func(T), gone func(identity, int64)) {
	h := &health{resource: name, group: group, now: time.Now, heard: time.Now()}
	s := &store[T]{health: h, trim: trim, set: set, gone: gone, live: map[string]identity{}}
	list, open := lw.ListWithContextFunc, lw.WatchFuncWithContext
	heard := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := list(ctx, o)
			if err != nil {
				h.fail("list", err)
			}
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := open(ctx, o)
			if err != nil {
				h.fail("watch", err)
			} else {
				h.hear()
			}
			return w, err
		},
	}
	r := cache.NewReflectorWithOptions(heard, T(new(P)), s, cache.ReflectorOptions{
		Name:    name,
		Backoff: &wait.Backoff{Duration: maxBackoff / 10, Cap: maxBackoff, Steps: 10, Factor: 2, Jitter: 0.5},
	})
	c.resources = append(c.resources, &resource{health: h, reflector: r})
}

// Run keeps the index in step until ctx ends. It fails only if, at the start,
// the API refuses what it is asked: later, that may be a mistake that is about
// to be mended.
func (c *Cluster) Run(ctx context.Context, log *slog.Logger) error {
	log.Info("kubernetes_connecting", "api", c.host, "from", c.config.source())
	g, ctx := errgroup.WithContext(ctx)
	quietly := klog.NewContext(ctx, logr.Discard()) // errors are in health
	for _, r := range c.resources {
		g.Go(func() error {
			r.reflector.RunWithContext(quietly)
			return nil
		})
	}
	g.Go(func() error {
		if err := c.sync(ctx, log); err != nil || ctx.Err() != nil {
			return err
		}
		return c.check(ctx, log)
	})
	return g.Wait()
}

// sync waits for the first lists.
func (c *Cluster) sync(ctx context.Context, log *slog.Logger) error {
	deadline := time.Now().Add(c.patience)
	tick := time.NewTicker(checkEvery / 20)
	defer tick.Stop()
	for {
		waits := 0
		var refused, failed error
		for _, r := range c.resources {
			switch synced, _, _, err := r.health.state(); {
			case errors.Is(err, errRefused):
				refused = errors.Join(refused, err)
			case !synced:
				waits++
				failed = errors.Join(failed, err)
			}
		}
		switch {
		case waits > 0 && time.Now().Before(deadline):
		case refused != nil:
			return fmt.Errorf("read from %s with %s: %w", c.host, c.config.source(), refused)
		case waits > 0:
			log.Warn("kubernetes_away", "api", c.host, "waited", c.patience.String(), "error", failed,
				"effect", "events are named with what is known and marked stale until it is back")
			close(c.ready)
			return nil
		default:
			c.Index.Filled()
			c.stale.Store(false)
			log.Info("kubernetes_synced", "api", c.host, "pods", c.Index.Len())
			close(c.ready)
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// check looks after staleness, and sweeps.
func (c *Cluster) check(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	was := c.stale.Load()
	for swept := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		synced, old := true, []string{}
		var why error
		for _, r := range c.resources {
			ok, silent, stale, err := r.health.state()
			synced = synced && ok
			if !stale {
				continue
			}
			old = append(old, r.health.resource)
			if err == nil {
				err = fmt.Errorf("watch %s: nothing is heard", r.health.resource)
			}
			if why == nil { // one will do: they mostly have the same reason
				why = fmt.Errorf("%w (for %s)", err, silent.Round(time.Second))
			}
		}
		stale := len(old) > 0
		if synced {
			c.Index.Filled()
		}
		if stale && !was {
			log.Error("kubernetes_stale", "api", c.host, "resources", old, "error", why)
		} else if was && !stale {
			log.Info("kubernetes_fresh", "api", c.host, "pods", c.Index.Len())
		}
		was = stale
		c.stale.Store(stale)
		if time.Since(swept) > sweepEvery {
			swept = time.Now()
			c.Index.sweep()
		}
	}
}

// Ready is closed once everything was listed, or that has taken too long.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Stale tells whether what is known may be old.
func (c *Cluster) Stale() bool { return c.stale.Load() }

func (c *Cluster) register(r prometheus.Registerer) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "weir", Subsystem: "enricher", Name: name, Help: help, ConstLabels: labels,
		}, value))
	}
	for _, res := range c.resources {
		gauge("kubernetes_heard_seconds", "Time since the Kubernetes API was last heard of, by resource; on a quiet cluster up to a minute or so.",
			prometheus.Labels{"resource": res.health.resource}, func() float64 {
				_, silent, _, _ := res.health.state()
				return silent.Seconds()
			})
	}
	gauge("kubernetes_stale", "1 while names may be old, because the Kubernetes API is away or behind.", nil, func() float64 {
		if c.Stale() {
			return 1
		}
		return 0
	})
	gauge("kubernetes_left_out_pods", "Pods that are not to be measured: their annotation or their namespace's labels say so.", nil, func() float64 {
		n := 0
		for _, uids := range c.Index.LeftOut() {
			n += len(uids)
		}
		return float64(n)
	})
	gauge("kubernetes_pods", "Pods known, those that ended within the last two hours among them.", nil, func() float64 {
		return float64(c.Index.Len())
	})
}
