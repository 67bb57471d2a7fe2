package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

// ErrNoStream says that a stream does not exist: it has to be provisioned.
var ErrNoStream = errors.New("stream does not exist: create it with `weir provision` or `weir up`")

// Subjects of JetStream's interface, followed by a stream's name.
const (
	apiInfo     = "$JS.API.STREAM.INFO."
	apiNames    = "$JS.API.STREAM.NAMES"
	apiCreate   = "$JS.API.STREAM.CREATE."
	apiUpdate   = "$JS.API.STREAM.UPDATE."
	apiGet      = "$JS.API.STREAM.MSG.GET."
	apiDirect   = "$JS.API.DIRECT.GET."
	apiConsumer = "$JS.API.CONSUMER.CREATE."
	apiNext     = "$JS.API.CONSUMER.MSG.NEXT."
)

// Message is a message as a stream stores it.
type Message struct {
	Subject  string
	Sequence uint64    // in the stream
	Time     time.Time // when the stream stored it
	Data     []byte

	Epoch proto.Epoch // of the lane's writer; zero if it was not sent through a lane
	Seq   uint64      // number within the epoch
	Src   uint64      // input position consumed up to
	Count uint64      // events

	// Original is when the stream stored it of which this is a replay; zero if it
	// isn't one.
	Original time.Time

	// Foreign says that none of Weir's writers published it to its stream. Whoever
	// may ask the server for anything can have the answer sent to any subject: a
	// copy of another message, say, whose headers and data he chose.
	Foreign bool
}

// LogTime is when the stream stored the message, or the one of which it is a
// replay: what was decided by it is decided the same again.
func (m *Message) LogTime() time.Time {
	if !m.Original.IsZero() {
		return m.Original
	}
	return m.Time
}

// FromLane tells whether the message was published through a lane.
func (m *Message) FromLane() bool { return !m.Foreign && m.Epoch != proto.Epoch{} && m.Seq > 0 }

// readHeaders fills the fields that come from headers. Writers name the stream
// that they mean, and a stream refuses what means another: so what is stored
// and names none, or another (its own check came later), is no writer's.
func (m *Message) readHeaders(header nats.Header, stream string) {
	m.Foreign = header.Get(jetstream.ExpectedStreamHeader) != stream
	m.Epoch, _ = proto.ParseEpoch(header.Get(proto.HeaderEpoch)) // zero if another program wrote it
	m.Seq = parseUint(header.Get(proto.HeaderSeq))
	m.Src = parseUint(header.Get(proto.HeaderSrc))
	m.Count = parseUint(header.Get(proto.HeaderCount))
	if original := header.Get(proto.HeaderOriginalTime); original != "" {
		m.Original, _ = time.Parse(time.RFC3339Nano, original)
	}
}

