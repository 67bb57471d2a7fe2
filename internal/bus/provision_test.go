package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestProvisionIsIdempotent(t *testing.T) {
	s, c := server(t)
	bustest.Provision(t, c, 1, 1)
	if n, err := c.Partitions(t.Context()); n != 1 || err != nil {
		t.Fatalf("partitions %d, %v", n, err)
	}
	s.Restart()
	bustest.Provision(t, c, 1, 1)
	info, err := c.StreamInfo(t.Context(), proto.StreamLatency)
	if err != nil || info.MaxAge != 24*time.Hour {
		t.Fatalf("latency stream %+v, %v", info, err)
	}
	larger := bus.Layout{RawBytes: 2 << 30, EnrichedBytes: 1, LatencyBytes: 1}
	if err := c.Provision(t.Context(), larger); err != nil {
		t.Fatal(err)
	}
	bustest.Admin(t, s.URL, func(ctx context.Context, js jetstream.JetStream) error {
		for name, want := range map[string]int64{proto.StreamRaw: 2 << 30, proto.StreamEnriched: 1 << 30} {
			stream, err := js.Stream(ctx, name)
			if err != nil {
				return err
			}
			if got := stream.CachedInfo().Config.MaxBytes; got != want {
				t.Errorf("%s: max_bytes %d, want %d", name, got, want)
			}
		}
		return nil
	})
}

func TestProvisionRefusesOtherPromises(t *testing.T) {
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	for _, p := range []int{3, 128, -1} {
		if err := c.Provision(t.Context(), bus.Layout{Partitions: p}); err == nil {
			t.Errorf("%d partitions accepted", p)
		}
	}
	bustest.Admin(t, s.URL, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: proto.StreamLatency, Subjects: []string{proto.SubjectsLatency}, MaxAge: time.Hour})
		return err
	})
	err := c.Provision(t.Context(), bus.Layout{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{proto.StreamLatency, "max_age is 1h0m0s, should be 24h0m0s", "allow_atomic", "nothing was changed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := c.StreamInfo(t.Context(), proto.StreamRaw); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("half provisioned: %v", err)
	}
	bustest.DeleteStream(t, s.URL, proto.StreamLatency)
	bustest.Provision(t, c, 4, 1)
	if err := c.Provision(t.Context(), bus.Layout{Partitions: 8}); err == nil || !strings.Contains(err.Error(), "partitions is 4, should be 8") {
		t.Errorf("other partitions: %v", err)
	}
}

// An install of a version that had no alerter gets what one needs.
func TestProvisionGrows(t *testing.T) {
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	bustest.Admin(t, s.URL, func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, proto.StreamAlerts)
		if err != nil {
			return err
		}
		old := stream.CachedInfo().Config
		if err := js.DeleteStream(ctx, proto.StreamAlerts); err != nil {
			return err
		}
		old.Subjects, old.AllowAtomicPublish = []string{proto.SubjectsAlert}, false
		_, err = js.CreateStream(ctx, old)
		return err
	})
	bustest.Provision(t, c, 1, 1)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Commit(t.Context(), []bus.Part{{Subject: proto.AlertSubject("page", "a"), Data: []byte("{}")}}, []byte("{}"), 1, 0, 1); err != nil {
		t.Fatal(err)
	}
}

func TestConnectErrors(t *testing.T) {
	_, err := bus.Connect(t.Context(), bus.Options{URL: "nats://127.0.0.1:1"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "nats://127.0.0.1:1") || !strings.Contains(err.Error(), "weir up") {
		t.Errorf("error %v", err)
	}
}

func TestServerErrors(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir, addr := t.TempDir(), bustest.FreeAddr(t)
	s, err := natsserver.Start(t.Context(), natsserver.Config{Dir: dir, Addr: addr}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "weir-format"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, addr, want string }{
		{t.TempDir(), addr, "is in use: stop what listens there"},
		{dir, "127.0.0.1:0", "in use by another process"},
		{file, "127.0.0.1:0", "create data folder"},
		{newer, "127.0.0.1:0", "written by a newer Weir (format 99"},
		{t.TempDir(), "127.0.0.1", "want host:port"},
		{t.TempDir(), "127.0.0.1:99999", "port must be"},
	} {
		_, err := natsserver.Start(t.Context(), natsserver.Config{Dir: tt.dir, Addr: tt.addr}, log)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s at %s: %v", tt.dir, tt.addr, err)
		}
	}
}

func TestInProcess(t *testing.T) {
	s, err := natsserver.Start(t.Context(), natsserver.Config{Dir: t.TempDir(), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c, err := bus.Connect(t.Context(), bus.Options{URL: s.URL(), InProcess: s}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bustest.Provision(t, c, 1, 1)
	publish(t, openLane(t, c, rawLane), 1, 0)
}
