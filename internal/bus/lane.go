package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

// Codes of JetStream's answers that a lane knows.
const (
	codeStreamMismatch = 10060
	codeTooLarge       = 10054
	codeWrongSequence  = 10071
	codeWrongSequence2 = 10164
	codeBatchTooLarge  = 10199
	codeBatchHeader    = 10177
)

// ErrRival says that another writer took the lane. Its message names it.
var ErrRival = errors.New("another writer has the lane")

// LaneConfig names a lane.
type LaneConfig struct {
	Stream  string
	Subject string
	Direct  bool // read the last message by direct get: all that an agent may do
	Input   bool // messages are made from an input, src is a position in it
}

// Lane is one subject with one writer and one publish in flight. It is not
// safe for concurrent use.
//
// Each publish is fenced on the sequence of the lane's last message, so of
// two writers only one gets through, and repeated with the same bytes until
// it is answered, so it is stored exactly once.
type Lane struct {
	c        *Conn
	cfg      LaneConfig
	epoch    proto.Epoch
	last     *Message
	expected uint64 // stream sequence of the lane's last message
	doubt    uint64 // number of the message whose fate is unknown, or 0
}

// OpenLane reads the lane's last message and starts an epoch above its own.
// It waits for a server that is away, or not ready yet.
func (c *Conn) OpenLane(ctx context.Context, cfg LaneConfig) (*Lane, error) {
	l := &Lane{c: c, cfg: cfg}
	last, end, err := l.readLast(ctx)
	if err != nil {
		return nil, fmt.Errorf("open lane %s: %w", cfg.Subject, err)
	}
	l.last, l.expected = last, end
	l.epoch = proto.Epoch{Number: firstEpoch(time.Now()), ID: randomID()}
	if last != nil {
		l.epoch.Number = last.Epoch.Number + 1
	}
	return l, nil
}

// firstEpoch numbers the first epoch of a lane that holds no message. Its
// messages may have expired while readers still remember their epochs (a
// commit record for 24 h, a raw stream for 2 h), so it has to be above them:
// the time in seconds is, since epochs rise by one a restart.
func firstEpoch(now time.Time) uint64 { return uint64(now.Unix()) }

// Epoch is this writer's epoch.
func (l *Lane) Epoch() proto.Epoch { return l.epoch }

// Last is the last message of a writer when the lane was opened; nil if none.
func (l *Lane) Last() *Message { return l.last }

// Publish stores a message and returns its stream sequence. seq is its number
// within the epoch (1, 2, …), src the position up to which the input is consumed
// with it (0 if the lane has no input), count the events in it.
//
// It returns only when the message is stored, ctx ends, or it never can be
// stored ([ErrRival], a message too large). If ctx ends its fate is unknown,
// and the only message the lane then takes is the same one again.
//
// A lane without input goes on after a writer with a lower epoch. A lane with
// an input returns [ErrRival] for any other writer, since that one consumed
// some of the input: open the lane anew and start from its last message.
func (l *Lane) Publish(ctx context.Context, data []byte, seq, src uint64, count int) (uint64, error) {
	return l.store(ctx, seq, func(a context.Context) (*jetstream.PubAck, error) {
		m := l.message(data, seq, src, count)
		m.Header.Set(jetstream.MsgIDHeader, proto.MsgID(l.cfg.Subject, l.epoch, seq))
		return l.c.request(a, m)
	})
}

// Tell publishes outside any stream, at most once and not while there is no
// connection, as the lane's writer: with its stream and epoch, and the number of
// the stored message that it goes with.
func (l *Lane) Tell(subject string, data []byte, seq uint64) error {
	if !l.c.Connected() {
		return nil // it would be old by then
	}
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(jetstream.ExpectedStreamHeader, l.cfg.Stream)
	m.Header.Set(proto.HeaderEpoch, l.epoch.String())
	m.Header.Set(proto.HeaderSeq, fmt.Sprint(seq))
	if err := l.c.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// message makes the lane's message with the fence as it is now.
func (l *Lane) message(data []byte, seq, src uint64, count int) *nats.Msg {
	m := nats.NewMsg(l.cfg.Subject)
	m.Data = data
	m.Header.Set(jetstream.ExpectedStreamHeader, l.cfg.Stream)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(l.expected))
	m.Header.Set(proto.HeaderEpoch, l.epoch.String())
	m.Header.Set(proto.HeaderSeq, fmt.Sprint(seq))
	m.Header.Set(proto.HeaderCount, fmt.Sprint(count))
	if src > 0 {
		m.Header.Set(proto.HeaderSrc, fmt.Sprint(src))
	}
	return m
}

