package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirstream/weir/internal/bus"
)

const tryEvery = time.Second

// WaitFlag adds --nats-wait, for what [Connect] and [Streams] take.
func WaitFlag(flags *pflag.FlagSet, wait *time.Duration) {
	flags.DurationVar(wait, "nats-wait", 0, "how long to wait at the start for NATS and its streams")
}

// Connect connects to NATS. It tries again for as long as it may wait: parts
// of a cluster install start together.
func Connect(ctx context.Context, o bus.Options, wait time.Duration, log *slog.Logger) (c *bus.Conn, err error) {
	err = try(ctx, wait, log, func() (err error) {
		c, err = bus.Connect(ctx, o, log)
		return err
	})
	return c, err
}

// Streams waits for the streams to be provisioned and returns the number of
// partitions.
func Streams(ctx context.Context, c *bus.Conn, wait time.Duration, log *slog.Logger) (partitions int, err error) {
	err = try(ctx, wait, log, func() (err error) {
		partitions, err = c.Partitions(ctx)
		return err
	})
	return partitions, err
}

// try repeats do until it succeeds, ctx ends or wait has passed.
func try(ctx context.Context, wait time.Duration, log *slog.Logger, do func() error) error {
	until := time.Now().Add(wait)
	for waiting := false; ; waiting = true {
		err := do()
		if err == nil || ctx.Err() != nil || time.Now().Add(tryEvery).After(until) {
			return err
		}
		if !waiting {
			log.Warn("waiting_for_nats", "at_most", wait.String(), "error", err)
		}
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
		}
	}
}
