package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// markerTime is how long the server remembers that a key was removed. A key
// that is never used again would leave its marker there for good.
const markerTime = time.Hour

func bucketStream(bucket string) string       { return "KV_" + bucket }
func bucketSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// Value asks any replica of a bucket once for the value of a key; nil if it has
// none. It waits for a connection, and needs no permission beyond this key. The
// answer may be stale by a moment.
func (c *Conn) Value(ctx context.Context, bucket, key string) ([]byte, error) {
	a, cancel, err := c.attempt(ctx, requestTimeout)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var m *Message
	err = c.ask(a, apiDirect+bucketStream(bucket), func(a context.Context) (err error) {
		m, err = c.lastDirect(a, bucketStream(bucket), bucketSubject(bucket, key))
		return err
	})
	if errors.Is(err, nats.ErrNoResponders) {
		err = ErrNoStream
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of bucket %s: %w", key, bucket, err)
	}
	if m == nil || len(m.Data) == 0 { // never there, or removed
		return nil, nil
	}
	if m.Foreign {
		return nil, fmt.Errorf("read %s of bucket %s: message %d is none that Weir wrote", key, bucket, m.Sequence)
	}
	return m.Data, nil
}

// SetValue gives one key a value, or takes it from it if data is empty.
func (c *Conn) SetValue(ctx context.Context, bucket, key string, data []byte) error {
	a, cancel, err := c.attempt(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	t := &Table{c: c, bucket: bucket, rows: map[string]row{}}
	err = c.ask(a, apiDirect+bucketStream(bucket), func(a context.Context) error {
		m, err := c.lastDirect(a, bucketStream(bucket), bucketSubject(bucket, key))
		if err == nil && m != nil {
			t.rows[key] = row{m.Sequence, m.Data, m.Foreign && len(m.Data) > 0}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read %s of bucket %s: %w", key, bucket, err)
	}
	return t.Put(ctx, key, data)
}

// Table is a bucket as its one writer knows it. It is not safe for concurrent use.
type Table struct {
	c      *Conn
	bucket string
	rows   map[string]row
}

type row struct {
	revision uint64
	data     []byte // empty: removed
	foreign  bool   // to be written again in any case
}

// OpenTable reads all of a bucket.
func (c *Conn) OpenTable(ctx context.Context, bucket string) (*Table, error) {
	all, err := c.lastMessages(ctx, ReadConfig{Stream: bucketStream(bucket), Subjects: []string{bucketSubject(bucket, "*")}, Foreign: true})
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", bucket, err)
	}
	t := &Table{c: c, bucket: bucket, rows: map[string]row{}}
	for _, m := range all {
		t.rows[strings.TrimPrefix(m.Subject, bucketSubject(bucket, ""))] = row{m.Sequence, m.Data, m.Foreign && len(m.Data) > 0}
	}
	return t, nil
}

// Keys are those that have a value.
func (t *Table) Keys() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(t.rows)), func(key string) bool { return len(t.rows[key].data) == 0 })
}

// Get is a key's value; nil if it has none, or none that Weir wrote.
func (t *Table) Get(key string) []byte {
	if r := t.rows[key]; !r.foreign && len(r.data) > 0 {
		return r.data
	}
	return nil
}

// Put gives a key a value, or takes it from it if data is empty. What has the
// value already isn't written. It fails if somebody else has written meanwhile,
// or it is unknown whether it worked: open the table anew.
func (t *Table) Put(ctx context.Context, key string, data []byte) error {
	return t.PutFor(ctx, key, data, 0)
}

// PutFor is Put of a value that the server removes after a while; 0 is never.
func (t *Table) PutFor(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	old := t.rows[key]
	if !old.foreign && bytes.Equal(old.data, data) {
		return nil
	}
	m := nats.NewMsg(bucketSubject(t.bucket, key))
	m.Data = data
	m.Header.Set(jetstream.ExpectedStreamHeader, bucketStream(t.bucket))
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(old.revision))
	if ttl > 0 {
		m.Header.Set(jetstream.MsgTTLHeader, max(ttl.Truncate(time.Second), time.Second).String())
	}
	if len(data) == 0 { // as clients of buckets mark it
		m.Header.Set("KV-Operation", "PURGE")
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		m.Header.Set(jetstream.MsgTTLHeader, markerTime.String())
	}
	a, cancel, err := t.c.attempt(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	var ack *jetstream.PubAck
	err = t.c.ask(a, m.Subject, func(a context.Context) (err error) {
		ack, err = t.c.request(a, m)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s of bucket %s: %w", key, t.bucket, err)
	}
	t.rows[key] = row{revision: ack.Sequence, data: data}
	return nil
}
