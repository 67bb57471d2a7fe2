package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

const (
	relayMessages = 256     // on their way at once
	relayBytes    = 8 << 20 // and at most so many
)

// Relay publishes copies of messages to other subjects, as fast as the server
// takes them. If a stream stores such a subject it waits until that has stored
// every one, in order; else they reach whoever listens, at most once. It is not
// safe for concurrent use.
type Relay struct {
	c       *Conn
	js      jetstream.JetStream // nil if no stream stores the subjects
	Stream  string              // that does
	prefix  string              // of the subjects
	denied  context.Context
	unwatch func()
	count   int // since the last pause
	bytes   int

	mu     sync.Mutex
	failed error // the first publish that a stream refused
}

// Relay prepares publishing to subjects, which may end in a wildcard.
func (c *Conn) Relay(ctx context.Context, subjects string) (*Relay, error) {
	denied, fail := context.WithCancelCause(context.Background())
	prefix, _, _ := strings.Cut(subjects, ">")
	unwatch := c.denials.watch(prefix, fail)
	r := &Relay{c: c, prefix: prefix, denied: denied, unwatch: func() { unwatch(); fail(nil) }}
	a, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := c.ask(a, apiNames, func(a context.Context) (err error) {
		r.Stream, err = c.js.StreamNameBySubject(a, subjects)
		return err
	})
	var unknown *DeniedError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.As(err, &unknown), errors.Is(err, nats.ErrNoResponders):
		return r, nil
	case err != nil:
		r.unwatch()
		return nil, fmt.Errorf("find the stream of %s: %w", subjects, err)
	}
	r.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(relayMessages),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { r.fail(m.Subject, err) }))
	if err != nil {
		r.unwatch()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return r, nil
}

func (r *Relay) fail(subject string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = fmt.Errorf("publish to %s, which stream %s stores: %w", subject, r.Stream, err)
	}
}

// Publish sends a copy of m with its lane's headers, and with those that say
// where it comes from if m has a sequence.
func (r *Relay) Publish(ctx context.Context, subject, stream string, m *Message) error {
	out := nats.NewMsg(subject)
	out.Data = m.Data
	if m.Epoch != (proto.Epoch{}) {
		out.Header.Set(proto.HeaderEpoch, m.Epoch.String())
		out.Header.Set(proto.HeaderSeq, fmt.Sprint(m.Seq))
		out.Header.Set(proto.HeaderCount, fmt.Sprint(m.Count))
	}
	if m.Src > 0 {
		out.Header.Set(proto.HeaderSrc, fmt.Sprint(m.Src))
	}
	if !m.Time.IsZero() {
		out.Header.Set(proto.HeaderOriginalTime, m.Time.UTC().Format(time.RFC3339Nano))
	}
	if m.Sequence > 0 {
		out.Header.Set(proto.HeaderOriginalStream, stream)
		out.Header.Set(proto.HeaderOriginalSubject, m.Subject)
		out.Header.Set(proto.HeaderOriginalSequence, fmt.Sprint(m.Sequence))
	}
	if r.js == nil {
		if err := r.c.nc.PublishMsg(out); err != nil {
			return fmt.Errorf("publish to %s: %w", subject, err)
		}
	} else if _, err := r.js.PublishMsgAsync(out, jetstream.WithExpectStream(r.Stream), jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	r.count++
	r.bytes += len(m.Data)
	if r.count >= relayMessages || r.bytes >= relayBytes {
		return r.Flush(ctx)
	}
	return r.err()
}

func (r *Relay) err() error {
	if err := context.Cause(r.denied); err != nil {
		return err
	}
	// A denial is handed over some time after it came; here it is known at once.
	if denied := newDeniedError(r.c.nc.LastError()); denied != nil && strings.HasPrefix(denied.Subject, r.prefix) {
		return denied
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Flush waits until the server has what was published, or the stream has
// stored it.
func (r *Relay) Flush(ctx context.Context) error {
	r.count, r.bytes = 0, 0
	if r.js != nil {
		select {
		case <-r.js.PublishAsyncComplete():
		case <-r.denied.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := r.c.nc.FlushWithContext(a); err != nil && r.err() == nil {
		return fmt.Errorf("publish: the server at %s doesn't answer: %w", r.c.url, err)
	}
	return r.err()
}

// Close stops watching for denials.
func (r *Relay) Close() { r.unwatch() }
