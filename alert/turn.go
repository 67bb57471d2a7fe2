package alert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

// turn is the work of who holds the lease.
type turn struct {
	*alerter
	e         *evaluator
	lane      *bus.Lane
	keeper    keeper // of what rules record
	cluster   string
	number    uint64               // of the last record within the lane's epoch
	evaluated map[string]time.Time // by group: its last time
	failed    map[string]string    // by group: what went wrong then
	took      map[string]float64   // by group: how long that was, seconds
	rules     loadedRules
	changes   []Change         // not yet stored
	stored    time.Time        // the time of the last record
	known     map[string]Alert // the alerts of the last record
	failing   map[string]bool  // the groups that failed by it
	tell      func([]*Alert, []*silence.Silence)
	liveAt    time.Time // when values were said last that aren't stored

	silences      []*silence.Silence // that were read last; nil before any were
	silencesAgain time.Time          // when to read them again after a failure
	unreadable    string             // what was said of those that can't be read
}

// work evaluates until ctx ends, or somebody else does.
func (a *alerter) work(ctx context.Context) error {
	lane, err := a.cfg.Bus.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit, Input: true})
	if err != nil {
		return err
	}
	t := &turn{
		alerter: a, lane: lane, e: newEvaluator(a.history, a.cfg.ExternalLabels, a.cfg.Page, 0),
		evaluated: map[string]time.Time{}, failed: map[string]string{}, took: map[string]float64{},
	}
	ctx, stop := context.WithCancel(ctx)
	var sinks errgroup.Group
	defer func() {
		stop()
		sinks.Wait() //nolint:errcheck // they return nothing
		a.m.notRecorded.Set(0)
	}()
	t.tell = a.startSinks(ctx, &sinks, lane.Epoch())
	a.mu.Lock()
	groups := a.groups
	a.mu.Unlock()
	if err := t.restore(lane.Last(), groups); err != nil {
		return err
	}
	t.tell(sorted(t.e.alerts), nil) // before anything that takes long: whoever hears nothing takes them for over
	if err := t.keeper.open(ctx, a); err != nil {
		return err
	}
	if err := t.rules.read(ctx, a.cfg.Bus, a.now(), a.log); err != nil {
		return err
	}
	if err := a.loaded(ctx); err != nil {
		return err
	}
	if err := t.recall(ctx, groups); err != nil {
		return err
	}
	t.showRestored()
	var looked []*Group
	for {
		a.mu.Lock()
		groups = a.groups
		a.mu.Unlock()
		t.drop(groups)
		if !slices.Equal(groups, looked) {
			if err := t.look(ctx, groups); err != nil {
				return err
			}
			looked = groups
		}
		if err := t.round(ctx, groups); err != nil {
			return err
		}
	}
}

// clusterName is what the stream's newest commits carry, "" before there are any.
func (a *alerter) clusterName(ctx context.Context) (name string) {
	last, err := a.cfg.Bus.LastMessages(ctx, proto.StreamLatency, proto.SubjectsCommit)
	if err != nil {
		a.log.Debug("cluster_not_known", "error", err)
	}
	for _, m := range last {
		if c, err := proto.DecodeCommit(m.Data); err == nil {
			name = cmp.Or(name, c.Cluster)
		}
	}
	return name
}

