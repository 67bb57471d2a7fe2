package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ackWait is how long a message may be worked on before the server gives it to
// another; who works says every third of it that he still does.
const ackWait = 30 * time.Second

// Consume hands the messages of a subject to work, one after the other, until
// ctx ends. The server remembers under a name which are done: whoever consumes by
// that name next goes on there. A message that fails comes again, after a while,
// until it is done; one is done twice only if this process ends in between. The
// first time it begins with what comes once ready was called.
func (c *Conn) Consume(ctx context.Context, stream, subject, name string, ready func(), work func(context.Context, *Message) error) error {
	wait, said := newBackOff(), false
	var last uint64 // sequence of what was done last
	once := func(ctx context.Context, m *Message) error {
		if m.Sequence == last { // only that it was done isn't known yet
			return nil
		}
		err := work(ctx, m)
		if err == nil {
			last = m.Sequence
		}
		return err
	}
	for {
		err := c.consume(ctx, stream, subject, name, ready, once, func() { wait, said = newBackOff(), false })
		if ctx.Err() != nil {
			return nil
		}
		if !said {
			c.log.Warn("consuming_again", "stream", stream, "name", name, "error", err)
		}
		said = true
		if wait.sleep(ctx) != nil {
			return nil
		}
	}
}

func (c *Conn) consume(ctx context.Context, stream, subject, name string, ready func(), work func(context.Context, *Message) error, done func()) error {
	var consumer jetstream.Consumer
	err := c.ask(ctx, apiConsumer+stream+"."+name, func(a context.Context) (err error) {
		consumer, err = c.js.Consumer(a, stream, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			consumer, err = c.js.CreateConsumer(a, stream, jetstream.ConsumerConfig{
				Durable: name, FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
				MaxAckPending: 1, DeliverPolicy: jetstream.DeliverNewPolicy, InactiveThreshold: 7 * 24 * time.Hour,
			})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("consume %s as %s: %w", stream, name, jetstreamError(err))
	}
	ready()
	for ctx.Err() == nil {
		if err := c.consumeNext(ctx, stream, consumer, work, done); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// consumeNext waits a while for a message.
func (c *Conn) consumeNext(ctx context.Context, stream string, consumer jetstream.Consumer, work func(context.Context, *Message) error, done func()) error {
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	batch, err := consumer.Fetch(1, jetstream.FetchContext(waiting))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		if err := c.consumeOne(ctx, stream, msg, work); err != nil {
			return err
		}
		done()
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (c *Conn) consumeOne(ctx context.Context, stream string, msg jetstream.Msg, work func(context.Context, *Message) error) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	m := &Message{Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Data: msg.Data()}
	m.readHeaders(msg.Headers(), stream)
	if m.Foreign {
		return msg.DoubleAck(ctx)
	}
	busy := time.NewTicker(ackWait / 3)
	defer busy.Stop()
	result := make(chan error, 1)
	go func() { result <- work(ctx, m) }()
	for {
		select {
		case <-busy.C:
			if err := msg.InProgress(); err != nil {
				c.log.Debug("not_said_to_be_in_progress", "stream", stream, "error", err)
			}
		case err := <-result:
			if err == nil {
				return msg.DoubleAck(ctx)
			}
			return errors.Join(err, msg.Nak())
		}
	}
}
