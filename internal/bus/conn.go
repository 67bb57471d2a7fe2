package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
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

// Stats are counters since [Connect].
type Stats struct {
	Errors      uint64 // asynchronous errors
	Denied      uint64 // of them, publishes and subscriptions that this user may not make
	Disconnects uint64
	Retries     uint64 // publishes sent again
	Duplicates  uint64 // publishes that turned out to be stored already
	Resets      uint64 // readers that had to start a new consumer
	Foreign     uint64 // messages that readers passed over: none of Weir's writers published them
}

// Conn is a connection that never gives up: it reconnects until [Conn.Close].
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger
	url string // without the password

	inboxes string // what this user's inboxes begin with
	denials denials

	mu      sync.Mutex
	session context.Context // ends when the connection is lost
	end     context.CancelFunc
	up      chan struct{} // closed while connected
	closed  chan struct{}

	errors, denied, disconnects, retries, duplicates, resets, foreign atomic.Uint64
}

// Connect connects to NATS. It fails at once if there is no server; after
// that the connection is restored for ever.
func Connect(ctx context.Context, o Options, log *slog.Logger) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inboxes := o.inboxPrefix()
	opts, err := o.nats(inboxes)
	if err != nil {
		return nil, err
	}
	c := &Conn{log: log, url: redacted(o.URL), inboxes: inboxes, up: make(chan struct{}), closed: make(chan struct{})}
	c.session, c.end = context.WithCancel(context.Background())
	opts = append(opts, nats.ErrorHandler(c.onError), nats.DisconnectErrHandler(c.onDisconnect), nats.ReconnectHandler(c.onReconnect))
	nc, err := nats.Connect(o.URL, opts...)
	if err != nil {
		c.end()
		return nil, connectError(c.url, err)
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream at %s: %w", c.url, err)
	}
	close(c.up)
	return c, nil
}

func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	c.errors.Add(1)
	if denied := newDeniedError(err); denied != nil {
		c.denied.Add(1)
		if c.denials.arrived(denied, c.inboxes) {
			c.log.Error("nats_denied", "url", c.url, "verb", denied.Verb, "subject", denied.Subject)
		}
		return
	}
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
	c.denials.reset()
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

// URL is the address given to [Connect], without the password.
func (c *Conn) URL() string { return c.url }

// Address is that of the server it is connected to, host:port, "" if it isn't.
func (c *Conn) Address() string { return c.nc.ConnectedAddr() }

// ServerVersion is that of the server it is connected to, "" if it isn't.
func (c *Conn) ServerVersion() string { return c.nc.ConnectedServerVersion() }

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	return Stats{
		Errors:      c.errors.Load(),
		Denied:      c.denied.Load(),
		Disconnects: c.disconnects.Load(),
		Retries:     c.retries.Load(),
		Duplicates:  c.duplicates.Load(),
		Resets:      c.resets.Load(),
		Foreign:     c.foreign.Load(),
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
