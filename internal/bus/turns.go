package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirstream/weir/proto"
	"golang.org/x/sync/errgroup"
)

// Turns runs work for every partition of the install, each while this process
// holds the partition's lease, until ctx ends (then it returns nil) or work
// fails for good. The context of work ends when the lease is lost.
//
// Work that lost its lane to a rival, or whose input was created anew, is
// started again: it goes on from what is stored.
func (c *Conn) Turns(ctx context.Context, service, holder string, work func(ctx context.Context, partition uint32) error) error {
	n, err := c.Partitions(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for p := range uint32(n) {
		g.Go(func() error {
			key := service + "." + proto.PartitionToken(p)
			wait := newBackOff()
			for ctx.Err() == nil {
				started := time.Now()
				err := c.turn(ctx, LeaseConfig{Key: key, Holder: holder}, p, work)
				if err != nil && ctx.Err() == nil && !isPassing(err) {
					return fmt.Errorf("partition %s: %w", proto.PartitionToken(p), err)
				}
				if err != nil && ctx.Err() == nil {
					c.log.Warn("turn_ended", "lease", key, "error", err)
				}
				if time.Since(started) > time.Minute {
					wait = newBackOff()
				}
				if wait.sleep(ctx) != nil {
					break
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (c *Conn) turn(ctx context.Context, cfg LeaseConfig, p uint32, work func(context.Context, uint32) error) error {
	lease, err := c.Acquire(ctx, cfg)
	if err != nil {
		return err
	}
	defer lease.Release()
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lease.lost, cancel)()
	return work(working, p)
}

// isPassing tells whether starting again from what is stored may help.
func isPassing(err error) bool {
	return errors.Is(err, ErrRival) || errors.Is(err, ErrRecreated) || errors.Is(err, ErrNoStream) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
