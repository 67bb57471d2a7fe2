package service

import (
	"github.com/spf13/pflag"

	"github.com/weirstream/weir/internal/bus"
)

// NATS are the flags that say where NATS is and who asks.
type NATS struct {
	Server, Creds string
	CA, Cert, Key string
	InboxPrefix   string
}

// DefaultServer is that of a local `weir up`.
const DefaultServer = "nats://127.0.0.1:4222"

// Add adds the flags.
func (n *NATS) Add(flags *pflag.FlagSet) {
	flags.StringVar(&n.Server, "server", DefaultServer, "where NATS is, with a user if it needs one: tls://user:password@host:4222; several separated by commas")
	flags.StringVar(&n.Creds, "creds", "", "credentials `file` of a NATS user")
	flags.StringVar(&n.CA, "tls-ca", "", "`file` of the CA of NATS's certificate (default the system's)")
	flags.StringVar(&n.Cert, "tls-cert", "", "`file` of a client certificate, and")
	flags.StringVar(&n.Key, "tls-key", "", "`file` of its key")
	flags.StringVar(&n.InboxPrefix, "inbox-prefix", "", "`subject` below which answers arrive (default _INBOX_USER if --server names a user, else _INBOX)")
}

// Options are what the flags say.
func (n *NATS) Options(name string) bus.Options {
	return bus.Options{
		URL: n.Server, Creds: n.Creds, Name: name,
		TLSCA: n.CA, TLSCert: n.Cert, TLSKey: n.Key, InboxPrefix: n.InboxPrefix,
	}
}
