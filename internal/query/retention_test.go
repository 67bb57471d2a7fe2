package query

import (
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// TestRetentionOfStreams takes the rate from what was written lately.
func TestRetentionOfStreams(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	read := func(now time.Time) Retention {
		t.Helper()
		kept, err := ReadRetention(t.Context(), c, now)
		if err != nil || len(kept) != 5 || kept[0].Stream != proto.StreamRaw {
			t.Fatalf("got %+v, %v", kept, err)
		}
		return kept[0]
	}
	if r := read(time.Now()); r.BytesPerHour != 0 || r.Full() != 0 || r.Short() || r.MaxAge != 2*time.Hour || r.MaxBytes != 1<<30 {
		t.Errorf("empty: got %+v", r)
	}
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, "n")})
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(100) {
		if _, err := lane.Publish(t.Context(), make([]byte, 10_000), seq+1, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	// All within a minute, which is the least that a rate is taken over: 1 MB
	// and some headers.
	r := read(time.Now())
	if mb := r.BytesPerHour / 60e6; mb < 1 || mb > 1.1 {
		t.Errorf("%v MB/min, want 1 and a little", mb)
	}
	if r.Full() < 16*time.Hour || r.Full() > 18*time.Hour || r.Short() {
		t.Errorf("full after %v, short %v", r.Full(), r.Short())
	}
	// Five minutes later the same is a fifth of it; after ten, nothing.
	if mb := read(time.Now().Add(5*time.Minute)).BytesPerHour / 60e6; mb < 0.19 || mb > 0.23 {
		t.Errorf("after five minutes: %v MB/min", mb)
	}
	if r := read(time.Now().Add(11 * time.Minute)); r.BytesPerHour != 0 {
		t.Errorf("after eleven minutes: %+v", r)
	}
}
