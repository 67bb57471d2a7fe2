package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/weirstream/weir/internal/retry"
)

// poster posts to a URL.
type poster struct {
	url     string
	headers map[string]string
	timeout time.Duration
	client  *http.Client
}

func newPoster(address string, headers map[string]string, secure *tls.Config, timeout time.Duration) *poster {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = secure
	return &poster{address, headers, timeout, &http.Client{Transport: t, CheckRedirect: noRedirect}}
}

// Redacted is a URL for people and logs: without its password and what it asks
// for, which may be a token.
func Redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "what is not a URL"
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.Redacted()
}

// noRedirect keeps headers, which may be secrets, from going elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (p *poster) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// post returns what a receiver answers that has taken a body, else a
// *sendError. again says after which codes to try once more.
func (p *poster) post(ctx context.Context, body []byte, header http.Header, again func(code int) bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, &sendError{err: err}
	}
	q.Header.Set("User-Agent", userAgent)
	for name, value := range p.headers {
		q.Header.Set(name, value)
	}
	for name := range header {
		q.Header.Set(name, header.Get(name))
	}
	resp, err := p.client.Do(q)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			of.URL = Redacted(p.url)
		}
		return nil, &sendError{err: err, again: true}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode/100 == 2:
		return answer, nil
	case again(resp.StatusCode):
		return nil, &sendError{err: errors.New(resp.Status), again: true, after: retry.After(resp.Header)}
	}
	if err != nil {
		answer = nil
	}
	return nil, &sendError{err: fmt.Errorf("%s %.200q", resp.Status, answer)}
}

// secureBy is TLS with files of a CA and a client certificate; "" is the system's
// CAs, and no certificate.
func secureBy(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA: %s holds no certificate in PEM", ca)
		}
	}
	if cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		// Anew for each connection: it may have been renewed.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}
