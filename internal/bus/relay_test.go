package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// past is a message as a stream held it.
func past(i int) *bus.Message {
	return &bus.Message{
		Subject: "weir.enriched.p00", Sequence: uint64(i + 1), Time: time.Unix(1_700_000_000, int64(i)), Data: fmt.Appendf(nil, "message %d", i),
		Epoch: proto.Epoch{Number: 3, ID: "0123456789abcdef"}, Seq: uint64(i + 10), Src: uint64(i + 20), Count: 5,
	}
}

func TestRelayToSubscribers(t *testing.T) {
	s, c := server(t)
	nc, err := nats.Connect(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("replay.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := c.Relay(t.Context(), "replay.>")
	if err != nil || r.Stream != "" {
		t.Fatal(r, err)
	}
	defer r.Close()
	const n = 1000
	for i := range n {
		if err := r.Publish(t.Context(), "replay.enriched.p00", proto.StreamEnriched, past(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m, err := sub.NextMsg(bustest.Timeout)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != fmt.Sprint("message ", i) {
			t.Fatalf("message %d is %q", i, m.Data)
		}
		for header, want := range map[string]string{
			"Weir-Epoch": "3-0123456789abcdef", "Weir-Seq": fmt.Sprint(i + 10), "Weir-Src": fmt.Sprint(i + 20), "Weir-Count": "5",
			"Weir-Original-Stream": "WEIR_ENRICHED", "Weir-Original-Subject": "weir.enriched.p00",
			"Weir-Original-Sequence": fmt.Sprint(i + 1), "Weir-Original-Time": past(i).Time.UTC().Format(time.RFC3339Nano),
			"Nats-Msg-Id": "", "Nats-Expected-Stream": "",
		} {
			if got := m.Header.Get(header); got != want {
				t.Fatalf("message %d: %s is %q, want %q", i, header, got, want)
			}
		}
	}
}

// TestRelayIntoStream: a stream that stores the subject has every message, in
// order, or the replay says that it hasn't.
func TestRelayIntoStream(t *testing.T) {
	s, c := server(t)
	const n = 2000
	bustest.Admin(t, s.URL, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "REPLAYS", Subjects: []string{"replay.>"}, MaxMsgs: n, Discard: jetstream.DiscardNew})
		return err
	})
	r, err := c.Relay(t.Context(), "replay.events")
	if err != nil || r.Stream != "REPLAYS" {
		t.Fatal(r, err)
	}
	defer r.Close()
	for i := range n {
		if err := r.Publish(t.Context(), "replay.events", proto.StreamEnriched, past(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := stored(t, c, "REPLAYS", "replay.events")
	if len(got) != n {
		t.Fatalf("%d messages of %d", len(got), n)
	}
	for i, m := range got {
		if string(m.Data) != fmt.Sprint("message ", i) || !m.LogTime().Equal(past(i).Time) || m.Time.Equal(past(i).Time) {
			t.Fatalf("message %d is %q of %v", i, m.Data, m.LogTime())
		}
	}
	err = errors.Join(r.Publish(t.Context(), "replay.events", proto.StreamEnriched, past(n)), r.Flush(t.Context()))
	if err == nil || !strings.Contains(err.Error(), "publish to replay.events, which stream REPLAYS stores: ") {
		t.Errorf("one more than the stream takes: %v", err)
	}
}

func TestRelayDenied(t *testing.T) {
	s := secure(t, `{user: reader, password: p, permissions: {publish: "$JS.API.STREAM.NAMES", subscribe: "_INBOX_reader.>"}}`, false)
	_, port, _ := strings.Cut(s.Host, ":")
	c, _, err := connect(t, bus.Options{URL: "tls://reader:p@localhost:" + port, TLSCA: s.CA})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Relay(t.Context(), "replay.>")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = errors.Join(r.Publish(t.Context(), "replay.enriched.p00", proto.StreamEnriched, past(0)), r.Flush(t.Context()))
	var denied *bus.DeniedError
	if !errors.As(err, &denied) || denied.Subject != "replay.enriched.p00" {
		t.Errorf("a user who may not publish is told %v", err)
	}
}
