package history

import (
	"context"
	"log/slog"
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
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	from := now.Add(-72 * time.Hour).Truncate(30 * time.Minute)
	seq, want := uint64(0), uint64(0)
	for at := from; at.Before(now); at = at.Add(10 * time.Minute) {
		data, err := proto.EncodeLatency(delta("cart", "/", at))
		if err != nil {
			t.Fatal(err)
		}
		seq++
		want++
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
	for _, stream := range []string{proto.StreamLatency, proto.StreamRollup} {
		info, err := c.StreamInfo(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		bustest.RemoveOldest(t, server.URL, stream, int64(info.Messages/3))
	}
	h := New(Config{Bus: bustest.Connect(t, server.URL), Bytes: 64 << 20, Keep: 80 * time.Hour}, slog.New(slog.DiscardHandler))
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- h.Run(ctx) }()
	bustest.Eventually(t, func() bool { return h.State().Loaded == 1 }, "the past isn't read")
	var got uint64
	var missing string
	err = h.Show(t.Context(), query.Between(from, now), func(s *Span) {
		missing = s.Missing
		for _, r := range s.Table(query.By{}, 0, s.Len(), nil).Rows() {
			got += r.Hist.Count
		}
	})
	if err != nil || got != want || missing != "" {
		t.Errorf("%d requests of three days, want %d; missing: %q, %v", got, want, missing, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
