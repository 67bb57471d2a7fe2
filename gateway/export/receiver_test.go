package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weirstream/weir/gateway/export"
)

// receiver takes OTLP over both protocols and keeps what it took.
type receiver struct {
	testing.TB
	token   string // that requests must carry, "" for none
	partial int64  // that it says it rejected of each request

	mu      sync.Mutex
	asked   int
	metrics []*metricspb.MetricsData
	traces  []*tracepb.TracesData

	// What it does instead of taking request n (0, 1, …); nil or false takes it.
	misbehaveHTTP func(n int, w http.ResponseWriter) bool
	misbehaveGRPC func(n int) error
}

// ask numbers a request.
func (r *receiver) ask() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.asked - 1
}

func (r *receiver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// take keeps a request and answers with a partial success.
func (r *receiver) take(traces bool, decode func(proto.Message) error) (answer []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if traces {
		data := new(tracepb.TracesData)
		err = decode(data)
		r.traces = append(r.traces, data)
	} else {
		data := new(metricspb.MetricsData)
		err = decode(data)
		r.metrics = append(r.metrics, data)
	}
	if r.partial > 0 {
		part := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(r.partial))
		answer = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), part)
	}
	return answer, err
}

// ServeHTTP is OTLP over HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // the client gave up
	}
	if n := r.ask(); r.misbehaveHTTP != nil && r.misbehaveHTTP(n, w) {
		return
	}
	if r.token != "" && q.Header.Get("X-Token") != r.token || q.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			r.Error(err)
		}
	}
	answer, err := r.take(q.URL.Path == "/v1/traces", func(m proto.Message) error { return proto.Unmarshal(body, m) })
	if err != nil {
		r.Error(err)
	}
	_, _ = w.Write(answer)
}

// serveHTTP listens, with TLS if there is a configuration.
func (r *receiver) serveHTTP(secure *tls.Config) (url string) {
	s := httptest.NewUnstartedServer(r)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if s.TLS = secure; secure != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	r.Cleanup(s.Close)
	return s.URL
}

// serveGRPC listens, at a free address of loopback if there is none.
func (r *receiver) serveGRPC(address string, secure *tls.Config) (url string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		r.Fatal(err)
	}
	options, scheme := []grpc.ServerOption(nil), "http://"
	if secure != nil {
		options, scheme = append(options, grpc.Creds(credentials.NewTLS(secure))), "https://"
	}
	s := grpc.NewServer(options...)
	service := func(name string, traces bool) *grpc.ServiceDesc {
		return &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Export",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if n := r.ask(); r.misbehaveGRPC != nil {
					if err := r.misbehaveGRPC(n); err != nil {
						return nil, err
					}
				}
				if md, _ := metadata.FromIncomingContext(ctx); r.token != "" && (len(md["x-token"]) != 1 || md["x-token"][0] != r.token) {
					r.Errorf("metadata %v", md)
				}
				answer, err := r.take(traces, func(m proto.Message) error { return decode(m) })
				out := new(emptypb.Empty)
				out.ProtoReflect().SetUnknown(answer)
				return out, err
			},
		}}}
	}
	s.RegisterService(service("opentelemetry.proto.collector.metrics.v1.MetricsService", false), r)
	s.RegisterService(service("opentelemetry.proto.collector.trace.v1.TraceService", true), r)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	r.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			r.Error(err)
		}
	})
	return scheme + l.Addr().String()
}

// to is a configuration that sends both signals to a receiver.
func to(protocol, url string) export.OTLP {
	if protocol == export.GRPC {
		return export.OTLP{Metrics: url, Traces: url, Protocol: protocol}
	}
	return export.OTLP{Metrics: url + "/v1/metrics", Traces: url + "/v1/traces", Protocol: protocol}
}

// points calls do with every data point of a metric that was taken.
func (r *receiver) points(metric string, do func(resource map[string]any, temporality metricspb.AggregationTemporality, p *metricspb.ExponentialHistogramDataPoint)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, data := range r.metrics {
		for _, of := range data.ResourceMetrics {
			for _, m := range of.ScopeMetrics[0].Metrics {
				h := m.GetExponentialHistogram()
				for _, p := range h.DataPoints {
					if m.Name == metric && m.Unit == "s" {
						do(values(of.Resource.Attributes), h.AggregationTemporality, p)
					}
				}
			}
		}
	}
}

// spans calls do with every span that was taken.
func (r *receiver) spans(do func(resource map[string]any, s *tracepb.Span)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, data := range r.traces {
		for _, of := range data.ResourceSpans {
			for _, s := range of.ScopeSpans[0].Spans {
				do(values(of.Resource.Attributes), s)
			}
		}
	}
}
