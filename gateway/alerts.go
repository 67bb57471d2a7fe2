package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	alertsKept  = 24 * time.Hour   // how far back changes are known: as long as the stream keeps them
	maxEpisodes = 5000             // known at once: above it the oldest are forgotten
	alertsOld   = 12 * time.Minute // a record that old says that no alerter is at work: one comes every five
	alertsRetry = 10 * time.Second
)

// alerts follows WEIR_ALERTS, once for all who ask: what the alerter knows, which
// rules it has, and what began and ended of late.
type alerts struct {
	bus *bus.Conn
	log *slog.Logger

	mu        sync.RWMutex
	record    *proto.AlertRecord // nil if no alerter has said anything of late
	stored    time.Time          // when the record was
	epoch     proto.Epoch        // of who stored it
	seq       uint64             // its number within that
	rules     *proto.AlertRules  // nil as above
	rulesRead int                // how often there were others
	episodes  map[episodeKey]*episode
	forgotten forgotten
	problem   string // why nothing can be read, "" if it can
	changed   chan struct{}
	changes   uint64
}

// episode is one time that an alert fired.
type episode struct {
	proto.AlertChange           // the first that was said of it; Silenced: of all
	from              time.Time // when it began
	to                time.Time // when it was over; zero while it fires
}

// forgotten is episodes that there was no room for, of one day at most.
type forgotten struct {
	count int
	until time.Time // the last that is known of any
}

// add counts one more. Nobody asks of it and of those of another day at once.
func (f *forgotten) add(e *episode) {
	if e.from.Sub(f.until) > alertsKept {
		f.count = 0
	}
	f.count++
	for _, t := range []time.Time{e.from, e.to} {
		if t.After(f.until) {
			f.until = t
		}
	}
}

// since is how many may have a part in what follows a time.
func (f forgotten) since(from time.Time) int {
	if f.until.Before(from) {
		return 0
	}
	return f.count
}

// episodeKey is what an alert's two changes share.
type episodeKey struct {
	group, rule, fingerprint string

	began int64 // unix nanoseconds
}

func keyOf(c *proto.AlertChange) episodeKey {
	return episodeKey{c.Group, c.Rule, c.Fingerprint, c.StartsAt.UnixNano()}
}

func newAlerts(c *bus.Conn, log *slog.Logger) *alerts {
	a := &alerts{bus: c, log: log, changed: make(chan struct{})}
	a.reset()
	return a
}

func (a *alerts) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record, a.rules, a.episodes, a.forgotten = nil, nil, map[episodeKey]*episode{}, forgotten{}
	a.notify()
}

// notify wakes who waits for changes. The lock is held.
func (a *alerts) notify() {
	a.changes++
	close(a.changed)
	a.changed = make(chan struct{})
}

// Changed is closed when there is something new; the number is then another.
func (a *alerts) Changed() (<-chan struct{}, uint64) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.changed, a.changes
}

