package bus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

const admin = `{user: admin, password: "p:w/1"}`

func secure(t *testing.T, users string, verify bool) *bustest.Secure {
	t.Helper()
	s, err := bustest.StartSecure(t.TempDir(), users, verify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// connect returns the connection, which is closed with the test, and what it logs.
func connect(t *testing.T, o bus.Options) (*bus.Conn, *logText, error) {
	t.Helper()
	log := &logText{}
	c, err := bus.Connect(t.Context(), o, slog.New(slog.NewTextHandler(log, nil)))
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, log, err
}

type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTLS(t *testing.T) {
	s := secure(t, admin, false)
	url := "tls://admin:p%3Aw%2F1@" + s.Host
	other := secure(t, admin, false) // its CA
	nothing := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(nothing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(s.Host, ":")
	for _, tt := range []struct {
		name string
		o    bus.Options
		want string // in the error; "" for none
	}{
		{"name in the certificate", bus.Options{URL: "tls://admin:p%3Aw%2F1@localhost:" + port, TLSCA: s.CA}, ""},
		{"told the name", bus.Options{URL: url, TLSCA: s.CA, TLSServerName: bustest.SecureName}, ""},
		{"told the name, without tls://", bus.Options{URL: "nats" + strings.TrimPrefix(url, "tls"), TLSCA: s.CA, TLSServerName: bustest.SecureName}, ""},
		{"another name", bus.Options{URL: url, TLSCA: s.CA}, "is for another name: use one of its names in --server"},
		{"the system's CAs", bus.Options{URL: url, TLSServerName: bustest.SecureName}, "of an unknown authority: name its CA with --tls-ca"},
		{"another CA", bus.Options{URL: url, TLSCA: other.CA, TLSServerName: bustest.SecureName}, "name its CA with --tls-ca"},
		{"no such file", bus.Options{URL: url, TLSCA: "/nonexistent/ca.crt"}, "/nonexistent/ca.crt"},
		{"no certificate in the file", bus.Options{URL: url, TLSCA: nothing}, "failed to parse root certificate"},
		{"wrong password", bus.Options{URL: "tls://admin:secret@localhost:" + port, TLSCA: s.CA}, "refuses the user: check the user and password in --server"},
		{"a certificate without its key", bus.Options{URL: url, TLSCA: s.CA, TLSCert: s.Cert}, "needs both --tls-cert and --tls-key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := connect(t, tt.o)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "p%3Aw") || strings.Contains(err.Error(), "secret") {
					t.Fatalf("got %v, want %q and no password", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(c.URL(), "p%3Aw") {
				t.Errorf("the password is in %s", c.URL())
			}
			bustest.Provision(t, c, 1, 1)
		})
	}
}

func TestClientCertificate(t *testing.T) {
	s := secure(t, admin, true)
	o := bus.Options{URL: "tls://admin:p%3Aw%2F1@" + s.Host, TLSCA: s.CA, TLSServerName: bustest.SecureName}
	if _, _, err := connect(t, o); err == nil {
		t.Error("connected without a certificate")
	}
	o.TLSCert, o.TLSKey = s.Cert, s.Key
	if _, _, err := connect(t, o); err != nil {
		t.Error(err)
	}
}

func TestNKey(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := pair.PublicKey()
	seed, _ := pair.Seed()
	file := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	s := secure(t, "{nkey: "+public+"}", false)
	o := bus.Options{URL: "tls://" + s.Host, TLSCA: s.CA, TLSServerName: bustest.SecureName}
	if _, _, err := connect(t, o); err == nil {
		t.Error("connected without the key")
	}
	o.NKey = file
	if _, _, err := connect(t, o); err != nil {
		t.Error(err)
	}
}

// TestInboxOfTheUser: a user whose name is in the URL subscribes below
// _INBOX_<user>, and may be allowed no more than that.
func TestInboxOfTheUser(t *testing.T) {
	s := secure(t, `{user: reader, password: p, permissions: {subscribe: "_INBOX_reader.>"}}`, false)
	o := bus.Options{URL: "tls://reader:p@" + s.Host, TLSCA: s.CA, TLSServerName: bustest.SecureName}
	c, _, err := connect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, c, 1, 1)
	o.InboxPrefix = "_INBOX_other"
	if c, _, err = connect(t, o); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the server says nothing
		wantDenied(t, "subscribe to", "_INBOX_other.", func(ctx context.Context) error {
			_, err := c.StreamInfo(ctx, proto.StreamLatency)
			return err
		})
	}
}

// TestDenied: what a user may not do is said at once, with the subject, and
// counted; not found out by waiting for an answer.
func TestDenied(t *testing.T) {
	const read = `"$JS.API.STREAM.INFO.WEIR_LATENCY", "$JS.API.CONSUMER.CREATE.WEIR_LATENCY.>"`
	s := secure(t, admin+`
		{user: nobody, password: p, permissions: {publish: "x", subscribe: "_INBOX_nobody.>"}}
		{user: looker, password: p, permissions: {publish: [`+read+`], subscribe: "_INBOX_looker.>"}}`, false)
	as := func(user string) bus.Options {
		return bus.Options{URL: "tls://" + user + "@" + s.Host, TLSCA: s.CA, TLSServerName: bustest.SecureName}
	}
	c, _, err := connect(t, as("admin:p%3Aw%2F1"))
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, c, 1, 1)

	nobody, log, err := connect(t, as("nobody:p"))
	if err != nil {
		t.Fatal(err)
	}
	wantDenied(t, "publish to", "$JS.API.STREAM.INFO.WEIR_LATENCY", func(ctx context.Context) error {
		_, err := nobody.StreamInfo(ctx, proto.StreamLatency)
		return err
	})
	wantDenied(t, "publish to", "$JS.API.STREAM.INFO.WEIR_RAW", func(ctx context.Context) error {
		_, err := nobody.Partitions(ctx)
		return err
	})
	wantDenied(t, "publish to", "$JS.API.STREAM.INFO.WEIR_RAW", func(ctx context.Context) error {
		return nobody.Provision(ctx, bus.Layout{})
	})
	wantDenied(t, "publish to", "$JS.API.DIRECT.GET.WEIR_RAW.weir.raw.p00.n", func(ctx context.Context) error {
		_, err := nobody.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamRaw, Subject: "weir.raw.p00.n", Direct: true})
		return err
	})
	wantDenied(t, "publish to", "$JS.API.STREAM.INFO.KV_WEIR_LEASES", func(ctx context.Context) error {
		_, err := nobody.Acquire(ctx, bus.LeaseConfig{Key: "k", Holder: "h"})
		return err
	})
	if nobody.Stats().Denied < 5 || strings.Contains(log.String(), "nats_denied") {
		t.Errorf("%d denials counted; logged, though returned: %s", nobody.Stats().Denied, log)
	}

	looker, _, err := connect(t, as("looker:p"))
	if err != nil {
		t.Fatal(err)
	}
	wantDenied(t, "publish to", "$JS.API.CONSUMER.MSG.NEXT.WEIR_LATENCY.", func(ctx context.Context) error {
		r, err := looker.Read(ctx, bus.ReadConfig{Stream: proto.StreamLatency, Subjects: []string{proto.SubjectsLatency}})
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.Next(ctx)
		return err
	})
}

