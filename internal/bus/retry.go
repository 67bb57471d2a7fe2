package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	backOffFirst = 50 * time.Millisecond
	backOffMax   = 2 * time.Second

	// maxDenials is how often a request is denied before it is given up: users
	// are changed while the server runs.
	maxDenials = 3

	// patience is how long nobody may answer for a stream: a server that
	// restarts needs a moment before it serves its streams.
	patience = 10 * time.Second
)

// retry repeats a request that can be repeated until it is answered, ctx ends,
// it is clear that there is no such stream, or that this user may not ask.
// subject is what it publishes to, or how that begins.
func (c *Conn) retry(ctx context.Context, subject string, request func(context.Context) error) error {
	wait := newBackOff()
	var silent time.Time // since when nobody answers for the stream
	for {
		a, cancel, err := c.attempt(ctx, requestTimeout)
		if err != nil {
			return err
		}
		err = c.ask(a, subject, request)
		cancel()
		if err == nil || errors.Is(err, ErrNoStream) || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		var denied *DeniedError
		if errors.As(err, &denied) && wait.tries >= maxDenials {
			return denied
		}
		switch {
		case !errors.Is(err, nats.ErrNoResponders):
			silent = time.Time{}
		case silent.IsZero():
			silent = time.Now()
		case time.Since(silent) > patience:
			return ErrNoStream
		}
		if werr := wait.sleep(ctx); werr != nil {
			return err
		}
	}
}

// backOff waits longer each time, with jitter so that writers spread.
type backOff struct {
	next  time.Duration
	tries int
}

func newBackOff() *backOff { return &backOff{next: backOffFirst} }

func (b *backOff) sleep(ctx context.Context) error {
	b.tries++
	t := time.NewTimer(b.next/2 + rand.N(b.next))
	defer t.Stop()
	b.next = min(2*b.next, backOffMax)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
