package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Protocols of OTLP, as OTEL_EXPORTER_OTLP_PROTOCOL names them.
const (
	GRPC = "grpc"
	HTTP = "http/protobuf"
)

// OTLP says what to send, and where to.
type OTLP struct {
	// Metrics and Traces are URLs, http or https; "" sends none. With gRPC only
	// host and port of them count.
	Metrics, Traces string
	Protocol        string // GRPC or HTTP
	Headers         map[string]string
	CA, Cert, Key   string // files; "" is the system's CAs, and no client certificate
	Uncompressed    bool
	Timeout         time.Duration // of a request

	Delta    bool          // each window's deltas once, instead of sums that only rise
	Interval time.Duration // of the sums

	Sample float64       // share of the requests that are neither slow nor failed; 0 to 1
	Slow   time.Duration // requests that took longer are always sent; 0 is never
}

// signal is what one kind of telemetry is called. The messages of the streams
// (MetricsData, TracesData) are on the wire what the services' requests are,
// without the services' code, which would link a second HTTP server.
type signal struct{ name, method string }

var (
	metricsSignal = signal{"metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"}
	tracesSignal  = signal{"traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"}
)

// sink is a receiver of one signal. send returns how many items it took no
// part of, and a *sendError if it took none.
type sink interface {
	send(ctx context.Context, request proto.Message) (rejected int64, err error)
	Close() error
}

// sendError says whether to try again.
type sendError struct {
	err   error
	again bool
	after time.Duration // the receiver's wish, 0 if it has none
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

const (
	maxAnswer    = 64 << 10         // of a receiver
	maxReconnect = 10 * time.Second // between tries to connect
	connectTime  = 5 * time.Second
	contentType  = "application/x-protobuf"
	userAgent    = "weir"
)

// open checks an address and its files. It doesn't connect yet.
func (o *OTLP) open(s signal, address string) (sink, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("open OTLP %s: %q is not a URL such as http://collector:4318", s.name, address)
	}
	secure, err := secureBy(o.CA, o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("open OTLP %s: %w", s.name, err)
	}
	switch o.Protocol {
	case HTTP:
		return &httpSink{o, newPoster(u.String(), o.Headers, secure, o.Timeout)}, nil
	case GRPC:
		return o.openGRPC(s, u, secure)
	}
	return nil, fmt.Errorf("open OTLP %s: protocol %q is not %s or %s", s.name, o.Protocol, GRPC, HTTP)
}

type httpSink struct {
	*OTLP
	*poster
}

func (s *httpSink) send(ctx context.Context, request proto.Message) (int64, error) {
	body, err := s.body(request)
	if err != nil {
		return 0, &sendError{err: err}
	}
	header := http.Header{"Content-Type": {contentType}}
	if !s.Uncompressed {
		header.Set("Content-Encoding", "gzip")
	}
	answer, err := s.post(ctx, body, header, func(code int) bool {
		switch code {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	})
	if err != nil {
		return 0, err
	}
	return rejected(answer), nil // what can't be read says nothing of what was taken
}

func (s *httpSink) body(request proto.Message) ([]byte, error) {
	raw, err := proto.Marshal(request)
	if err != nil || s.Uncompressed {
		return raw, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}

// rejected reads how many items an answer says weren't taken:
// partial_success.rejected_…, field 1 of field 1 in both services' answers.
func rejected(answer []byte) int64 {
	partial, _ := protowire.ConsumeBytes(field(answer, 1, protowire.BytesType))
	n, _ := protowire.ConsumeVarint(field(partial, 1, protowire.VarintType))
	return max(0, int64(n))
}

// field is what follows the tag of the first field of a number and type, nil if
// there is none.
func field(message []byte, number protowire.Number, kind protowire.Type) []byte {
	for len(message) > 0 {
		n, t, length := protowire.ConsumeTag(message)
		if length < 0 {
			return nil
		}
		message = message[length:]
		if n == number && t == kind {
			return message
		}
		if length = protowire.ConsumeFieldValue(n, t, message); length < 0 {
			return nil
		}
		message = message[length:]
	}
	return nil
}

type grpcSink struct {
	*OTLP
	method string
	conn   *grpc.ClientConn
}

func (o *OTLP) openGRPC(s signal, u *url.URL, secure *tls.Config) (sink, error) {
	creds, port := insecure.NewCredentials(), "4317"
	if u.Scheme == "https" {
		creds = credentials.NewTLS(secure)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	params := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTime}
	params.Backoff.MaxDelay = maxReconnect
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithConnectParams(params), grpc.WithUserAgent(userAgent),
		grpc.WithDisableServiceConfig(), // tries again as told there would count twice
	}
	if !o.Uncompressed {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(grpcgzip.Name)))
	}
	conn, err := grpc.NewClient(net.JoinHostPort(u.Hostname(), port), options...)
	if err != nil {
		return nil, fmt.Errorf("open OTLP %s: %w", s.name, err)
	}
	return &grpcSink{o, s.method, conn}, nil
}

func (s *grpcSink) Close() error { return s.conn.Close() }

func (s *grpcSink) send(ctx context.Context, request proto.Message) (int64, error) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, metadata.New(s.Headers)), s.Timeout)
	defer cancel()
	var answer emptypb.Empty // all its fields are unknown ones
	err := s.conn.Invoke(ctx, s.method, request, &answer, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err == nil {
		return rejected(answer.ProtoReflect().GetUnknown()), nil
	}
	st := status.Convert(err)
	failed := &sendError{err: err}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			failed.again, failed.after = true, info.GetRetryDelay().AsDuration()
		}
	}
	switch st.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		failed.again = true
	}
	return 0, failed
}
