package history

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// Three days are known by the half hour, although WEIR_LATENCY and the minutes
// have lost what is older than a day.
func TestThreeDays(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	now := time.Now()
	from, want := fill(t, c, now, 72*time.Hour)
	for _, stream := range []string{proto.StreamLatency, proto.StreamRollup} {
		info, err := c.StreamInfo(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		bustest.RemoveOldest(t, server.URL, stream, int64(info.Messages/3))
	}
	got, missing, unreadable := read(t, server, from, now)
	if got != want || missing != "" || unreadable > 0 {
		t.Errorf("%d requests of three days, want %d; missing: %q", got, want, missing)
	}
}

// A roll-up with a message that can't be read is left out: what WEIR_LATENCY has is
// exact without it, and it is said that the rest is missing.
func TestUnreadable(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	bustest.PublishOwn(t, server.URL, proto.StreamHistory, proto.HalfHours.Subject("host", "cart"), []byte("not one"))
	now := time.Now()
	from, want := fill(t, c, now, 30*time.Hour)
	if got, missing, unreadable := read(t, server, from, now); got != want || missing != "" || unreadable != 1 {
		t.Errorf("without half hours %d requests of 30 hours, want %d; %d messages unreadable, missing: %q", got, want, unreadable, missing)
	}
	for _, stream := range []string{proto.StreamLatency, proto.StreamRollup} {
		bustest.RemoveOldest(t, server.URL, stream, int64(want))
	}
	if got, missing, unreadable := read(t, server, from, now); got >= want || !strings.Contains(missing, "has expired") || unreadable != 1 {
		t.Errorf("without half hours %d requests of 30 hours, of %d; %d messages unreadable, missing: %q", got, want, unreadable, missing)
	}
}

// fill counts a request every ten minutes of the past, and has them rolled up.
func fill(t *testing.T, c *bus.Conn, now time.Time, past time.Duration) (from time.Time, requests uint64) {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	from = now.Add(-past).Truncate(30 * time.Minute)
	seq := uint64(0)
	for at := from; at.Before(now); at = at.Add(10 * time.Minute) {
		data, err := proto.EncodeLatency(delta("cart", "/", at))
		if err != nil {
			t.Fatal(err)
		}
		seq++
		record, err := proto.EncodeCommit(&proto.Commit{V: 1, Epoch: 1, EpochID: "a", Seq: seq, WatermarkNS: at.UnixNano(), Idle: true, Messages: 1, Events: 1})
		if err != nil {
			t.Fatal(err)
		}
		part := bus.Part{Subject: proto.LatencySubject("host", "cart"), Data: data}
		if _, err := lane.Commit(t.Context(), []bus.Part{part}, record, seq, seq, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: "a", CommitEvery: 50 * time.Millisecond}, slog.New(slog.DiscardHandler))
	}()
	bustest.WaitRolledUp(t, c, proto.Minutes, proto.HalfHours)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return from, seq
}

// read reads the past, and counts the requests of an interval.
func read(t *testing.T, server *bustest.Server, from, to time.Time) (got uint64, missing string, unreadable uint64) {
	t.Helper()
	h := New(Config{Bus: bustest.Connect(t, server.URL), Bytes: 64 << 20, Keep: 80 * time.Hour}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	bustest.Eventually(t, func() bool { return h.State().Loaded == 1 }, "the past isn't read")
	err := h.Show(t.Context(), query.Between(from, to), func(s *Span) {
		missing = s.Missing
		for _, r := range s.Table(query.By{}, 0, s.Len(), nil).Rows() {
			got += r.Hist.Count
		}
	})
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		t.Error(err)
	}
	return got, missing, h.Undecodable()
}