// run reads until ctx ends.
func (a *alerts) run(ctx context.Context) error {
	for {
		a.reset()
		err := a.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, bus.ErrNoStream) { // an earlier version's, which has no alerts
			a.say("")
		} else {
			a.log.Warn("reading_failed", "stream", proto.StreamAlerts, "error", err)
			a.say(err.Error())
		}
		select {
		case <-time.After(alertsRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// say notes why nothing can be read, "" if it can.
func (a *alerts) say(problem string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem != problem {
		a.problem = problem
		a.notify()
	}
}

// read follows all that is said. What no alerter said can't hide what one did:
// of the record and the rules all there are is read, not the last alone.
func (a *alerts) read(ctx context.Context) error {
	r, err := a.bus.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamAlerts, Subjects: []string{proto.SubjectsAlert, proto.SubjectAlertCommit, proto.SubjectAlertRules}, StopAtEnd: true,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			a.say("")
			r.Follow()
			continue
		}
		if err != nil {
			return err
		}
		if err := a.take(&m); err != nil {
			a.log.Debug("message_skipped", "stream", proto.StreamAlerts, "sequence", m.Sequence, "error", err)
		}
	}
}

func (a *alerts) take(m *bus.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch m.Subject {
	case proto.SubjectAlertCommit:
		record, err := proto.DecodeAlertRecord(m.Data)
		if err != nil {
			return err
		}
		a.record, a.stored, a.epoch, a.seq = record, m.Time, m.Epoch, m.Seq
	case proto.SubjectAlertRules:
		rules, err := proto.DecodeAlertRules(m.Data)
		if err != nil {
			return err
		}
		a.rules = rules
		a.rulesRead++
	default:
		c, err := proto.DecodeAlertChange(m.Data)
		if err != nil {
			return err
		}
		a.add(c)
	}
	a.notify()
	return nil
}

// follow takes what the alerter says between its records.
func (a *alerts) follow(ctx context.Context) error {
	return a.bus.Subscribe(ctx, proto.StreamAlerts, proto.SubjectAlertLive, func(m bus.Message) {
		if err := a.refresh(&m); err != nil {
			a.log.Debug("message_skipped", "subject", m.Subject, "error", err)
		}
	})
}

// refresh takes the values of a later round of the alerter that stored the record.
// Nothing has begun or ended since: then there is another record. What can't be
// said to follow it is passed over, as a message that the server copied here for
// somebody.
func (a *alerts) refresh(m *bus.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Subject != proto.SubjectAlertLive || !m.FromLane() || m.Epoch != a.epoch || m.Seq != a.seq || a.record == nil {
		return nil
	}
	record, err := proto.DecodeAlertRecord(m.Data)
	if err != nil {
		return err
	}
	a.record = record
	a.notify()
	return nil
}

// add takes a change in.
func (a *alerts) add(c *proto.AlertChange) {
	key := keyOf(c)
	e := a.episodes[key]
	if e == nil {
		e = &episode{AlertChange: *c, from: c.StartsAt}
		a.episodes[key] = e
	}
	e.Silenced = e.Silenced && c.Silenced // it may be told later
	if c.Status == string(proto.AlertResolved) {
		e.to = c.EndsAt
	}
	if len(a.episodes) > maxEpisodes { // what the stream has no more isn't missing
		maps.DeleteFunc(a.episodes, func(_ episodeKey, e *episode) bool { return !e.to.IsZero() && time.Since(e.to) > alertsKept })
	}
	if len(a.episodes) > maxEpisodes {
		oldest := slices.MinFunc(slices.Collect(maps.Values(a.episodes)), func(x, y *episode) int { return x.from.Compare(y.from) })
		delete(a.episodes, keyOf(&oldest.AlertChange))
		a.forgotten.add(oldest)
	}
}

// known is what there is at one time; record and rules are not to be changed.
type known struct {
	record    *proto.AlertRecord
	stored    time.Time
	rules     *proto.AlertRules
	rulesRead int
	problem   string
	forgotten forgotten
}

func (a *alerts) known() known {
	a.mu.RLock()
	defer a.mu.RUnlock()
	k := known{a.record, a.stored, a.rules, a.rulesRead, a.problem, a.forgotten}
	if a.gone() {
		k.record, k.rules = nil, nil
	}
	return k
}

// gone reports whether the stream has forgotten the record: who begins to read
// now finds none. The lock is held.
func (a *alerts) gone() bool { return a.record != nil && time.Since(a.stored) > alertsKept }

// between are the episodes that have a part in an interval, the newest first.
func (a *alerts) between(from, to time.Time) []episode {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := maps.Clone(a.episodes)
	if a.record != nil && !a.gone() { // what fires for longer than the stream keeps
		for _, alert := range a.record.Alerts {
			e := episodeOf(alert)
			key := keyOf(&e.AlertChange)
			if alert.State == proto.AlertFiring && all[key] == nil {
				all[key] = e
			}
		}
	}
	out := []episode{}
	for _, e := range all {
		if !e.from.After(to) && (e.to.IsZero() || e.to.After(from)) {
			out = append(out, *e)
		}
	}
	slices.SortFunc(out, func(x, y episode) int {
		return cmp.Or(y.from.Compare(x.from), cmp.Compare(x.Fingerprint, y.Fingerprint))
	})
	return out
}

// episodeOf is an alert that fires, as its change said it.
func episodeOf(a *proto.Alert) *episode {
	return &episode{from: a.FiredAt, AlertChange: proto.AlertChange{
		Status: string(a.State), Labels: a.Labels, Annotations: a.Annotations, Value: a.Value, StartsAt: a.FiredAt, Rule: a.Rule, Group: a.Group,
		Fingerprint: fmt.Sprintf("%016x", labels.FromMap(a.Labels).Hash()), Silenced: a.Untold,
	}}
}
