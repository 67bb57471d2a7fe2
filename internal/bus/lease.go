package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultLeaseTTL is how long a holder may be silent before another takes over.
const DefaultLeaseTTL = 3 * time.Second

// LeaseConfig names a lease and who wants it.
type LeaseConfig struct {
	Key    string        // such as "enricher.p00"
	Holder string        // unique among those that live at once; the same name takes its lease back at once
	TTL    time.Duration // 0 means DefaultLeaseTTL; the same for all that want the key
}

// Lease is the right to work on something, as long as it is renewed. It is
// for liveness only: two may believe to hold it for a moment, and it is the
// lanes' fences that keep them apart.
type Lease struct {
	cfg      LeaseConfig
	kv       jetstream.KeyValue
	log      *slog.Logger
	revision uint64
	lost     context.Context // ends when the lease is lost
	lose     context.CancelFunc
	stop     context.CancelFunc
	done     chan struct{}
}

// Acquire waits until the lease is free, or its holder has not renewed it for
// the TTL, and takes it. Release it after use.
func (c *Conn) Acquire(ctx context.Context, cfg LeaseConfig) (*Lease, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultLeaseTTL
	}
	bind, cancel, err := c.attempt(ctx, requestTimeout)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var kv jetstream.KeyValue
	err = c.ask(bind, apiInfo+bucketStream(leaseBucket), func(a context.Context) (err error) {
		kv, err = c.js.KeyValue(a, leaseBucket)
		return err
	})
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = ErrNoStream
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", leaseBucket, err)
	}
	l := &Lease{cfg: cfg, kv: kv, log: c.log, done: make(chan struct{})}
	if err := l.wait(ctx); err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", cfg.Key, err)
	}
	// The lease outlives ctx until Release, so that work can be finished first.
	var renewing context.Context
	renewing, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.lost, l.lose = context.WithCancel(context.Background())
	go l.renew(renewing)
	l.log.Info("lease_acquired", "lease", cfg.Key, "holder", cfg.Holder)
	return l, nil
}

// wait watches the lease by its revision, on this machine's clock only.
func (l *Lease) wait(ctx context.Context) error {
	var seen uint64
	var since time.Time
	for {
		revision, holder, err := l.read(ctx)
		if err == nil && revision != seen {
			seen, since = revision, time.Now()
		}
		if err == nil && (revision == 0 || holder == "" || holder == l.cfg.Holder || time.Since(since) > l.cfg.TTL) {
			if l.write(ctx, revision) == nil {
				return nil
			}
		}
		select {
		case <-time.After(l.cfg.TTL / 6):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read returns the lease's revision, 0 if nobody ever held it, and its
// holder, "" if it was released.
func (l *Lease) read(ctx context.Context) (uint64, string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.TTL/3)
	defer cancel()
	entry, err := l.kv.Get(ctx, l.cfg.Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	return entry.Revision(), string(entry.Value()), nil
}

// write takes or renews the lease, if nobody else wrote since revision.
func (l *Lease) write(ctx context.Context, revision uint64) error {
	return l.put(ctx, revision, l.cfg.Holder)
}

func (l *Lease) put(ctx context.Context, revision uint64, holder string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.TTL/3)
	defer cancel()
	l.revision, err = l.kv.Update(ctx, l.cfg.Key, []byte(holder), revision)
	if err != nil {
		l.revision = revision
	}
	return err
}

// renew keeps the lease until it is stopped or lost.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.done)
	renewed := time.Now()
	tick := time.NewTicker(l.cfg.TTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.write(ctx, l.revision) == nil {
			renewed = time.Now()
			continue
		}
		// The answer may have been lost: what is stored decides.
		if revision, holder, err := l.read(ctx); err == nil {
			if holder == l.cfg.Holder {
				l.revision, renewed = revision, time.Now()
				continue
			}
			renewed = time.Time{}
		}
		if time.Since(renewed) > l.cfg.TTL && ctx.Err() == nil {
			l.log.Warn("lease_lost", "lease", l.cfg.Key, "holder", l.cfg.Holder)
			l.lose()
			return
		}
	}
}

// Lost is closed when the lease could not be renewed in time.
func (l *Lease) Lost() <-chan struct{} { return l.lost.Done() }

// Release stops renewing and, if the lease is still held, frees it for others.
func (l *Lease) Release() {
	l.stop()
	<-l.done
	defer l.lose()
	if l.lost.Err() != nil {
		return
	}
	if err := l.put(context.Background(), l.revision, ""); err != nil {
		l.log.Debug("lease_left_to_expire", "lease", l.cfg.Key, "error", err)
	}
}