// loaded waits until the past is read.
func (a *alerter) loaded(ctx context.Context) error {
	for {
		changed, _ := a.history.Changed()
		if a.history.State().Loaded >= 1 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// restore goes on from the last record.
func (t *turn) restore(last *bus.Message, groups []*Group) error {
	if last == nil {
		return nil
	}
	record, err := proto.DecodeAlertRecord(last.Data)
	if err != nil {
		return fmt.Errorf("%w: message %d of %s: %w", bus.ErrStop, last.Sequence, proto.StreamAlerts, err)
	}
	t.stored = record.Time
	for key, g := range record.Groups {
		t.evaluated[key] = g.Evaluated
	}
	for _, of := range record.Alerts {
		alert := newAlert(*of)
		t.e.alerts[alert.key()] = alert
	}
	t.drop(groups)
	t.log.Info("alerts_restored", "alerts", len(t.e.alerts), "time", record.Time)
	return nil
}

// showRestored has rules see the alerts that there were, if the stream doesn't say.
func (t *turn) showRestored() {
	for _, alert := range t.e.alerts {
		if alert.State != Resolved && t.keeper.lane == nil {
			_ = t.e.show(alert, nil, t.stored) // there is no room for them then
		}
	}
}

// drop ends the alerts of rules that are no more, and forgets them in time.
func (t *turn) drop(groups []*Group) {
	there := map[[2]string]bool{}
	for _, g := range groups {
		for _, r := range g.Rules {
			there[[2]string{g.Key(), r.ID}] = true
		}
	}
	t.end(there)
	now := t.now().UTC().Truncate(time.Second)
	for key, alert := range t.e.alerts {
		if there[[2]string{alert.Group, alert.Rule}] {
			continue
		}
		if alert.State == Firing {
			alert.State, alert.ResolvedAt = Resolved, now
			t.changes = append(t.changes, Change{Alert: *alert, At: now})
		} else if alert.State == Pending || now.Sub(alert.ResolvedAt) >= told {
			delete(t.e.alerts, key)
		}
	}
}

// next is the time that a group is to be evaluated as of.
func (t *turn) next(g *Group) time.Time {
	now := t.now()
	earliest := now.Add(-behind - catchUp)
	last := t.evaluated[g.Key()]
	switch {
	case last.After(now.Add(catchUp)): // else it is waited for
		t.log.Warn("clock_was_ahead", "group", g.Name, "evaluated", last, "evaluated_again_from", now)
		last = time.Time{}
	case !last.IsZero() && last.Truncate(g.Interval).Add(g.Interval).Before(earliest):
		t.log.Warn("rounds_left_out", "group", g.Name, "from", last, "to", earliest)
		last = earliest
	}
	if last.IsZero() { // this is its first round
		last = now.Add(-behind - g.Interval)
	}
	t.evaluated[g.Key()] = last
	return last.Truncate(g.Interval).Add(g.Interval)
}

// round evaluates the groups whose turn is next, and stores what came of it.
func (t *turn) round(ctx context.Context, groups []*Group) error {
	if len(groups) == 0 {
		if err := t.store(ctx, t.now(), groups); err != nil {
			return err
		}
		return sleep(ctx, reloadEvery)
	}
	at := t.next(groups[0])
	for _, g := range groups {
		if next := t.next(g); next.Before(at) {
			at = next
		}
	}
	if now := t.now(); slices.ContainsFunc(groups, func(g *Group) bool { return t.evaluated[g.Key()].After(now) }) {
		t.log.Warn("clock_was_ahead", "waits_until", at)
	}
	if err := t.await(ctx, at); err != nil {
		return err
	}
	for _, g := range groups {
		if !t.next(g).Equal(at) {
			continue
		}
		started := time.Now()
		changes, err := t.e.evaluate(ctx, g, at, t.evaluatedBefore(g, at))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = errors.Join(err, t.keeper.add(g.Key(), at, g.Offset, t.e.samples))
		t.m.evaluations.Inc()
		t.took[g.Key()] = time.Since(started).Seconds()
		t.m.duration.Observe(t.took[g.Key()])
		t.failed[g.Key()] = ""
		if err != nil {
			t.m.failures.Inc()
			t.failed[g.Key()] = err.Error()
			t.log.Warn("rules_failed", "group", g.Name, "error", err)
		}
		t.changes = append(t.changes, changes...)
		t.evaluated[g.Key()] = at
	}
	t.m.last.Set(float64(at.Unix()))
	t.m.late.Set(max(0, t.now().Sub(at).Seconds()-behind.Seconds()))
	if err := t.exemplify(ctx, groups, at); err != nil {
		return err
	}
	if err := t.silence(ctx, at); err != nil {
		return err
	}
	t.e.memory.Forget(at.Add(-recorded.Kept).UnixMilli())
	return t.store(ctx, at, groups)
}

// await waits until it is time to evaluate as of a time, and until everything
// that ended before is counted, or that takes too long.
func (t *turn) await(ctx context.Context, at time.Time) error {
	for left := at.Add(behind).Sub(t.now()); left > 0; left = at.Add(behind).Sub(t.now()) {
		if err := sleep(ctx, min(left, reloadEvery)); err != nil { // the clock may be set
			return err
		}
	}
	if err := t.loaded(ctx); err != nil { // it may be read again
		return err
	}
	for {
		changed, _ := t.history.Changed()
		left := at.Add(behind + patience).Sub(t.now())
		if left <= 0 || t.history.Complete() >= at.UnixNano() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(min(left, time.Second)): // an idle pipeline's windows go by without changes
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// store commits changes together with all that is known, if there is something
// new or it is time. What was recorded comes first.
func (t *turn) store(ctx context.Context, at time.Time, groups []*Group) error {
	if err := t.keeper.store(ctx, t.alerter); err != nil {
		return err
	}
	t.e.forget()
	alerts := sorted(t.e.alerts)
	record := Record{V: proto.AlertRecordVersion, Cluster: t.cluster, Time: at.UTC(), Groups: map[string]GroupRecord{}, Alerts: wire(alerts)}
	for _, g := range groups {
		record.Groups[g.Key()] = GroupRecord{
			Evaluated: t.evaluated[g.Key()].UTC(), Interval: g.Interval.Seconds(), Took: t.took[g.Key()], Rules: len(g.Rules),
			Error: t.failed[g.Key()], Errors: t.e.failed[g.Key()],
		}
	}
	known := map[string]Alert{} // but for what changes in each round
	for _, alert := range alerts {
		known[alert.key()] = Alert{Alert: proto.Alert{State: alert.State, ActiveAt: alert.ActiveAt, KeepFiringSince: alert.KeepFiringSince, SilencedBy: alert.SilencedBy}}
	}
	failing := map[string]bool{}
	for key, reason := range t.failed {
		failing[key] = reason != ""
	}
	t.count()
	if t.rules.refused && t.now().Sub(t.rules.asked) >= recordEvery {
		if err := t.rules.read(ctx, t.cfg.Bus, t.now(), t.log); err != nil {
			return err
		}
	}
	parts, err := t.rules.part(groups, t.now())
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	if len(t.changes) == 0 && len(parts) == 0 && reflect.DeepEqual(known, t.known) && maps.Equal(failing, t.failing) && at.Sub(t.stored) < recordEvery {
		t.live(&record)
		t.tell(alerts, t.silences)
		return nil
	}
	data, err := encodeRecord(&record)
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	if t.cluster == "" && len(t.changes) > 0 {
		t.cluster = t.clusterName(ctx)
	}
	events, err := t.events()
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	parts = append(parts, events...)
	t.number++
	if _, err := t.lane.Commit(ctx, parts, data, t.number, 0, len(t.changes)); err != nil {
		return fmt.Errorf("store alerts: %w", err)
	}
	t.rules.stored(parts, data, t.now(), t.log)
	for _, c := range t.changes {
		t.m.changes.WithLabelValues(string(c.State)).Inc()
		t.log.Info("alert", "name", c.Labels[labels.AlertName], "state", c.State, "labels", c.labels.String())
	}
	t.changes, t.known, t.failing, t.stored = nil, known, failing, at
	t.tell(alerts, t.silences)
	return nil
}

// live tells whoever listens the values of a round that stores nothing.
func (t *turn) live(record *Record) {
	now := t.now()
	if now.Sub(t.liveAt) < liveEvery { // it makes up for others
		return
	}
	t.liveAt = now
	data, err := encodeRecord(record)
	if err == nil {
		err = t.lane.Tell(proto.SubjectAlertLive, data, t.number)
	}
	if err != nil {
		t.log.Debug("values_not_told", "error", err)
	}
}

func (t *turn) count() {
	n := map[State]int{}
	for _, a := range t.e.alerts {
		n[a.State]++
	}
	for _, s := range []State{Pending, Firing} {
		t.m.alerts.WithLabelValues(string(s)).Set(float64(n[s]))
	}
}
