package bustest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Secure is a nats-server in this process with TLS and users, as a cluster
// install has it. Its certificate is for [SecureName] and localhost, not for
// the address in URL.
type Secure struct {
	Host      string // host:port
	CA        string // path of the CA's certificate
	Cert, Key string // paths of a client certificate that it accepts
	s         *server.Server
}

// SecureName is that of the service of a cluster install.
const SecureName = "weir-nats.weir.svc"

// StartSecure starts a server with the users, in the server's configuration
// language: {user: u, password: p, permissions: {…}}. Clients need a
// certificate if verify is true. It keeps its files in dir. Stop it after use.
func StartSecure(dir, users string, verify bool) (*Secure, error) {
	s := &Secure{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	if err := s.certificates(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf(`host: 127.0.0.1, port: -1
jetstream: {store_dir: %q}
tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: %v}
authorization: {users: [%s]}
`, filepath.Join(dir, "nats"), s.Cert, s.Key, s.CA, verify, users)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return nil, err
	}
	opts.NoSigs, opts.NoLog = true, true
	if s.s, err = server.NewServer(opts); err != nil {
		return nil, err
	}
	go s.s.Start() // Stop waits for what it started
	if !s.s.ReadyForConnections(Timeout) {
		s.Stop()
		return nil, errors.New("nats-server is not ready")
	}
	s.Host = s.s.Addr().String()
	return s, nil
}

// Stop shuts the server down.
func (s *Secure) Stop() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// certificates makes a CA and a certificate for server and clients.
func (s *Secure) certificates() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: SecureName},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{SecureName, "localhost"}, IPAddresses: []net.IP{net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(s.CA, "CERTIFICATE", caDER),
		writePEM(s.Cert, "CERTIFICATE", leafDER),
		writePEM(s.Key, "PRIVATE KEY", keyDER))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
