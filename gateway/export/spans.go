package export

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	wire "github.com/weirstream/weir/proto"
)

// spans is a request of spans being filled.
type spans struct {
	data      *tracepb.TracesData
	resources map[resource]*tracepb.ScopeSpans
	items     int
	bytes     int
}

func newSpans() *spans {
	return &spans{data: new(tracepb.TracesData), resources: map[resource]*tracepb.ScopeSpans{}}
}

func (b *spans) count() int { return b.items }

func (b *spans) full() bool { return b.items >= maxItems || b.bytes >= maxBytes }

// take is the request and how many spans it has; b is empty after it.
func (b *spans) take() (request proto.Message, items int) {
	request, items = b.data, b.items
	*b = *newSpans()
	return request, items
}

// add adds the span of an exchange that a node saw.
func (b *spans) add(f *wire.Frame, e *wire.Event) {
	local := &e.To
	if e.Side == wire.SideClient {
		local = &e.From
	}
	r := resource{
		cluster: f.Cluster, namespace: local.Namespace, workload: local.Workload, kind: local.Kind,
		pod: local.Pod, node: f.Node, container: local.Container,
	}
	s := b.resources[r]
	if s == nil {
		s = &tracepb.ScopeSpans{Scope: scope}
		of := r.proto()
		b.data.ResourceSpans = append(b.data.ResourceSpans, &tracepb.ResourceSpans{Resource: of, ScopeSpans: []*tracepb.ScopeSpans{s}})
		b.resources[r] = s
		b.bytes += proto.Size(of)
	}
	span := spanOf(e)
	s.Spans = append(s.Spans, span)
	b.items++
	b.bytes += proto.Size(span)
}

// wanted reports whether an exchange is sent: failed and slow ones always, of
// the others a share. Both ends of a call whose trace is known are decided alike.
func (o *OTLP) wanted(e *wire.Event) bool {
	if e.Error != "" || o.Slow > 0 && e.DurationNS() >= int64(o.Slow) {
		return true
	}
	if trace := id(e.TraceID, 16); trace != nil {
		return float64(binary.BigEndian.Uint64(trace[8:])>>8)/(1<<56) < o.Sample // 56 bits that W3C says are random
	}
	return rand.Float64() < o.Sample
}

func spanOf(e *wire.Event) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: id(e.TraceID, 16), ParentSpanId: id(e.SpanID, 8), SpanId: randomID(8),
		Name: spanName(e), Kind: tracepb.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(e.StartNS), EndTimeUnixNano: uint64(e.EndNS),
	}
	if s.TraceId == nil {
		s.TraceId, s.ParentSpanId = randomID(16), nil
	}
	remote := e.Source
	if e.Side == wire.SideClient {
		s.Kind, remote = tracepb.Span_SPAN_KIND_CLIENT, e.Destination
		if e.Peer.IsValid() {
			remote = e.Peer
		}
	}
	if e.Error != "" {
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	}
	s.Attributes = spanAttributes(e, remote)
	return s
}

// spanName is GET /users/{id}; a method that isn't a known one is called HTTP there.
func spanName(e *wire.Event) string {
	name := e.Operation()
	if route, unknown := strings.CutPrefix(name, "_OTHER"); unknown {
		name = "HTTP" + route
	}
	return strings.ToValidUTF8(name, "�")
}

func spanAttributes(e *wire.Event, remote netip.AddrPort) (a attributes) {
	a.text(wire.AttrMethod, e.Method)
	a.text("url.path", e.Route)
	if e.Side == wire.SideServer {
		a.text(wire.AttrRoute, e.Route)
		a.scheme(e.Protocol)
	}
	if e.Status != 0 {
		a.number(wire.AttrStatus, int64(e.Status))
	}
	a.text(wire.AttrErrorType, e.Error)
	if e.ServerName != "" {
		a.text("server.address", e.ServerName)
	} else if e.Destination.IsValid() {
		a.text("server.address", e.Destination.Addr().String())
	}
	if e.Destination.IsValid() {
		a.number("server.port", int64(e.Destination.Port()))
	}
	if remote.IsValid() {
		a.text("network.peer.address", remote.Addr().String())
		a.number("network.peer.port", int64(remote.Port()))
	}
	a.number("http.request.size", int64(e.RequestBytes))
	a.number("http.response.size", int64(e.ResponseBytes))
	if e.Side == wire.SideServer && e.Flags&wire.FlagNoWait == 0 {
		a.ms("weir.wait_ms", e.WaitNS)
	}
	a.ms("weir.processing_ms", e.ProcessingNS)
	a.ms("weir.transfer_ms", e.TransferNS)
	for _, end := range []struct {
		name string
		of   *wire.Endpoint
	}{{"weir.source.", &e.From}, {"weir.destination.", &e.To}} {
		a.text(end.name+"namespace", end.of.Namespace)
		a.text(end.name+"workload", end.of.Workload)
	}
	return a
}

// randomID is never zero, which would mean none.
func randomID(size int) []byte {
	b := make([]byte, 0, 16)
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, rand.Uint64()|1)
	}
	return b
}
