package bustest

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Admin does what an administrator might do to the streams.
func Admin(t testing.TB, url string, do func(context.Context, jetstream.JetStream) error) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(t.Context(), js); err != nil {
		t.Fatal(err)
	}
}

// Publish stores a message as anybody might, who isn't one of Weir's writers.
func Publish(t testing.TB, url, subject string, data []byte) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.Publish(ctx, subject, data)
		return err
	})
}

// PublishOwn stores a message as one of Weir's writers does.
func PublishOwn(t testing.TB, url, stream, subject string, data []byte) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.Publish(ctx, subject, data, jetstream.WithExpectStream(stream))
		return err
	})
}

// DeleteStream deletes a stream.
func DeleteStream(t testing.TB, url, name string) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, name) })
}

// RemoveOldest lets only the last n messages of a stream remain, as if the
// others had expired.
func RemoveOldest(t testing.TB, url, name string, n int64) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := s.CachedInfo().Config
		limit := cfg.MaxMsgs
		cfg.MaxMsgs = n
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			return err
		}
		cfg.MaxMsgs = limit
		_, err = js.UpdateStream(ctx, cfg)
		return err
	})
}

// Fill has a stream refuse whatever is published, as if the disk were full.
func Fill(t testing.TB, url, name string) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := s.CachedInfo().Config
		cfg.Discard, cfg.MaxBytes = jetstream.DiscardNew, 1
		_, err = js.UpdateStream(ctx, cfg)
		return err
	})
}

// ReadStored is all that a stream holds, with all headers.
func ReadStored(t testing.TB, url, name string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		return nil
	})
	return all
}

// CreateStream makes a stream that takes atomic batches, as an earlier version may
// have had it.
func CreateStream(t testing.TB, url, name string, subjects ...string) {
	t.Helper()
	Admin(t, url, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: subjects, AllowAtomicPublish: true})
		return err
	})
}
