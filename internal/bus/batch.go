package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

// Headers of JetStream's atomic batches (ADR-50).
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// batchHeaderBytes is a bound on what headers add to a message of a batch.
const batchHeaderBytes = 512

// ErrBatchTooLarge says that messages do not fit into one atomic batch.
var ErrBatchTooLarge = errors.New("atomic batch is too large")

// Part is a message that is stored together with a lane's message.
type Part struct {
	Subject string
	Data    []byte
	Header  map[string]string // of this message alone; may be nil
}

// Commit stores parts and then the lane's own message, all or none. It is
// [Lane.Publish] otherwise: it returns when that is done, and repeats the same
// bytes while the outcome is unknown, so nothing else may join them.
// At most [proto.MaxBatchMsgs] messages and [proto.MaxBatchBytes].
func (l *Lane) Commit(ctx context.Context, parts []Part, data []byte, seq, src uint64, count int) (uint64, error) {
	size := len(data) + batchHeaderBytes
	for i := range parts {
		size += len(parts[i].Data) + batchHeaderBytes
		for key, value := range parts[i].Header {
			size += len(key) + len(value) + 4
		}
	}
	if len(parts)+1 > proto.MaxBatchMsgs || size > proto.MaxBatchBytes {
		return 0, fmt.Errorf("%w: %d messages, %d bytes", ErrBatchTooLarge, len(parts)+1, size)
	}
	return l.store(ctx, seq, func(a context.Context) (*jetstream.PubAck, error) {
		record := l.message(data, seq, src, count)
		if len(parts) == 0 {
			return l.c.request(a, record)
		}
		return l.c.requestBatch(a, l.cfg.Stream, parts, record)
	})
}

// requestBatch sends one atomic batch under a new id. The server says only at
// the end whether it took it; what it did not take is as if never sent.
func (c *Conn) requestBatch(ctx context.Context, stream string, parts []Part, record *nats.Msg) (*jetstream.PubAck, error) {
	id := randomID()
	for i := range parts {
		m := nats.NewMsg(parts[i].Subject)
		m.Data = parts[i].Data
		for key, value := range parts[i].Header {
			m.Header.Set(key, value)
		}
		m.Header.Set(jetstream.ExpectedStreamHeader, stream)
		m.Header.Set(headerBatchID, id)
		m.Header.Set(headerBatchSeq, fmt.Sprint(i+1))
		if err := c.nc.PublishMsg(m); err != nil {
			return nil, err
		}
	}
	record.Header.Set(headerBatchID, id)
	record.Header.Set(headerBatchSeq, fmt.Sprint(len(parts)+1))
	record.Header.Set(headerBatchCommit, "1")
	return c.request(ctx, record)
}
