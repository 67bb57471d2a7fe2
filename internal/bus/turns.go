package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/proto"
)

// ErrStop marks an error of work that a new start can't help: a person has to.
var ErrStop = errors.New("stopped")

// Turns runs work for every partition of the install, each while this process
// holds the partition's lease, until ctx ends (then it returns nil) or work
// fails with [ErrStop]. The context of work ends when the lease is lost.
//
// After any other error, such as [ErrRival] or [ErrRecreated], work is started
// again after a while: it goes on from what is stored.
func (c *Conn) Turns(ctx context.Context, service, holder string, work func(ctx context.Context, partition uint32) error) error {
	n, err := c.Partitions(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for p := range uint32(n) {
		g.Go(func() error {
			key := service + "." + proto.PartitionToken(p)
			return c.Turn(ctx, key, holder, func(ctx context.Context) error { return work(ctx, p) })
		})
	}
	return g.Wait()
}

// Turn is [Conn.Turns] for one piece of work, which has a lease of its own.
func (c *Conn) Turn(ctx context.Context, lease, holder string, work func(ctx context.Context) error) error {
	wait := newBackOff()
	for ctx.Err() == nil {
		started := time.Now()
		err := c.turn(ctx, LeaseConfig{Key: lease, Holder: holder}, work)
		if errors.Is(err, ErrStop) || errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("%s: %w", lease, err)
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("turn_ended", "lease", lease, "error", err)
		}
		if time.Since(started) > time.Minute {
			wait = newBackOff()
		}
		if wait.sleep(ctx) != nil {
			break
		}
	}
	return nil
}

func (c *Conn) turn(ctx context.Context, cfg LeaseConfig, work func(context.Context) error) error {
	lease, err := c.Acquire(ctx, cfg)
	if err != nil {
		return err
	}
	defer lease.Release()
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lease.lost, cancel)()
	return work(working)
}
