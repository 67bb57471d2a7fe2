package gateway

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// A frame of an enricher that can't be read, of a later version say, ends nobody's
// following: what it holds is said to be skipped.
func TestFollowingPastUnreadableFrames(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	tap := newTap(c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tap.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	f, err := tap.join()
	if err != nil {
		t.Fatal(err)
	}
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	frame := bustest.NewLoad("node1", lane.Epoch(), 1).Next(4, time.Now().UnixNano())
	bustest.Enrich(frame)
	good, err := frame.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The tap begins to read at some time after somebody has joined.
	seen := uint64(0)
	for seq := uint64(1); seen == 0 || f.skipped.Load() == 0; seq += 2 {
		for i, data := range [][]byte{[]byte("of a later version"), good} {
			if _, err := lane.Publish(t.Context(), data, seq+uint64(i), seq+uint64(i), 4); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case got := <-f.frames:
			seen += uint64(len(got.Events))
		case err := <-f.failed:
			t.Fatal(err)
		case <-time.After(100 * time.Millisecond):
		}
		if seq > 1000 {
			t.Fatalf("%d events seen, %d skipped", seen, f.skipped.Load())
		}
	}
	if n := f.skipped.Load(); n%4 != 0 {
		t.Errorf("%d events skipped, not frames of 4", n)
	}
}