// store runs send until message seq is stored.
func (l *Lane) store(ctx context.Context, seq uint64, send func(context.Context) (*jetstream.PubAck, error)) (uint64, error) {
	if l.doubt != 0 && l.doubt != seq {
		return 0, fmt.Errorf("publish message %d on %s: the fate of message %d is unknown", seq, l.cfg.Subject, l.doubt)
	}
	l.doubt = seq
	wait := newBackOff()
	for {
		ack, err := l.once(ctx, send)
		if err == nil {
			return l.stored(ack, wait.tries), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if isFinal(err) {
			l.doubt = 0
			return 0, fmt.Errorf("publish on %s: %w", l.cfg.Subject, err)
		}
		if isWrongSequence(err) {
			last, end, rerr := l.readLast(ctx)
			done := false
			if rerr == nil {
				done, rerr = l.resume(last, max(end, endOf(err)), seq)
			}
			if done || errors.Is(rerr, ErrRival) {
				l.doubt = 0
				return l.expected, rerr
			}
		}
		l.c.retries.Add(1)
		if wait.tries == 0 {
			l.c.log.Warn("publish_retrying", "lane", l.cfg.Subject, "seq", seq, "error", err)
		}
		if err := wait.sleep(ctx); err != nil {
			return 0, err
		}
	}
}

func (l *Lane) once(ctx context.Context, send func(context.Context) (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
	a, cancel, err := l.c.attempt(ctx, requestTimeout)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return send(a)
}

func (l *Lane) stored(ack *jetstream.PubAck, tries int) uint64 {
	if ack.Duplicate {
		l.c.duplicates.Add(1)
	}
	if tries > 0 {
		l.c.log.Info("publish_recovered", "lane", l.cfg.Subject, "tries", tries+1)
	}
	l.expected, l.doubt = ack.Sequence, 0
	return ack.Sequence
}

// resume decides how to go on after last, the last message of a writer on the
// lane: it is mine and stored, or the fence moves to the lane's end, or a rival
// has the lane.
func (l *Lane) resume(last *Message, end, seq uint64) (done bool, err error) {
	switch {
	case last == nil:
		l.expected = end
	case last.Epoch == l.epoch:
		l.expected = end
		return last.Seq >= seq, nil
	case !l.cfg.Input && last.Epoch.Number < l.epoch.Number:
		l.expected = end
	default:
		return false, fmt.Errorf("%w: %s: epoch %s wrote message %d at %s, this one is epoch %s", ErrRival,
			l.cfg.Subject, last.Epoch, last.Seq, last.Time.UTC().Format(time.RFC3339), l.epoch)
	}
	return false, nil
}

// readLast reads the last message that a writer published to the lane, trying
// again until ctx ends, and the sequence of whatever is last.
func (l *Lane) readLast(ctx context.Context) (last *Message, end uint64, err error) {
	read, api := l.c.lastFromLeader, apiGet
	if l.cfg.Direct {
		read, api = l.c.lastDirect, apiDirect
	}
	err = l.c.retry(ctx, api+l.cfg.Stream, func(a context.Context) (err error) {
		last, err = read(a, l.cfg.Stream, l.cfg.Subject)
		if errors.Is(err, errUnreadable) { // the refusal of a publish will tell
			last, err = nil, nil
		}
		return err
	})
	if err == nil && last != nil {
		end = last.Sequence
		if !last.FromLane() {
			l.c.log.Warn("lane_holds_foreign_message", "lane", l.cfg.Subject, "sequence", end)
			last, err = l.searchBack(ctx, end)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read last message of %s in %s: %w", l.cfg.Subject, l.cfg.Stream, err)
	}
	return last, end, nil
}

// searchBack finds the last message of a writer below a sequence, in steps that
// grow. Who may only read the lane's end (Direct) finds none, and goes on as if
// the lane were empty: its epoch is above all before, and what it sends again is
// known by its id.
func (l *Lane) searchBack(ctx context.Context, below uint64) (found *Message, err error) {
	for span := uint64(64); !l.cfg.Direct && found == nil && below > 1; span *= 4 {
		from := below - min(span, below-1)
		for at := from; at < below; {
			var m *Message
			err := l.c.retry(ctx, apiGet+l.cfg.Stream, func(a context.Context) (err error) {
				m, err = l.c.nextFromLeader(a, l.cfg.Stream, l.cfg.Subject, at)
				return err
			})
			if err != nil {
				return nil, err
			}
			if m == nil || m.Sequence >= below {
				break
			}
			if m.FromLane() {
				found = m
			}
			at = m.Sequence + 1
		}
		below = from
	}
	return found, nil
}

// request publishes one message and returns JetStream's answer.
func (c *Conn) request(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	return c.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
}

func errorCode(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// endOf is the sequence of a lane's last message as the server says it when it
// refuses a publish, 0 if it doesn't.
func endOf(err error) (sequence uint64) {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		_, _ = fmt.Sscanf(api.Description, "wrong last sequence: %d", &sequence)
	}
	return sequence
}

func isWrongSequence(err error) bool {
	code := errorCode(err)
	return code == codeWrongSequence || code == codeWrongSequence2
}

// isFinal tells whether sending the same again can never help. Everything
// else is repeated: no space, no leader, no responders, a lost answer.
func isFinal(err error) bool {
	switch errorCode(err) {
	case codeStreamMismatch, codeTooLarge, codeBatchTooLarge, codeBatchHeader:
		return true
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrBadHeaderMsg)
}