// parseUint returns 0 for what is not a number: another program wrote it.
func parseUint(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// lastFromLeader reads the last message of a subject from the stream's
// leader, so it is never stale. It returns nil if there is none.
func (c *Conn) lastFromLeader(ctx context.Context, stream, subject string) (*Message, error) {
	return c.fromLeader(ctx, stream, map[string]any{"last_by_subj": subject})
}

// nextFromLeader is the first message of a subject at or after a sequence.
func (c *Conn) nextFromLeader(ctx context.Context, stream, subject string, sequence uint64) (*Message, error) {
	return c.fromLeader(ctx, stream, map[string]any{"next_by_subj": subject, "seq": sequence})
}

func (c *Conn) fromLeader(ctx context.Context, stream string, query map[string]any) (*Message, error) {
	request, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	reply, err := c.nc.RequestWithContext(ctx, apiGet+stream, request)
	if err != nil {
		return nil, err
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &r); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if r.Error != nil {
		return nil, noMessage(r.Error)
	}
	m := &Message{Subject: r.Message.Subject, Sequence: r.Message.Sequence, Time: r.Message.Time, Data: r.Message.Data}
	var header nats.Header
	if len(r.Message.Header) > 0 {
		header, _ = nats.DecodeHeadersMsg(r.Message.Header) // none if they can't be read
	}
	m.readHeaders(header, stream)
	return m, nil
}

// lastDirect reads the last message of a subject from any replica: it may be
// stale, but needs no permission beyond this one subject.
func (c *Conn) lastDirect(ctx context.Context, stream, subject string) (*Message, error) {
	reply, err := c.nc.RequestWithContext(ctx, apiDirect+stream+"."+subject, nil)
	if err != nil {
		return nil, err
	}
	m := &Message{Subject: subject, Data: reply.Data, Sequence: parseUint(ownHeader(reply, jetstream.SequenceHeader))}
	if m.Sequence == 0 {
		switch status := reply.Header.Get("Status"); status {
		case "404":
			return nil, nil
		case "":
			return nil, errUnreadable
		default:
			return nil, fmt.Errorf("server answered %s %s", status, reply.Header.Get("Description"))
		}
	}
	if m.Time, err = time.Parse(time.RFC3339Nano, ownHeader(reply, jetstream.TimeStampHeaer)); err != nil {
		return nil, fmt.Errorf("decode time of message %d: %w", m.Sequence, err)
	}
	m.readHeaders(reply.Header, stream)
	return m, nil
}

// errUnreadable is of a message whose headers are none: then it can't be told
// which sequence it has.
var errUnreadable = errors.New("the message's headers can't be read")

// ownHeader is a header that the server added to a stored message's: it comes
// last, and the message may have brought others of that name.
func ownHeader(m *nats.Msg, key string) string {
	all := m.Header[key]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// LastMessage asks the leader of a stream for a subject's last message, foreign
// or not; nil if there is none.
func (c *Conn) LastMessage(ctx context.Context, stream, subject string) (m *Message, err error) {
	err = c.retry(ctx, apiGet+stream, func(a context.Context) (err error) {
		m, err = c.lastFromLeader(a, stream, subject)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read last message of %s in %s: %w", subject, stream, err)
	}
	return m, nil
}

// Stores reports whether a stream that is there stores a subject, and this user may
// publish to it. It asks with a message that is refused in any case.
func (c *Conn) Stores(ctx context.Context, stream, subject string) (stores bool, err error) {
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.ExpectedStreamHeader, stream)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatInt(math.MaxInt64, 10))
	err = c.retry(ctx, subject, func(a context.Context) error {
		_, err := c.request(a, m)
		switch stores = isWrongSequence(err); {
		case stores, errors.Is(err, jetstream.ErrNoStreamResponse), errorCode(err) == codeStreamMismatch:
			return nil
		}
		return err
	})
	var denied *DeniedError
	if errors.As(err, &denied) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask whether %s stores %s: %w", stream, subject, err)
	}
	return stores, nil
}

// LastSequence is the sequence of a subject's last message; 0 if there is none.
func (c *Conn) LastSequence(ctx context.Context, stream, subject string) (uint64, error) {
	m, err := c.LastMessage(ctx, stream, subject)
	if m == nil {
		return 0, err
	}
	return m.Sequence, nil
}

// noMessage returns nil for the error that says there is no message.
func noMessage(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case jetstream.JSErrCodeMessageNotFound:
		return nil
	case jetstream.JSErrCodeStreamNotFound:
		return ErrNoStream
	}
	return err
}

// StreamInfo is what a stream holds now.
type StreamInfo struct {
	Created   time.Time
	FirstSeq  uint64 // 1 above LastSeq if it is empty
	LastSeq   uint64
	FirstTime time.Time // zero if it is empty
	LastTime  time.Time
	Messages  uint64
	Bytes     uint64
	MaxAge    time.Duration
	MaxBytes  int64 // on disk; -1 for no bound
	Replicas  int
}

// ramp is the start of a stream whose windows have lost their first deltas to the
// stream's limits.
const ramp = time.Minute

// Oldest is the time before which windows have lost deltas to the stream's
// limits, unix nanoseconds; 0 if it has lost none.
func (s StreamInfo) Oldest() int64 {
	if s.FirstSeq <= 1 {
		return 0
	}
	return s.FirstTime.Add(ramp).UnixNano()
}

// StreamInfo asks the leader of a stream what it holds.
func (c *Conn) StreamInfo(ctx context.Context, stream string) (StreamInfo, error) {
	var i *jetstream.StreamInfo
	err := c.retry(ctx, apiInfo+stream, func(a context.Context) error {
		s, err := c.js.Stream(a, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return ErrNoStream
		}
		if err == nil {
			i = s.CachedInfo()
		}
		return err
	})
	if err != nil {
		return StreamInfo{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return StreamInfo{
		Created:   i.Created,
		FirstSeq:  i.State.FirstSeq,
		LastSeq:   i.State.LastSeq,
		FirstTime: i.State.FirstTime,
		LastTime:  i.State.LastTime,
		Messages:  i.State.Msgs,
		Bytes:     i.State.Bytes,
		MaxAge:    i.Config.MaxAge,
		MaxBytes:  i.Config.MaxBytes,
		Replicas:  i.Config.Replicas,
	}, nil
}
