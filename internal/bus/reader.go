package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	readerMessages  = 256     // asked for at once: a few hundred frames are handled in a blink
	readerBytes     = 4 << 20 // and at most so many; more than any message
	readerSlack     = 64      // statuses and heartbeats
	readerExpiry    = 10 * time.Second
	readerHeartbeat = 2 * time.Second
	readerIdleLimit = 30 * time.Second // then the server deletes the consumer
	replicaLag      = time.Second      // a replica may be behind by so much
)

// How the server says that a request has brought all the messages it asked
// for, or that the next one does not fit into its bytes.
const (
	batchCompleted = "Batch Completed"
	bytesReached   = "Message Size Exceeds MaxBytes"
)

var errSilence = errors.New("no heartbeat from the server")

// ErrRecreated says that the stream was deleted and made anew while it was
// read: sequences begin again.
var ErrRecreated = errors.New("stream was created anew")

// ReadConfig says what to read. Without Start… it begins at the first message.
type ReadConfig struct {
	Stream    string
	Subjects  []string  // at least one, may have wildcards
	StartSeq  uint64    // first stream sequence wanted, 0 if StartTime or all
	StartTime time.Time // messages stored at or after it
	Last      bool      // only the last message of each subject, then what follows
	Foreign   bool      // also messages that none of Weir's writers published
	StopAtEnd bool      // Next returns io.EOF after the last message stored when it was opened, or later
}

// Reader reads a stream in order and gives every message of its subjects, but
// for foreign ones, exactly once, whatever happens to the connection or the server. What
// expired before it was read is not given; the stream sequence shows it.
// It is not safe for concurrent use.
type Reader struct {
	c       *Conn
	cfg     ReadConfig
	created time.Time
	end     uint64 // last sequence when it was opened, for StopAtEnd
	copies  int    // of the stream
	last    uint64 // sequence of the last message given
	pending uint64 // messages after it, as the server last said
	known   bool   // pending is of this consumer

	session context.Context // of the connection the consumer was made on
	denied  context.Context // ends when asking for messages is denied
	unwatch func()
	name    string // of the consumer
	sub     *nats.Subscription
	inbox   chan *nats.Msg
	deliver uint64 // consumer sequence of the last message given
	wanted  int    // messages that the server still owes to the last request
}

// Read opens a reader. Close it after use.
func (c *Conn) Read(ctx context.Context, cfg ReadConfig) (*Reader, error) {
	info, err := c.StreamInfo(ctx, cfg.Stream)
	if err != nil {
		return nil, err
	}
	r := &Reader{c: c, cfg: cfg, created: info.Created, end: info.LastSeq, copies: info.Replicas}
	return r, nil
}

// Messages are those that [Reader.Next] gives, to the end if one is asked for. An
// error comes last, without a message.
func (c *Conn) Messages(ctx context.Context, cfg ReadConfig) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		r, err := c.Read(ctx, cfg)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		for {
			m, err := r.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&m, nil) {
				return
			}
		}
	}
}

// Created is when the stream that is read was created.
func (r *Reader) Created() time.Time { return r.created }

// Lag is how many messages follow the last one given, as known then.
func (r *Reader) Lag() uint64 { return r.pending }

// Follow has Next wait for what comes after the end, where it was to stop.
func (r *Reader) Follow() { r.cfg.StopAtEnd = false }

// Next waits for the next message. It returns ctx's error if that ends first,
// [io.EOF] at the end asked for, [ErrRecreated] or [ErrNoStream] if the stream
// is no longer the one that was opened; other failures are retried.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	wait := newBackOff()
	for {
		if r.atEnd() {
			return Message{}, io.EOF
		}
		m, err := r.next(ctx)
		if err == nil && m.Foreign && !r.cfg.Foreign {
			r.c.foreign.Add(1)
			continue
		}
		if err == nil {
			return m, nil
		}
		if ctx.Err() != nil {
			return Message{}, ctx.Err()
		}
		if errors.Is(err, io.EOF) {
			continue
		}
		r.stop()
		if errors.Is(err, ErrRecreated) || errors.Is(err, ErrNoStream) || errors.Is(err, nats.ErrConnectionClosed) {
			return Message{}, fmt.Errorf("read %s: %w", r.cfg.Stream, err)
		}
		var denied *DeniedError
		if errors.As(err, &denied) && wait.tries >= maxDenials {
			return Message{}, fmt.Errorf("read %s: %w", r.cfg.Stream, denied)
		}
		r.c.resets.Add(1)
		if wait.tries == 3 {
			r.c.log.Warn("read_retrying", "stream", r.cfg.Stream, "subjects", r.cfg.Subjects, "after", r.last, "error", err)
		}
		if err := wait.sleep(ctx); err != nil {
			return Message{}, err
		}
	}
}

func (r *Reader) atEnd() bool {
	return r.cfg.StopAtEnd && r.known && (r.last >= r.end || r.pending == 0 && r.copies <= 1)
}

// nearEnd tells whether there is nothing more, unless the replica that serves
// the consumer is behind.
func (r *Reader) nearEnd() bool { return r.cfg.StopAtEnd && r.known && r.pending == 0 }

