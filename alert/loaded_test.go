package alert

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

// toldRules are what is said of the rules, and in which order with the records.
func (p *past) toldRules() (rules []*proto.AlertRules, order string) {
	p.Helper()
	for _, m := range bustest.ReadStored(p, p.server.URL, proto.StreamAlerts) {
		switch m.Subject {
		case proto.SubjectAlertRules:
			r, err := proto.DecodeAlertRules(m.Data)
			if err != nil {
				p.Fatal(err)
			}
			rules, order = append(rules, r), order+"r"
		case proto.SubjectAlertCommit:
			order += "c"
		}
	}
	return rules, order
}

// The stream says what rules there are: once, again when they are others, and
// not again when an alerter goes on that has the same.
func TestRulesAreTold(t *testing.T) {
	p := newPast(t)
	conn := bustest.Connect(t, p.server.URL)
	// A foreign message isn't what an alerter said.
	bustest.Publish(t, p.server.URL, proto.SubjectAlertRules, []byte(`{"v":1,"groups":[]}`))
	cfg := p.config(conn, "a")
	cfg.More = func() ([]*Group, error) {
		groups, err := Parse("slo", []byte("groups: [{name: cart, rules: [{record: a, expr: vector(1)}]}]"), time.Minute)
		if err == nil {
			groups[0].Objective = &proto.Objective{SLO: "cart"}
		}
		return groups, err
	}
	stop := p.run(cfg)
	told := func(n int) {
		t.Helper()
		bustest.Eventually(t, func() bool {
			_, order := p.toldRules()
			return len(order) > 0 && order[len(order)-1] == 'c' && strings.Count(order, "r") == n+1
		}, "the rules aren't said %d times", n)
	}
	told(1)
	rules, order := p.toldRules()
	if !strings.HasPrefix(order, "rrc") { // the foreign one, and a batch of rules and record
		t.Errorf("stored were %s", order)
	}
	g := rules[1].Groups
	if len(g) != 2 || g[0].Key() != p.rules+";shop" || g[0].Interval != 30 || g[1].Objective == nil || g[1].Objective.SLO != "cart" {
		t.Fatalf("%+v", g)
	}
	slow := g[0].Rules[1]
	if slow.ID != "Slow" || slow.Kind != proto.RuleAlerting || slow.Query != "avg_over_time(workload:p90[1m]) > 0.5" || slow.For != 60 ||
		slow.Labels["severity"] != "page" || slow.Annotations["summary"] == "" || g[0].Rules[0].Kind != proto.RuleRecording {
		t.Errorf("%+v", g[0].Rules)
	}
	stop()

	stop = p.run(cfg) // the same
	bustest.Eventually(t, func() bool {
		_, now := p.toldRules()
		return strings.Count(now, "c") > strings.Count(order, "c")
	}, "the next one says nothing")
	told(1)
	stop()

	if err := os.WriteFile(p.rules, []byte(slowRule+"- name: other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop = p.run(cfg)
	defer stop()
	told(2)
	if rules, _ = p.toldRules(); len(rules[2].Groups) != 3 {
		t.Errorf("%+v", rules[2])
	}
}

// They are stored again before the stream's age takes them, or its size.
func TestRulesStay(t *testing.T) {
	groups, err := Parse("a.yaml", []byte(slowRule), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var l loadedRules
	part := func(at time.Time) []bus.Part {
		t.Helper()
		parts, err := l.part(groups, at)
		if err != nil {
			t.Fatal(err)
		}
		return parts
	}
	l.stored(part(now), nil, now, quiet)
	if l.data == nil || part(now.Add(rulesEvery-time.Second)) != nil {
		t.Error("they are stored again at once")
	}
	if part(now.Add(rulesEvery)) == nil {
		t.Error("they aren't stored again")
	}
	changes := []bus.Part{{Data: make([]byte, rulesEveryBytes/4)}}
	for range 2 {
		if part(now) != nil {
			t.Error("they are stored again, though others are few")
		}
		l.stored(changes, changes[0].Data, now, quiet)
	}
	if part(now) == nil {
		t.Error("they aren't stored again after many others")
	}
	l.stored(part(now), nil, now, quiet)
	if part(now) != nil {
		t.Error("they are stored again at once")
	}
	groups[0].Rules[1].For = time.Hour
	if part(now) == nil {
		t.Error("another rule isn't stored")
	}
}

// A rule that fails is in the record, by its name, as soon as it does.
func TestFailingRuleIsTold(t *testing.T) {
	p := newPast(t)
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	const text = `groups: [{name: g, interval: 10s, limit: 1, rules: [{record: ok, expr: vector(1)}, {record: two, expr: 'label_replace(vector(1), "a", "b", "", "") or vector(1)'}]}]`
	if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := p.config(bustest.Connect(t, p.server.URL), "a")
	cfg.Rules = []string{wrong}
	defer p.run(cfg)()
	bustest.Eventually(t, func() bool {
		last, err := p.conn.LastMessages(t.Context(), proto.StreamAlerts, proto.SubjectAlertCommit)
		if err != nil || len(last) == 0 {
			return false
		}
		r, err := proto.DecodeAlertRecord(last[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		g := r.Groups[wrong+";g"]
		return g.Errors["two"] == "it gives 2 series, the group's limit is 1" && len(g.Errors) == 1 && g.Took > 0
	}, "nobody says that it fails")
}

// A record fits into a message, however many alerts are over, with long labels,
// or silenced more than once; what fires is in it.
func TestRecordFits(t *testing.T) {
	e := newEvaluator(nil, nil, nil, 0)
	at := time.Unix(1e9, 0).UTC()
	for i := range 3 * maxAlerts {
		a := proto.Alert{
			Group: "/etc/weir/rules/shop.yaml;shop", Rule: "Slow", State: Resolved, ActiveAt: at, FiredAt: at, ResolvedAt: at.Add(time.Duration(i) * time.Second),
			Labels: map[string]string{"alertname": "Slow", "n": strconv.Itoa(i), "x": strings.Repeat("x", maxLabels-40)}, Exemplar: strings.Repeat("e", 300),
		}
		if i < maxAlerts {
			a.State, a.ResolvedAt = Firing, time.Time{}
			a.SilencedBy = slices.Repeat([]string{"3f0c55aa"}, silence.Max)
		}
		of := newAlert(a)
		e.alerts[of.key()] = of
	}
	e.forget()
	if len(e.alerts) != 2*maxAlerts {
		t.Errorf("%d alerts are known", len(e.alerts))
	}
	data, err := encodeRecord(&Record{V: proto.AlertRecordVersion, Alerts: wire(sorted(e.alerts))})
	if err != nil || len(data) > 1<<20-1<<10 { // what the server takes of one message
		t.Fatal(len(data), err)
	}
	r, err := proto.DecodeAlertRecord(data)
	if err != nil || len(r.Alerts) < maxAlerts || r.Alerts[0].State != Firing || len(r.Alerts[0].SilencedBy) != 1 {
		t.Error(len(r.Alerts), err)
	}
}

// storing is a turn that only stores what it has, and its groups.
func storing(t *testing.T, conn *bus.Conn, now func() time.Time) (*turn, []*Group) {
	t.Helper()
	lane, err := conn.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	groups, err := Parse("a.yaml", []byte(slowRule), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return &turn{
		alerter: &alerter{cfg: Config{Bus: conn}, log: quiet, m: newMetrics(prometheus.NewRegistry()), now: now},
		e:       newEvaluator(nil, nil, nil, 0), lane: lane, keeper: keeper{again: now().Add(24 * time.Hour)}, tell: func([]*Alert, []*silence.Silence) {},
	}, groups
}

// All alerts that there may be are over in one round, and as many others begin,
// with whatever annotations: it is one batch.
func TestChangesFit(t *testing.T) {
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	at := time.Now().UTC().Truncate(time.Second)
	a, groups := storing(t, conn, time.Now)
	summaries := map[string]string{}
	for i := range 10 {
		summaries[strconv.Itoa(i)] = strings.Repeat("s", maxText)
	}
	for i := range 2 * maxAlerts {
		of := newAlert(proto.Alert{
			Group: groups[0].Key(), Rule: "Slow", State: Firing, ActiveAt: at, FiredAt: at, Annotations: summaries,
			Labels: map[string]string{"alertname": "Slow", "n": strconv.Itoa(i), "x": strings.Repeat("x", maxLabels-40)},
		})
		if i < maxAlerts {
			of.State, of.ResolvedAt = Resolved, at
		}
		a.e.alerts[of.key()] = of
		a.changes = append(a.changes, Change{Alert: *of, At: at})
	}
	if err := a.store(t.Context(), at, groups); err != nil {
		t.Fatal(err)
	}
	stored := bustest.ReadStored(t, server.URL, proto.StreamAlerts)
	if len(stored) != 2*maxAlerts+2 {
		t.Errorf("%d messages are stored", len(stored))
	}
}

// A round that changes nothing is told of with the record that it follows, and
// nothing of it is stored; who makes up for many tells of some.
func TestValuesAreTold(t *testing.T) {
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	at := time.Now().UTC().Truncate(time.Second)
	a, groups := storing(t, conn, func() time.Time { return at })
	slow := newAlert(proto.Alert{Group: groups[0].Key(), Rule: "Slow", State: Pending, ActiveAt: at, Labels: map[string]string{"alertname": "Slow"}})
	a.e.alerts[slow.key()] = slow
	ctx, cancel := context.WithCancel(t.Context())
	told, ended, ready := make(chan bus.Message, 100), make(chan error, 1), make(chan struct{})
	subscribed := sync.OnceFunc(func() { close(ready) })
	go func() {
		ended <- conn.Subscribe(ctx, proto.StreamAlerts, "weir.live.*", func(m bus.Message) {
			if m.Subject == proto.SubjectAlertLive {
				told <- m
			} else {
				subscribed()
			}
		})
	}()
	bustest.Eventually(t, func() bool { // the subscription is there
		if err := conn.Tell("weir.live.ready", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ready:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	}, "there is no subscription")
	round := func(after time.Duration, value proto.Number) {
		t.Helper()
		at, slow.Value = at.Add(after), value
		if err := a.store(t.Context(), at, groups); err != nil {
			t.Fatal(err)
		}
	}
	heard := func(value proto.Number) {
		t.Helper()
		select {
		case m := <-told:
			r, err := proto.DecodeAlertRecord(m.Data)
			if err != nil || m.Foreign || m.Epoch != a.lane.Epoch() || m.Seq != a.number || !r.Time.Equal(at) || r.Alerts[0].Value != value {
				t.Errorf("want %v of record %d at %s: %+v %+v %v", value, a.number, at, m, r, err)
			}
		case <-time.After(bustest.Timeout):
			t.Fatalf("%v isn't told", value)
		}
	}
	round(0, 1)
	round(time.Minute, 2)
	heard(2)
	round(liveEvery/2, 3)
	round(liveEvery/2, 4)
	heard(4)
	slow.State = Firing
	round(time.Minute, 5)
	round(time.Minute, 6)
	heard(6)
	if stored := bustest.ReadStored(t, server.URL, proto.StreamAlerts); len(stored) != 3 || a.number != 2 {
		t.Errorf("%d messages are stored, with %d records", len(stored), a.number)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// In an install of an earlier version, whose streams are as they were, alerts are
// told all the same.
func TestStreamsOfEarlierVersion(t *testing.T) {
	p := newPast(t)
	for _, stream := range []string{proto.StreamAlerts, proto.StreamRecorded, "KV_" + proto.BucketSilences} {
		bustest.DeleteStream(t, p.server.URL, stream)
	}
	bustest.CreateStream(t, p.server.URL, proto.StreamAlerts, proto.SubjectsAlert, proto.SubjectAlertCommit)
	p.wasEvaluated()
	defer p.run(p.config(bustest.Connect(t, p.server.URL), "a"))()
	bustest.Eventually(t, func() bool { ids, _ := p.events(); return len(ids) == 2 }, "no alert is told")
}

// Alerts are told also if what is recorded can't be stored. It is again as soon as it
// can be.
func TestRecordedIsFull(t *testing.T) {
	p := newPast(t)
	p.wasEvaluated()
	bustest.Fill(t, p.server.URL, proto.StreamRecorded)
	conn := bustest.Connect(t, p.server.URL)
	a := &alerter{cfg: p.config(conn, "a"), log: quiet, m: newMetrics(prometheus.NewRegistry()), now: time.Now, keepTime: time.Second}
	a.history = history.New(history.Config{Bus: conn, Bytes: 64 << 20}, quiet)
	var err error
	if a.groups, err = a.load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = a.history.Run(ctx) }) // it ends with ctx
	running.Go(func() {
		if err := a.work(ctx); ctx.Err() == nil {
			t.Error(err)
		}
	})
	bustest.Eventually(t, func() bool { ids, _ := p.events(); return len(ids) == 2 }, "no alert is told")
	cancel()
	running.Wait()
	if stored := p.recorded(); len(stored) > 0 {
		t.Errorf("%d series are stored", len(stored))
	}
	bustest.DeleteStream(t, p.server.URL, proto.StreamRecorded)
	bustest.Provision(t, p.conn, 1, 1)
	k := keeper{again: time.Now()}
	if err := k.store(t.Context(), a); !errors.Is(err, errKeepAgain) {
		t.Errorf("the turn goes on without: %v", err)
	}
	bustest.DeleteStream(t, p.server.URL, proto.StreamRecorded)
	if err := k.store(t.Context(), a); err != nil || time.Until(k.again) < keepAgain-time.Minute {
		t.Errorf("it is looked again after %s: %v", time.Until(k.again), err)
	}
}
