package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/weirstream/weir/proto"
)

// InProcess is a server in the same process, such as natsserver.Server.
type InProcess interface{ InProcessConn() (net.Conn, error) }

// Options say where NATS is and who asks.
type Options struct {
	URL   string // "nats://host:4222" or "tls://user:password@host:4222", several separated by commas
	Creds string // path of a credentials file, or ""
	NKey  string // path of an nkey's seed, or ""
	Name  string // shown in the server's connection list

	TLSCA         string // path of the CA's certificates; "" is the system's, if the server asks for TLS
	TLSCAData     []byte // the same instead of a path
	TLSCert       string // paths of a client certificate and its key, or ""
	TLSKey        string
	TLSServerName string // in the server's certificate, if it isn't the host of URL
	TLSFirst      bool   // before the server says a word

	// InboxPrefix begins the subjects of answers; a user may subscribe only
	// below its own. "" is _INBOX_<user> if URL names one, else _INBOX.
	InboxPrefix string

	FixedURL  bool // reconnect to URL only, not to what the server says of its cluster
	InProcess InProcess
}

// nats are the options of the connection, but for its handlers.
func (o Options) nats(inboxes string) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // a publish while away fails; the lane repeats it
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectSpan, reconnectSpan),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomInboxPrefix(inboxes),
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.NKey != "" {
		key, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("read nkey of the NATS user: %w", err)
		}
		opts = append(opts, key)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return nil, errors.New("a client certificate needs both --tls-cert and --tls-key")
	}
	if o.TLSServerName != "" { // first: the others fill what it sets
		opts = append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.TLSServerName}))
	}
	if o.TLSCA != "" {
		opts = append(opts, nats.RootCAs(o.TLSCA))
	}
	if len(o.TLSCAData) > 0 {
		opts = append(opts, nats.ClientTLSConfig(nil, o.rootCAs))
	}
	if o.TLSCert != "" {
		opts = append(opts, nats.ClientCert(o.TLSCert, o.TLSKey))
	}
	if o.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if o.FixedURL {
		opts = append(opts, nats.IgnoreDiscoveredServers())
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	return opts, nil
}

func (o Options) rootCAs() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(o.TLSCAData) {
		return nil, errors.New("the CA of NATS holds no certificate")
	}
	return pool, nil
}

func (o Options) inboxPrefix() string {
	if o.InboxPrefix != "" {
		return o.InboxPrefix
	}
	for server := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.User == nil {
			continue
		}
		if _, password := u.User.Password(); password { // else it is a token
			return "_INBOX_" + proto.Token(u.User.Username())
		}
	}
	return "_INBOX"
}

// redacted is a list of addresses without passwords and tokens.
func redacted(addresses string) string {
	list := strings.Split(addresses, ",")
	for i, a := range list {
		u, err := url.Parse(strings.TrimSpace(a))
		switch {
		case err != nil && strings.Contains(a, "@"):
			list[i] = a[strings.LastIndex(a, "@")+1:]
		case err == nil && u.User != nil:
			if _, hasPassword := u.User.Password(); !hasPassword {
				u.User = url.User("xxxxx") // a token
			}
			list[i] = u.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// connectError says what to do about what people run into. url has no password.
func connectError(url string, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return fmt.Errorf("no NATS server answers at %s: start one with `weir up`, or say where it is with --server", url)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("NATS at %s refuses the user: check the user and password in --server, or --creds: %w", url, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of NATS at %s is of an unknown authority: name its CA with --tls-ca: %w", url, err)
	case errors.As(err, &name):
		return fmt.Errorf("the certificate of NATS at %s is for another name: use one of its names in --server: %w", url, err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("NATS at %s has no TLS: leave out --tls-ca and use nats:// in --server: %w", url, err)
	}
	return fmt.Errorf("connect to NATS at %s: %w", url, err)
}
