package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 250 * time.Millisecond
	reconnectSpan  = 500 * time.Millisecond // jitter: not every agent at once
	pingInterval   = 2 * time.Second        // a peer that was cut off is noticed after two
	requestTimeout = 4 * time.Second        // of one attempt, not of the whole
)

// InProcess is a server in the same process, such as natsserver.Server.
type InProcess interface{ InProcessConn() (net.Conn, error) }

// Options say where NATS is and who asks.
type Options struct {
	URL         string // "nats://host:4222", several separated by commas
	Creds       string // path of a credentials file, or ""
	Name        string // shown in the server's connection list
	InboxPrefix string // "" means "_INBOX"; a user may subscribe only below its own
	InProcess   InProcess
}

// Stats are counters since [Connect].
type Stats struct {
	Errors      uint64 // asynchronous errors, such as a denied publish
	Disconnects uint64
	Retries     uint64 // publishes sent again
	Duplicates  uint64 // publishes that turned out to be stored already
	Resets      uint64 // readers that had to start a new consumer
}

// Conn is a connection that never gives up: it reconnects until [Conn.Close].
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger
	url string

	mu      sync.Mutex
	session context.Context // ends when the connection is lost
	end     context.CancelFunc
	up      chan struct{} // closed while connected
	closed  chan struct{}

	errors, disconnects, retries, duplicates, resets atomic.Uint64
}

// Connect connects to NATS. It fails at once if there is no server; after
// that the connection is restored for ever.
func Connect(ctx context.Context, o Options, log *slog.Logger) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Conn{log: log, url: o.URL, up: make(chan struct{}), closed: make(chan struct{})}
	c.session, c.end = context.WithCancel(context.Background())
	nc, err := nats.Connect(o.URL, c.options(o)...)
	if err != nil {
		c.end()
		return nil, connectError(o, err)
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream at %s: %w", o.URL, err)
	}
	close(c.up)
	return c, nil
}

func (c *Conn) options(o Options) []nats.Option {
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
		nats.ErrorHandler(c.onError),
		nats.DisconnectErrHandler(c.onDisconnect),
		nats.ReconnectHandler(c.onReconnect),
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	return opts
}

func connectError(o Options, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return fmt.Errorf("no NATS server answers at %s: start one with `weir up`, or say where it is with --server", o.URL)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("NATS at %s refuses the user: check --creds: %w", o.URL, err)
	}
	return fmt.Errorf("connect to NATS at %s: %w", o.URL, err)
}

func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	c.errors.Add(1)
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	c.log.Error("nats_error", "url", c.url, "subject", subject, "error", err)
}

func (c *Conn) onDisconnect(_ *nats.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Err() != nil {
		return
	}
	c.end()
	c.up = make(chan struct{})
	c.disconnects.Add(1)
	c.log.Warn("nats_disconnected", "url", c.url, "error", err)
}

func (c *Conn) onReconnect(nc *nats.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Err() == nil {
		return
	}
	c.session, c.end = context.WithCancel(context.Background())
	close(c.up)
	c.log.Info("nats_reconnected", "url", nc.ConnectedUrlRedacted())
}

// currentSession ends when the connection of now is lost.
func (c *Conn) currentSession() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// attempt waits until connected and returns a context that ends with ctx,
// with the connection, or after d.
func (c *Conn) attempt(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc, error) {
	for {
		c.mu.Lock()
		session, up := c.session, c.up
		c.mu.Unlock()
		select {
		case <-up:
		case <-c.closed:
			return nil, nil, nats.ErrConnectionClosed
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if session.Err() != nil {
			continue // that session ended while we looked
		}
		a, cancel := context.WithTimeout(session, d)
		stop := context.AfterFunc(ctx, cancel)
		return a, func() { stop(); cancel() }, nil
	}
}

// Connected tells whether the server is there now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// URL is the address given to [Connect].
func (c *Conn) URL() string { return c.url }

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	return Stats{
		Errors:      c.errors.Load(),
		Disconnects: c.disconnects.Load(),
		Retries:     c.retries.Load(),
		Duplicates:  c.duplicates.Load(),
		Resets:      c.resets.Load(),
	}
}

// Close closes the connection. Lanes have nothing unanswered then: a publish
// returns when it is stored.
func (c *Conn) Close() {
	c.mu.Lock()
	c.end() // first, so that what follows is not taken for a lost connection
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	c.mu.Unlock()
	c.nc.Close()
}

// randomID returns 16 random hex digits.
func randomID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
