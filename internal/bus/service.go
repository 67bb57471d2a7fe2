package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Service is a NATS service that `nats micro ls` knows.
type Service struct {
	Name        string
	Version     string // semantic
	Description string
	Metadata    map[string]string
	Endpoints   []Endpoint

	AtOnce int           // requests that are worked on; others wait
	Limit  time.Duration // of one request
}

// Endpoint answers requests on a subject.
type Endpoint struct {
	Name    string
	Subject string
	Help    string // what a request is
	// Answer gives what to answer and perhaps a header; or an error, whose code
	// is that of an AnswerError, or 500.
	Answer func(ctx context.Context, request []byte) (answer []byte, header map[string]string, err error)
}

// AnswerError is an answer that says what is wrong, with a code as HTTP has it.
type AnswerError struct {
	Code int
	Err  error
}

func (e *AnswerError) Error() string { return e.Err.Error() }
func (e *AnswerError) Unwrap() error { return e.Err }

// maxWaiting bounds the requests that wait; the server drops more.
const maxWaiting = 256

// Serve answers requests until ctx ends. Several may serve the same: each
// request goes to one of them. Requests are bounded in number and time, answers
// by what a message may hold.
func (c *Conn) Serve(ctx context.Context, s Service) error {
	svc, err := micro.AddService(c.nc, micro.Config{Name: s.Name, Version: s.Version, Description: s.Description, Metadata: s.Metadata})
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	running := make(chan struct{}, s.AtOnce)
	defer func() { // what is being answered is waited for
		svc.Stop() //nolint:errcheck // it fails only if the connection is gone
		for range s.AtOnce {
			running <- struct{}{}
		}
	}()
	for _, e := range s.Endpoints {
		handle := func(r micro.Request) {
			select {
			case running <- struct{}{}:
			case <-ctx.Done():
				return
			}
			go func() {
				defer func() { <-running }()
				c.answer(ctx, &s, &e, r)
			}()
		}
		err := svc.AddEndpoint(e.Name, micro.HandlerFunc(handle), micro.WithEndpointSubject(e.Subject),
			micro.WithEndpointMetadata(map[string]string{"request": e.Help}), micro.WithEndpointPendingLimits(maxWaiting, -1))
		if err != nil {
			return fmt.Errorf("serve %s: %w", e.Subject, err)
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return nats.ErrConnectionClosed
	}
}

func (c *Conn) answer(ctx context.Context, s *Service, e *Endpoint, r micro.Request) {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	data, header, err := e.Answer(ctx, r.Data())
	if limit := c.nc.MaxPayload() - headerBytes; err == nil && int64(len(data)) > limit {
		err = &AnswerError{413, fmt.Errorf("the answer has %d bytes, a message may have %d: ask for less", len(data), limit)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = &AnswerError{504, fmt.Errorf("it took longer than %s: ask for less", s.Limit)}
	}
	// r itself doesn't answer: it keeps errors, where the micro package looks for them
	// as soon as the handler has begun this.
	answer := &nats.Msg{Subject: r.Reply(), Header: nats.Header{}, Data: data}
	if err == nil {
		answer.Header.Set("Content-Type", "application/json")
		for name, value := range header {
			answer.Header.Set(name, value)
		}
	} else {
		code := 500
		var known *AnswerError
		if errors.As(err, &known) {
			code = known.Code
		}
		answer.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(code))
		answer.Header.Set(micro.ErrorHeader, strings.Join(strings.Fields(err.Error()), " ")) // of one line
		answer.Data = []byte(err.Error())
	}
	if err := c.nc.PublishMsg(answer); err != nil { // whoever asked is gone, or gave no reply subject
		c.log.Debug("answer_not_sent", "subject", e.Subject, "error", err)
	}
}

// headerBytes is kept free for an answer's headers.
const headerBytes = 4 << 10

// Answer is what a service answered.
type Answer struct {
	Data        []byte
	Code        string // "" if it is no error
	Description string // of the error
}

// Ask sends one request to a service.
func (c *Conn) Ask(ctx context.Context, subject string, request []byte) (Answer, error) {
	a, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var m *nats.Msg
	err := c.ask(a, subject, func(a context.Context) (err error) {
		m, err = c.nc.RequestWithContext(a, subject, request)
		return err
	})
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s: %w", subject, err)
	}
	return Answer{Data: m.Data, Code: m.Header.Get(micro.ErrorCodeHeader), Description: m.Header.Get(micro.ErrorHeader)}, nil
}

// Metadata asks for that of a service, of whichever instance answers first.
func (c *Conn) Metadata(ctx context.Context, service string) (map[string]string, error) {
	subject, err := micro.ControlSubject(micro.InfoVerb, service, "")
	if err != nil {
		return nil, fmt.Errorf("ask for service %s: %w", service, err)
	}
	a, err := c.Ask(ctx, subject, nil)
	if err != nil {
		return nil, err
	}
	var info micro.Info
	if err := json.Unmarshal(a.Data, &info); err != nil {
		return nil, fmt.Errorf("read answer to %s: %w", subject, err)
	}
	return info.Metadata, nil
}

// askTimeout is longer than a service takes.
const askTimeout = time.Minute
