package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LastMessages reads the last message of every subject that matches, such as
// the commit records of all partitions, in the order they were stored. A subject
// whose last message is foreign is left out.
func (c *Conn) LastMessages(ctx context.Context, stream, subjects string) ([]Message, error) {
	return c.lastMessages(ctx, ReadConfig{Stream: stream, Subjects: []string{subjects}})
}

func (c *Conn) lastMessages(ctx context.Context, cfg ReadConfig) ([]Message, error) {
	cfg.Last, cfg.StopAtEnd = true, true
	var out []Message
	for m, err := range c.Messages(ctx, cfg) {
		if err != nil {
			return nil, err
		}
		out = append(out, *m)
	}
	return out, nil
}

// FirstMessage is the first of those that are there to be read; nil if there is none.
func (c *Conn) FirstMessage(ctx context.Context, cfg ReadConfig) (first *Message, err error) {
	cfg.StopAtEnd = true
	for first, err = range c.Messages(ctx, cfg) {
		break
	}
	return first, err
}

// Tell publishes outside any stream: at most once.
func (c *Conn) Tell(subject string, data []byte) error {
	if err := c.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls handle for messages as they are published to subject,
// outside any stream: at most once. stream is the one whose writers publish them,
// or "": others' messages are foreign. Sequence and Time are those of the
// stream if it republished the message. Of streams' subjects only
// proto.SubjectsLive is for this: the others show what was refused later. It
// returns when ctx ends. handle runs on one goroutine; while it is too slow
// messages are dropped and counted in [Stats].
func (c *Conn) Subscribe(ctx context.Context, stream, subject string, handle func(Message)) error {
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", subject, err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only if the connection is gone
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			continue
		case err != nil:
			return fmt.Errorf("receive from %s: %w", subject, err)
		}
		out := Message{Subject: m.Subject, Data: m.Data, Sequence: parseUint(m.Header.Get(jetstream.SequenceHeader))}
		out.Time, _ = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer)) // zero if there is none
		out.readHeaders(m.Header, stream)
		handle(out)
	}
}
