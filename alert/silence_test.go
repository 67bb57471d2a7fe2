package alert

import (
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

// Silences that can't be read any more count until they end. If none were ever read,
// what was silenced stays so, but in an install that has none.
func TestSilencesThatCannotBeRead(t *testing.T) {
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	at := time.Now()
	s, err := silence.New([]string{"Slow"}, time.Hour, "", "", at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	slow := newAlert(proto.Alert{State: Firing, Labels: map[string]string{"alertname": "Slow"}, Untold: true, SilencedBy: []string{s.ID}})
	begin := func() *turn {
		e := newEvaluator(nil, nil, nil, 0)
		again := *slow
		e.alerts[again.key()] = &again
		return &turn{alerter: &alerter{cfg: Config{Bus: conn}, log: quiet, now: time.Now}, e: e}
	}
	round := func(a *turn, at time.Time, changes int) {
		t.Helper()
		a.changes, a.silencesAgain = nil, time.Time{}
		if err := a.silence(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if len(a.changes) != changes {
			t.Errorf("%d changes, want %d", len(a.changes), changes)
		}
	}
	a := begin()
	round(a, at, 0)
	bustest.DeleteStream(t, server.URL, "KV_"+proto.BucketSilences)
	round(a, at, 0)
	round(a, at.Add(time.Hour), 1) // it has ended
	round(begin(), at, 1)          // of an earlier version
	server.Stop()                  // as if the bucket had no leader
	round(begin(), at, 0)
}
