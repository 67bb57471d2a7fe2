package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// What fired is known once, in whichever order it is heard, and not without end.
func TestEpisodes(t *testing.T) {
	a := newAlerts(nil, nil)
	began := time.Now().Add(-time.Hour)
	change := func(n int, status proto.AlertState, rule string) *proto.AlertChange {
		c := &proto.AlertChange{Status: string(status), Rule: rule, Fingerprint: fmt.Sprint(n), StartsAt: began.Add(time.Duration(n) * time.Millisecond)}
		if status == proto.AlertResolved {
			c.EndsAt = c.StartsAt.Add(time.Minute)
		}
		return c
	}
	a.add(change(0, proto.AlertFiring, "a"))
	a.add(change(0, proto.AlertFiring, "a")) // as one that is silenced no more is said again
	a.add(change(0, proto.AlertFiring, "b"))
	a.add(change(0, proto.AlertResolved, "a"))
	a.add(change(1, proto.AlertResolved, "a")) // its beginning has left the stream
	all := a.between(began.Add(-time.Minute), began.Add(time.Hour))
	if len(all) != 3 || all[0].to.IsZero() || all[0].Fingerprint != "1" || all[1].to.IsZero() == all[2].to.IsZero() {
		t.Errorf("%+v", all)
	}
	if late := a.between(began.Add(2*time.Minute), began.Add(time.Hour)); len(late) != 1 || late[0].Rule != "b" {
		t.Errorf("what is over is still there: %+v", late)
	}
	for n := 2; n < maxEpisodes+2; n++ {
		a.add(change(n, proto.AlertFiring, "a"))
	}
	known := a.known()
	if n := known.forgotten.since(began); len(a.episodes) != maxEpisodes || n != 3 {
		t.Errorf("%d are known, %d forgotten", len(a.episodes), n)
	}
	if n := known.forgotten.since(began.Add(2 * time.Minute)); n != 0 {
		t.Errorf("%d are forgotten of a time when none fired", n)
	}
	if all = a.between(began, began.Add(time.Hour)); all[0].Fingerprint != fmt.Sprint(maxEpisodes+1) || all[len(all)-1].Fingerprint != "2" {
		t.Errorf("kept are %s to %s", all[0].Fingerprint, all[len(all)-1].Fingerprint)
	}
	f := known.forgotten
	f.add(&episode{from: began.Add(2 * alertsKept)})
	if n := f.since(began); n != 1 {
		t.Errorf("%d are forgotten days after the storm", n)
	}
}

// Why alerts couldn't be read is said until they are, or there is nothing to read,
// also where no alerter has said anything yet.
func TestProblemOfAlerts(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	bustest.Provision(t, c, 1, 1)
	a := newAlerts(c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	wrong := func(where string) {
		a.say("it can't be read")
		go func() { done <- a.run(ctx) }()
		bustest.Eventually(t, func() bool { return a.known().problem == "" }, "the problem stays with %s", where)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	wrong("an empty stream")
	bustest.DeleteStream(t, server.URL, proto.StreamAlerts)
	wrong("no stream")
	cancel()
}
