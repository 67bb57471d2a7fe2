package export

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

func show(a attributes) (out string) {
	for _, kv := range a {
		v := fmt.Sprint(kv.Value.GetStringValue())
		if v == "" {
			v = fmt.Sprint(kv.Value.GetIntValue())
		}
		out += kv.Key + "=" + v + " "
	}
	return out
}

// Names are OpenTelemetry's, where it has one.
func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		of   resource
		want string
	}{
		{resource{cluster: "eu", namespace: "shop", workload: "cart", kind: "Deployment", pod: "cart-1", node: "n1", container: "app"},
			"service.name=cart service.namespace=shop weir.workload.kind=Deployment k8s.cluster.name=eu k8s.namespace.name=shop " +
				"k8s.deployment.name=cart k8s.pod.name=cart-1 k8s.node.name=n1 k8s.container.name=app "},
		{resource{namespace: "shop", workload: "db", kind: "Cluster"}, // a custom kind
			"service.name=db service.namespace=shop weir.workload.kind=Cluster k8s.namespace.name=shop "},
		{resource{namespace: "shop", workload: "p", kind: "Pod", pod: "p"},
			"service.name=p service.namespace=shop weir.workload.kind=Pod k8s.namespace.name=shop k8s.pod.name=p "},
		{resource{cluster: "eu", namespace: "host", workload: "nginx", kind: "unit", node: "n1"},
			"service.name=nginx service.namespace=host weir.workload.kind=unit host.name=n1 "},
		{resource{namespace: "host", workload: "web", kind: "container"},
			"service.name=web service.namespace=host weir.workload.kind=container container.name=web "},
	} {
		if got := show(c.of.proto().Attributes); got != c.want {
			t.Errorf("%+v is\n%s, want\n%s", c.of, got, c.want)
		}
	}
	for _, c := range []struct {
		of   query.Key
		want string
	}{
		{query.Key{Side: proto.SideClient, Operation: "GET /{id}", Status: "404", ErrorType: "404", PeerNamespace: "external", PeerWorkload: "api.example", PeerKind: "domain"},
			"error.type=404 http.request.method=GET http.response.status_code=404 http.route=/{id} " +
				"weir.peer.namespace=external weir.peer.workload=api.example weir.peer.kind=domain server.address=api.example "},
		{query.Key{Protocol: "http", Side: proto.SideServer, Operation: "GET", Status: "no_response", ErrorType: "no_response", PeerWorkload: "x", PeerKind: "address"},
			"error.type=no_response http.request.method=GET weir.peer.workload=x weir.peer.kind=address url.scheme=http "},
	} {
		if got := show(attributesOf(&c.of)); got != c.want {
			t.Errorf("%+v has\n%s, want\n%s", c.of, got, c.want)
		}
	}
}

// A span is called as OpenTelemetry says, also if its method is none that it knows.
func TestSpanNames(t *testing.T) {
	for want, e := range map[string]proto.Event{
		"GET /users/{id}": {Method: "GET", Route: "/users/{id}"},
		"GET":             {Method: "GET"},
		"HTTP /users":     {Method: "_OTHER", Route: "/users"},
		"HTTP":            {Method: "_OTHER"},
		"GET /�":          {Method: "GET", Route: "/\xff"},
	} {
		if s := spanOf(&e); s.Name != want || e.Method == "_OTHER" && !strings.Contains(show(s.Attributes), "http.request.method=_OTHER ") {
			t.Errorf("the span of %+v is %q with %s, want %q", e, s.Name, show(s.Attributes), want)
		}
	}
}
