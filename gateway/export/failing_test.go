package export_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/counted"
)

// value is that of a metric whose labels have all these values.
func value(t testing.TB, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.Metric {
			if f.GetName() == name && has(fmt.Sprint(m.Label), labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func has(in string, labels []string) bool {
	for _, l := range labels {
		if !strings.Contains(in, `"`+l+`"`) {
			return false
		}
	}
	return true
}

// deltas is a configuration with a timeout that tests can wait for.
func deltas(otlp export.OTLP) export.OTLP {
	otlp.Traces, otlp.Delta, otlp.Timeout = "", true, time.Second
	return otlp
}

// A receiver over HTTP that fails in every way holds nothing up. What it
// refuses is counted, all else arrives once.
func TestFailingHTTP(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	retried := time.Time{}
	sink := &receiver{TB: t, misbehaveHTTP: func(n int, w http.ResponseWriter) bool {
		switch n {
		case 0: // says when to come again
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			retried = time.Now()
		case 1: // cuts the connection before it answers
			if time.Since(retried) < 1900*time.Millisecond {
				t.Errorf("asked again after %v", time.Since(retried))
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return true
			}
			conn.Close()
		case 2: // is slow
			time.Sleep(1500 * time.Millisecond)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 5: // refuses for good
			w.WriteHeader(http.StatusInternalServerError)
		case 6: // sends on
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	}}
	e, metrics, _ := start(r, export.Config{OTLP: deltas(to(export.HTTP, sink.serveHTTP(nil)))})
	r.Publish(200)
	settled(t, e, 100) // nothing waits for the receiver
	bustest.Eventually(t, func() bool { return value(t, metrics, "weir_gateway_otlp_sent_total", "metrics") > 0 }, "nothing arrives")
	if n := value(t, metrics, "weir_gateway_otlp_retries_total", "metrics"); n < 4 {
		t.Errorf("%v retries, want 4", n)
	}
	r.Load.Want().Check(t, sink.windows())
	refuses(t, r, sink, metrics)
}

// refuses: a receiver refuses the next two requests for good, and takes what comes
// after; what was refused is counted.
func refuses(t *testing.T, r *counted.Rig, sink *receiver, metrics *prometheus.Registry) {
	t.Helper()
	for range 2 { // are refused
		asked := sink.requests()
		r.Publish(200)
		bustest.Eventually(t, func() bool { return sink.requests() > asked }, "nothing is sent")
	}
	r.Publish(200)
	want := r.Load.Want().Count()
	bustest.Eventually(t, func() bool { return sink.windows().Count() == want-400 }, "what comes after what was refused doesn't arrive")
	if n := value(t, metrics, "weir_gateway_otlp_dropped_total", "metrics", "refused"); n == 0 {
		t.Error("what was refused isn't counted")
	}
}

// The same over gRPC; and a receiver that isn't there when the exporter begins.
func TestFailingGRPC(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	var told time.Time
	sink := &receiver{TB: t, misbehaveGRPC: func(n int) error {
		switch n {
		case 0:
			told = time.Now()
			return busy.Err()
		case 1:
			if time.Since(told) < 1900*time.Millisecond {
				t.Errorf("asked again after %v", time.Since(told))
			}
			return status.Error(codes.Unavailable, "away")
		case 3:
			return status.Error(codes.InvalidArgument, "no")
		case 4:
			return status.Error(codes.ResourceExhausted, "full for good")
		}
		return nil
	}}
	address := bustest.FreeAddr(t)
	e, metrics, _ := start(r, export.Config{OTLP: deltas(export.OTLP{Metrics: "http://" + address, Protocol: export.GRPC})})
	r.Publish(200)
	settled(t, e, 100)
	bustest.Eventually(t, func() bool { return value(t, metrics, "weir_gateway_otlp_retries_total", "metrics") > 0 }, "it doesn't try")
	sink.serveGRPC(address, nil)
	bustest.Eventually(t, func() bool { return value(t, metrics, "weir_gateway_otlp_sent_total", "metrics") > 0 }, "nothing arrives")
	r.Load.Want().Check(t, sink.windows())
	refuses(t, r, sink, metrics)
}

// What a receiver says it took no part of is counted; an answer that is
// nonsense says nothing, and any code of success that all was taken.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	for name, exit := range exits {
		r := counted.Start(t)
		sink := &receiver{TB: t, partial: 3}
		_, metrics, _ := start(r, export.Config{OTLP: deltas(exit(sink))})
		r.Publish(200)
		bustest.Eventually(t, func() bool {
			n := value(t, metrics, "weir_gateway_otlp_dropped_total", "metrics", "rejected")
			return n > 0 && n == 3*float64(sink.requests())
		}, "%s: what is rejected isn't counted", name)
	}
	r := counted.Start(t)
	sink := &receiver{TB: t, misbehaveHTTP: func(_ int, w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte("\x0a\xff<html>hello"))
		return true
	}}
	_, metrics, _ := start(r, export.Config{OTLP: deltas(to(export.HTTP, sink.serveHTTP(nil)))})
	r.Publish(200)
	bustest.Eventually(t, func() bool { return value(t, metrics, "weir_gateway_otlp_sent_total", "metrics") > 0 }, "nonsense isn't taken for an answer")
}

// An exporter that stops while nobody takes anything stops soon, and says what it leaves.
func TestStopping(t *testing.T) {
	t.Parallel()
	r := counted.Start(t)
	e, metrics, stop := start(r, export.Config{OTLP: deltas(export.OTLP{Metrics: "http://" + bustest.FreeAddr(t), Protocol: export.HTTP})})
	r.Publish(200)
	settled(t, e, 100)
	bustest.Eventually(t, func() bool { return value(t, metrics, "weir_gateway_otlp_retries_total", "metrics") > 0 }, "it doesn't try")
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := value(t, metrics, "weir_gateway_otlp_dropped_total", "metrics", "unsent"); n == 0 {
		t.Error("what was left isn't counted")
	}
}

// Both protocols over TLS, with a client certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	pool, pair, ca, cert, key := certificates(t)
	server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	for name, serve := range map[string]func(*receiver) export.OTLP{
		"http": func(r *receiver) export.OTLP { return to(export.HTTP, r.serveHTTP(server.Clone())) },
		"grpc": func(r *receiver) export.OTLP { return to(export.GRPC, r.serveGRPC("127.0.0.1:0", server.Clone())) },
	} {
		r := counted.Start(t)
		sink := &receiver{TB: t}
		otlp := deltas(serve(sink))
		if !strings.HasPrefix(otlp.Metrics, "https://") {
			t.Fatal(otlp.Metrics)
		}
		_, without, _ := start(r, export.Config{OTLP: otlp})
		otlp.CA, otlp.Cert, otlp.Key = ca, cert, key
		_, with, _ := start(r, export.Config{OTLP: otlp})
		r.Publish(200)
		bustest.Eventually(t, func() bool { return value(t, with, "weir_gateway_otlp_sent_total", "metrics") > 0 }, "%s: nothing arrives", name)
		bustest.Eventually(t, func() bool { return value(t, without, "weir_gateway_otlp_retries_total", "metrics") > 0 }, "%s: it doesn't try", name)
		if n := value(t, without, "weir_gateway_otlp_sent_total", "metrics"); n != 0 {
			t.Errorf("%s: %v points are sent without a certificate", name, n)
		}
	}
	for _, wrong := range []export.OTLP{
		{Metrics: "collector:4317", Protocol: export.GRPC}, {Metrics: "http://x", Protocol: "http/json"}, {Metrics: "https://x", Protocol: export.HTTP, CA: key},
		{Metrics: "https://x", Protocol: export.HTTP, Cert: cert, Key: ca},
	} {
		if _, err := export.New(export.Config{OTLP: wrong, Registry: prometheus.NewRegistry()}, discard); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// certificates makes one that is its own CA, for both ends.
func certificates(t *testing.T) (pool *x509.CertPool, pair tls.Certificate, ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return pool, pair, cert, cert, key
}
