package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weirstream/weir/internal/bus"
)

// CheckSubject refuses a subject that replays can't go to: Weir's own, since its
// services would take the past for the present, and those of the server.
func CheckSubject(subject string) error {
	tokens := strings.Split(subject, ".")
	switch first := tokens[0]; {
	case first == "weir":
		return fmt.Errorf("%q is Weir's own, its readers would take the past for the present: choose one such as replay.events", subject)
	case strings.HasPrefix(first, "$"), strings.HasPrefix(first, "_INBOX"):
		return fmt.Errorf("%q is the server's own: choose one such as replay.events", subject)
	}
	for i, token := range tokens {
		last := i > 0 && i == len(tokens)-1
		if token == "" || strings.ContainsAny(token, " \t\r\n") || strings.Contains(token, "*") || strings.Contains(token, ">") && (token != ">" || !last) {
			return fmt.Errorf("%q is no subject to publish to: tokens with dots between them such as replay.events, "+
				"or replay.> to add the tokens of the original", subject)
		}
	}
	return nil
}

// Subject is a sink that publishes.
type Subject struct {
	relay   *bus.Relay
	subject string
}

// OpenSubject publishes to a subject. One that ends in > gets the tokens behind
// weir. of the original's: replay.> is replay.latency.shop.cart.
func OpenSubject(ctx context.Context, c *bus.Conn, subject string) (*Subject, error) {
	relay, err := c.Relay(ctx, subject)
	if err != nil {
		return nil, err
	}
	return &Subject{relay, subject}, nil
}

// Stream is the stream that stores what is published, or "".
func (s *Subject) Stream() string { return s.relay.Stream }

// Write publishes an item.
func (s *Subject) Write(ctx context.Context, i *Item) error {
	messages, err := i.encode()
	if err != nil {
		return err
	}
	subject := s.subject
	if prefix, ok := strings.CutSuffix(subject, ">"); ok {
		subject = prefix + strings.TrimPrefix(i.subject(), "weir.")
	}
	m := i.Message
	m.Subject = i.subject()
	for _, m.Data = range messages {
		if err := s.relay.Publish(ctx, subject, i.Stream, &m); err != nil {
			return err
		}
	}
	return nil
}

// Close waits until everything has arrived.
func (s *Subject) Close(ctx context.Context) error {
	err := s.relay.Flush(ctx)
	s.relay.Close()
	if errors.Is(err, context.Canceled) {
		return nil // what was on its way may have arrived or not
	}
	return err
}