// next gives one message of the current consumer, which it makes if needed.
func (r *Reader) next(ctx context.Context) (Message, error) {
	if r.sub == nil {
		if err := r.start(ctx); err != nil {
			return Message{}, err
		}
	}
	for !r.atEnd() {
		if r.wanted == 0 {
			if err := r.pull(); err != nil {
				return Message{}, err
			}
		}
		msg, err := r.receive(ctx)
		if err != nil {
			return Message{}, err
		}
		switch status, why := msg.Header.Get("Status"), msg.Header.Get("Description"); {
		case strings.HasPrefix(msg.Reply, "$JS.ACK."): // stored, whatever headers it was given
			return r.give(msg)
		case status == "100", why == batchCompleted: // a heartbeat, or what counting told already
		case status == "408", status == "409" && why == bytesReached:
			r.wanted = 0 // the request has ended
		default:
			return Message{}, fmt.Errorf("server ended the reading: %s %s", status, why)
		}
	}
	return Message{}, io.EOF
}

// pull asks the server for more. One request at a time is enough: the pause
// between two is short compared with what one brings.
func (r *Reader) pull() error {
	request, err := json.Marshal(map[string]int64{
		"batch": readerMessages, "max_bytes": readerBytes,
		"expires": int64(readerExpiry), "idle_heartbeat": int64(readerHeartbeat),
	})
	if err != nil {
		return err
	}
	r.wanted = readerMessages
	return r.c.nc.PublishRequest(apiNext+r.cfg.Stream+"."+r.name, r.sub.Subject, request)
}

// receive waits for what the server sends, a heartbeat at least.
func (r *Reader) receive(ctx context.Context) (*nats.Msg, error) {
	select {
	case msg := <-r.inbox:
		return msg, nil
	default:
	}
	patience := 3 * readerHeartbeat
	if r.nearEnd() {
		patience = replicaLag
	}
	silence := time.NewTimer(patience)
	defer silence.Stop()
	select {
	case msg := <-r.inbox:
		return msg, nil
	case <-silence.C:
		if r.nearEnd() {
			r.end = r.last
			return nil, io.EOF
		}
		return nil, errSilence
	case <-r.session.Done():
		return nil, nats.ErrDisconnected
	case <-r.denied.Done():
		return nil, context.Cause(r.denied)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// give checks that a message is the next one.
func (r *Reader) give(msg *nats.Msg) (Message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Message{}, err
	}
	if meta.Sequence.Consumer != r.deliver+1 {
		return Message{}, fmt.Errorf("consumer skipped from %d to %d", r.deliver, meta.Sequence.Consumer)
	}
	if meta.Sequence.Stream <= r.last {
		return Message{}, ErrRecreated
	}
	r.wanted--
	r.deliver, r.last, r.pending = meta.Sequence.Consumer, meta.Sequence.Stream, meta.NumPending
	m := Message{Subject: msg.Subject, Sequence: r.last, Time: meta.Timestamp, Data: msg.Data}
	m.readHeaders(msg.Header, r.cfg.Stream)
	return m, nil
}

// start makes a consumer that begins after the last message given.
func (r *Reader) start(ctx context.Context) error {
	a, cancel, err := r.c.attempt(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	r.session = r.c.currentSession()
	var consumer jetstream.Consumer
	err = r.c.ask(a, apiConsumer+r.cfg.Stream, func(a context.Context) (err error) {
		consumer, err = r.c.js.CreateConsumer(a, r.cfg.Stream, r.consumerConfig())
		return err
	})
	if err != nil {
		return err
	}
	info, err := r.c.StreamInfo(a, r.cfg.Stream) // after: a new stream would have no such consumer
	if err != nil {
		return err
	}
	if !info.Created.Equal(r.created) {
		return ErrRecreated
	}
	r.inbox = make(chan *nats.Msg, readerMessages+readerSlack)
	r.sub, err = r.c.nc.ChanSubscribe(r.c.nc.NewInbox(), r.inbox)
	if err != nil {
		return err
	}
	r.name, r.deliver, r.wanted = consumer.CachedInfo().Name, 0, 0
	r.pending, r.known = consumer.CachedInfo().NumPending, true
	denied, fail := context.WithCancelCause(context.Background())
	unwatch := r.c.denials.watch(apiNext+r.cfg.Stream+"."+r.name, fail)
	r.denied, r.unwatch = denied, func() { unwatch(); fail(nil) }
	return nil
}

func (r *Reader) consumerConfig() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Name:              "weir-" + randomID(),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerIdleLimit,
		DeliverPolicy:     jetstream.DeliverAllPolicy,
	}
	if len(r.cfg.Subjects) == 1 {
		cfg.FilterSubject = r.cfg.Subjects[0]
	} else {
		cfg.FilterSubjects = r.cfg.Subjects
	}
	switch {
	case r.last > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last+1
	case r.cfg.Last:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case r.cfg.StartSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.cfg.StartSeq
	case !r.cfg.StartTime.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.cfg.StartTime
	}
	return cfg
}

// stop gives up the consumer; the server deletes it when nobody asks.
func (r *Reader) stop() {
	if r.sub == nil {
		return
	}
	if err := r.sub.Unsubscribe(); err != nil {
		r.c.log.Debug("unsubscribe_failed", "subject", r.sub.Subject, "error", err)
	}
	r.unwatch()
	r.sub, r.known = nil, false
}

// Close stops reading and deletes the consumer.
func (r *Reader) Close() {
	if r.sub == nil {
		return
	}
	r.stop()
	if !r.c.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := r.c.js.DeleteConsumer(ctx, r.cfg.Stream, r.name); err != nil {
		r.c.log.Debug("consumer_left_to_expire", "stream", r.cfg.Stream, "error", err)
	}
}
