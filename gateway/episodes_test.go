package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
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

	// What ended before the stream's time is no loss.
	a = newAlerts(nil, nil)
	for n := range maxEpisodes + 1 {
		c := change(n, proto.AlertResolved, "a")
		c.StartsAt = c.StartsAt.Add(-2 * alertsKept)
		c.EndsAt = c.StartsAt.Add(time.Minute)
		a.add(c)
	}
	if n := a.known().forgotten.count; n != 0 {
		t.Errorf("%d of long ago are said to be left out", n)
	}
}

// Who is told later of what began to fire silenced has heard of it.
func TestSilencedEpisodes(t *testing.T) {
	a := newAlerts(nil, nil)
	c := &proto.AlertChange{Status: string(proto.AlertFiring), StartsAt: time.Now(), Silenced: true}
	a.add(c)
	if !a.episodes[keyOf(c)].row().Silenced {
		t.Error("it began to fire silenced")
	}
	over := *c
	over.Status, over.EndsAt = string(proto.AlertResolved), time.Now()
	a.add(&over)
	if !a.episodes[keyOf(c)].row().Silenced {
		t.Error("it was silenced until its end")
	}
	told := *c
	told.Silenced = false
	a.add(&told)
	if a.episodes[keyOf(c)].row().Silenced {
		t.Error("it was told when no silence covered it any more")
	}
}

// What is told between two records is taken from the writer of the first alone.
func TestValuesFollowTheRecord(t *testing.T) {
	a := newAlerts(nil, nil)
	epoch := proto.Epoch{Number: 7, ID: "0123456789abcdef"}
	message := func(subject string, value int) *bus.Message {
		return &bus.Message{Subject: subject, Epoch: epoch, Seq: 3, Data: fmt.Appendf(nil, `{"v":1,"alerts":[{"state":"pending","value":%d}]}`, value)}
	}
	live := message(proto.SubjectAlertLive, 1)
	shown := func() (v proto.Number) {
		if k := a.known(); k.record != nil {
			v = k.record.Alerts[0].Value
		}
		return v
	}
	if err := a.refresh(live); err != nil || shown() != 0 {
		t.Errorf("without a record: %v, %v", shown(), err)
	}
	record := message(proto.SubjectAlertCommit, 2)
	record.Time = time.Now()
	if err := a.take(record); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]func(*bus.Message){
		"one that is delayed":       func(m *bus.Message) { m.Seq-- },
		"one that is early":         func(m *bus.Message) { m.Seq++ },
		"a rival":                   func(m *bus.Message) { m.Epoch.ID = "fedcba9876543210" },
		"no writer":                 func(m *bus.Message) { m.Foreign = true },
		"a copy of a record":        func(m *bus.Message) { m.Subject = proto.SubjectAlertCommit },
		"one that says no epoch":    func(m *bus.Message) { m.Epoch = proto.Epoch{} },
		"one that can't be decoded": func(m *bus.Message) { m.Data = nil },
	} {
		m := *live
		other(&m)
		if err := a.refresh(&m); (err != nil) != (m.Data == nil) || shown() != 2 {
			t.Errorf("%s is taken: %v, %v", name, shown(), err)
		}
	}
	if err := a.refresh(live); err != nil || shown() != 1 || !a.known().stored.Equal(record.Time) {
		t.Errorf("%v, %v", shown(), err)
	}
	if err := a.take(record); err != nil || shown() != 2 {
		t.Errorf("a record is passed over: %v, %v", shown(), err)
	}
}

// What an alerter said last is as old as the stream lets it be, however long the
// gateway runs.
func TestAlerterGone(t *testing.T) {
	a := newAlerts(nil, nil)
	firing := &proto.Alert{State: proto.AlertFiring, FiredAt: time.Now().Add(-48 * time.Hour)}
	a.record, a.rules = &proto.AlertRecord{Alerts: []*proto.Alert{firing}}, &proto.AlertRules{}
	for ago, known := range map[time.Duration]bool{time.Hour: true, 25 * time.Hour: false} {
		a.stored = time.Now().Add(-ago)
		k := a.known()
		if (k.record != nil) != known || (k.rules != nil) != known || (a.live(time.Now()) != nil) != known || (len(a.between(time.Now().Add(-time.Hour), time.Now())) > 0) != known {
			t.Errorf("after %s: %+v", ago, k)
		}
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