// TestDeniedPublishIsLogged: a lane goes on trying, so the reason has to be in the log.
func TestDeniedPublishIsLogged(t *testing.T) {
	s := secure(t, admin+`, {user: agent, password: p, permissions: {publish: "$JS.API.DIRECT.GET.WEIR_RAW.>", subscribe: "_INBOX_agent.>"}}`, false)
	o := bus.Options{URL: "tls://admin:p%3Aw%2F1@" + s.Host, TLSCA: s.CA, TLSServerName: bustest.SecureName}
	c, _, err := connect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, c, 1, 1)
	o.URL = "tls://agent:p@" + s.Host
	agent, log, err := connect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	lane, err := agent.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: "weir.raw.p00.n", Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	published := make(chan error)
	go func() {
		_, err := lane.Publish(ctx, []byte("x"), 1, 0, 1)
		published <- err
	}()
	bustest.Eventually(t, func() bool {
		return agent.Stats().Denied > 0 && strings.Contains(log.String(), `msg=nats_denied`)
	}, "the denial is counted and logged")
	cancel()
	if err := <-published; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if want := `verb="publish to" subject=weir.raw.p00.n`; !strings.Contains(log.String(), want) || strings.Contains(log.String(), ":p@") {
		t.Errorf("logged %q, want %q and no password", log, want)
	}
}

func wantDenied(t *testing.T, verb, subject string, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	begun := time.Now()
	err := do(ctx)
	var denied *bus.DeniedError
	if !errors.As(err, &denied) || denied.Verb != verb || !strings.HasPrefix(denied.Subject, subject) {
		t.Errorf("got %v, want to be denied to %s %s", err, verb, subject)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("%s: took %v, as long as a timeout", subject, took)
	}
}
