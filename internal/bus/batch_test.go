package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

var commitLane = bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true}

func parts(n int, text string) []bus.Part {
	out := make([]bus.Part, n)
	for i := range out {
		out[i] = bus.Part{Subject: proto.LatencySubject("host", fmt.Sprint("w", i)), Data: []byte(text)}
	}
	return out
}

func commit(t *testing.T, l *bus.Lane, n int, seq uint64) {
	t.Helper()
	text := fmt.Sprint(seq)
	if _, err := l.Commit(t.Context(), parts(n, text), []byte(text), seq, seq, n); err != nil {
		t.Fatal(err)
	}
}

func TestCommitIsAllOrNothing(t *testing.T) {
	_, c := server(t)
	a := openLane(t, c, commitLane)
	commit(t, a, 3, 1)
	commit(t, a, 0, 2) // a record alone
	b := openLane(t, c, commitLane)
	if b.Last().Src != 2 {
		t.Fatalf("last record %+v", b.Last())
	}
	commit(t, b, 2, 1)
	if _, err := a.Commit(t.Context(), parts(5, "refused"), []byte("refused"), 3, 3, 5); !errors.Is(err, bus.ErrRival) {
		t.Fatalf("rival: %v", err)
	}
	if got := texts(stored(t, c, commitLane.Stream, proto.SubjectsLatency)); got != "1 1 1 1 1" {
		t.Errorf("stored parts %q", got)
	}
	if got := texts(stored(t, c, commitLane.Stream, proto.SubjectsCommit)); got != "1 2 1" {
		t.Errorf("stored records %q", got)
	}
	commit(t, b, proto.MaxBatchMsgs-1, 2)
	if _, err := b.Commit(t.Context(), parts(proto.MaxBatchMsgs, ""), nil, 3, 3, 0); !errors.Is(err, bus.ErrBatchTooLarge) {
		t.Errorf("too large: %v", err)
	}
	commit(t, b, 1, 3)
}

func TestLiveSubscribersSeeOnlyWhatWasCommitted(t *testing.T) {
	_, c := server(t)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var seen []bus.Message
	done := make(chan error, 1)
	ready := bustest.Connect(t, c.URL())
	go func() {
		done <- ready.Subscribe(ctx, proto.StreamLatency, proto.SubjectsLive, func(m bus.Message) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, m)
		})
	}()
	has := func(text string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.ContainsFunc(seen, func(m bus.Message) bool { return string(m.Data) == text })
		}
	}
	a, b := openLane(t, c, commitLane), openLane(t, c, commitLane)
	seq := uint64(0)
	bustest.Eventually(t, func() bool { // until the subscription is there
		seq++
		commit(t, a, 1, seq)
		return has(fmt.Sprint(seq))() || has(fmt.Sprint(seq-1))()
	}, "nothing arrives")
	if _, err := b.Commit(t.Context(), parts(5, "refused"), []byte("refused"), 1, 1, 5); !errors.Is(err, bus.ErrRival) {
		t.Fatal(err)
	}
	commit(t, a, 1, seq+1)
	bustest.Eventually(t, has(fmt.Sprint(seq+1)), "the last commit does not arrive")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if has("refused")() {
		t.Error("a refused message was seen")
	}
	if m := seen[0]; m.Sequence == 0 || m.Time.IsZero() || m.Subject != proto.LiveSubject("host", "w0") {
		t.Errorf("message %+v", m)
	}
}

func TestCommitsSurviveKilledServer(t *testing.T) {
	p := bustest.StartProcess(t)
	c := bustest.Connect(t, p.URL)
	bustest.Provision(t, c, 1, 1)
	const n, size = 60, 20
	done := make(chan error, 1)
	progress := make(chan uint64, n)
	l := openLane(t, c, commitLane)
	go func() {
		for seq := uint64(1); seq <= n; seq++ {
			text := fmt.Sprint(seq)
			if _, err := l.Commit(t.Context(), parts(size, text), []byte(text), seq, seq, size); err != nil {
				done <- err
				return
			}
			progress <- seq
		}
		done <- nil
	}()
	for range 5 {
		for range n / 7 {
			<-progress
		}
		p.Kill()
		p.Start()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, stored(t, c, commitLane.Stream, proto.SubjectsCommit), n)
	for i := range size {
		checkNumbers(t, stored(t, c, commitLane.Stream, proto.LatencySubject("host", fmt.Sprint("w", i))), n)
	}
}
