package export

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"

	"github.com/weirstream/weir/internal/query"
	wire "github.com/weirstream/weir/proto"
)

// resource is who a data point or a span is of.
type resource struct {
	cluster, namespace, workload, kind string
	pod, node, container               string // of spans only
}

// kinds of workloads that aren't of Kubernetes: what Kubernetes has may be of
// any name, as custom resources are.
var hostKinds = []string{"", "unit", "container", "process", "address", "domain"}

// kinds that OpenTelemetry has an attribute for, k8s.<kind>.name.
var kubeKinds = []string{"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "Pod", "Node"}

func (r *resource) proto() *resourcepb.Resource {
	var a attributes
	a.text("service.name", r.workload)
	a.text("service.namespace", r.namespace)
	a.text("weir.workload.kind", r.kind)
	if slices.Contains(hostKinds, r.kind) {
		a.text("host.name", r.node)
		if r.kind == "container" {
			a.text("container.name", r.workload)
		}
		return &resourcepb.Resource{Attributes: a}
	}
	a.text("k8s.cluster.name", r.cluster)
	a.text("k8s.namespace.name", r.namespace)
	if slices.Contains(kubeKinds, r.kind) {
		a.text("k8s."+strings.ToLower(r.kind)+".name", r.workload)
	}
	a.text("k8s.pod.name", r.pod)
	a.text("k8s.node.name", r.node)
	a.text("k8s.container.name", r.container)
	return &resourcepb.Resource{Attributes: a}
}

// scope names the program that measured.
var scope = &commonpb.InstrumentationScope{Name: "github.com/weirstream/weir"}

// attributes leave out what is empty, and what is there already.
type attributes []*commonpb.KeyValue

func (a *attributes) add(key string, v *commonpb.AnyValue) {
	if !slices.ContainsFunc(*a, func(kv *commonpb.KeyValue) bool { return kv.Key == key }) {
		*a = append(*a, &commonpb.KeyValue{Key: key, Value: v})
	}
}

func (a *attributes) text(key, value string) {
	if value != "" {
		a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "�")}})
	}
}

func (a *attributes) number(key string, value int64) {
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}})
}

func (a *attributes) ms(key string, ns int64) {
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: float64(ns) / 1e6}})
}

// scheme is that of a server's requests, which OpenTelemetry requires. Of https
// nothing is seen.
func (a *attributes) scheme(protocol string) {
	if protocol == "http" {
		a.text("url.scheme", protocol)
	}
}

// names are OpenTelemetry's for the labels of a key; what isn't here is the
// resource's.
var names = map[string]string{
	"error_type":                wire.AttrErrorType,
	"http_request_method":       wire.AttrMethod,
	"http_response_status_code": wire.AttrStatus,
	"http_route":                wire.AttrRoute,
	"peer_namespace":            "weir.peer.namespace",
	"peer_workload":             "weir.peer.workload",
	"peer_workload_kind":        "weir.peer.kind",
}

// attributesOf are those of a data point.
func attributesOf(k *query.Key) (a attributes) {
	for _, l := range k.Labels() {
		name, ok := names[l.Name]
		if n, err := strconv.Atoi(l.Value); name == wire.AttrStatus && err == nil {
			a.number(name, int64(n))
		} else if ok {
			a.text(name, l.Value)
		}
	}
	if k.Side == wire.SideServer {
		a.scheme(k.Protocol)
	}
	if k.Side == wire.SideClient && (k.PeerKind == "address" || k.PeerKind == "domain") {
		a.text("server.address", k.PeerWorkload)
	}
	return a
}

// id is the bytes of a trace or span id, nil if it isn't one.
func id(s string, size int) []byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != size {
		return nil
	}
	return b
}
