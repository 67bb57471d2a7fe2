package alert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/proto"
)

const (
	// maxRecorded bounds what all rules record at one time, in bytes of labels and
	// values: it fits into a batch.
	maxRecorded = 4 << 20

	// keepTime is how long alerts wait for WEIR_RECORDED. Then the turn goes on
	// without storing what is recorded.
	keepTime = 30 * time.Second
	// keepAgain is how long after that it is tried again, and keepLook how long alerts
	// wait for that.
	keepAgain = 5 * time.Minute
	keepLook  = 5 * time.Second
)

// errKeepAgain ends a turn: the next one reads what is stored, and goes on from there.
var errKeepAgain = errors.New("what is recorded can be stored again")

// keeper stores what rules record in WEIR_RECORDED, round by round, and brings it
// back. A round is stored before the record of the round in WEIR_ALERTS: whoever
// takes over finds there what the rounds recorded that he evaluates once more, and
// takes that for their rules' values.
type keeper struct {
	lane   *bus.Lane // nil if it can't be stored: then only this alerter knows what is recorded
	again  time.Time // when to try again then
	number uint64    // of the last batch within the lane's epoch
	units  [][]bus.Part

	ahead  map[string]map[int64]*round // what is stored of rounds still to be evaluated, by group and time
	newest map[string]time.Time        // the last round that a rule's series are stored of, by ruleKey
}

// round is what is stored of a group's evaluation.
type round struct {
	t       int64                        // of the samples, unix milliseconds
	samples map[string][]recorded.Sample // by rule
}

func ruleKey(group, rule string) string { return group + "\x00" + rule }

// open opens the lane, or goes on without it.
func (k *keeper) open(ctx context.Context, a *alerter) error {
	k.ahead, k.newest = map[string]map[int64]*round{}, map[string]time.Time{}
	lane, err := a.openRecorded(ctx, a.keepTime)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		k.without(a, err)
		return nil
	}
	k.lane = lane
	return nil
}

func (a *alerter) openRecorded(ctx context.Context, limit time.Duration) (*bus.Lane, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := a.cfg.Bus.StreamInfo(ctx, proto.StreamRecorded); err != nil {
		return nil, err
	}
	return a.cfg.Bus.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamRecorded, Subject: proto.SubjectRecordedCommit, Input: true})
}

// without has the turn go on without storing what is recorded: alerts are told all
// the same.
func (k *keeper) without(a *alerter, err error) {
	k.lane, k.units, k.again = nil, nil, a.now().Add(keepAgain)
	a.m.notRecorded.Set(1)
	a.log.Warn("recorded_series_not_stored", "stream", proto.StreamRecorded, "again_after", keepAgain.String(), "error", err)
}

// recall reads what was recorded before: what comes before the next round of its
// group is the past, the rest is for the rounds to come.
func (t *turn) recall(ctx context.Context, groups []*Group) error {
	if t.keeper.lane == nil {
		return nil
	}
	started := t.now()
	next := map[string]int64{}
	for _, g := range groups {
		next[g.Key()] = t.next(g).UnixNano()
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	nothing := time.AfterFunc(t.keepTime, cancel)
	defer nothing.Stop()
	messages, refused := 0, 0
	err := recorded.Read(limited, t.cfg.Bus, recorded.ReadConfig{Since: started.Add(-recorded.Kept)}, func(_ *bus.Message, m *proto.Recorded, samples []recorded.Sample, err error) bool {
		nothing.Reset(t.keepTime)
		if err != nil {
			t.log.Warn("message_skipped", "error", err)
			return true
		}
		messages++
		from, known := next[m.Group]
		if known && m.EvaluatedNS >= from {
			t.keeper.put(m, samples)
			return true
		}
		at := time.Unix(0, m.EvaluatedNS)
		for i := range samples {
			s := &samples[i]
			if _, err := t.e.memory.Add(s.Labels, m.TimeNS/int64(time.Millisecond), s.F, s.H); err != nil {
				refused++
			}
			key := ruleKey(m.Group, s.Rule)
			if !t.keeper.newest[key].Equal(at) {
				t.keeper.newest[key], t.e.last[key] = at, map[string]labels.Labels{}
			}
			if !s.Ends() {
				t.e.last[key][string(s.Labels.Bytes(nil))] = s.Labels
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.keeper.ahead = map[string]map[int64]*round{} // rounds may be there in part
		t.keeper.without(t.alerter, err)
		return nil
	}
	t.log.Info("recorded_series_read", "messages", messages, "series", t.e.memory.State().Series, "refused", refused, "took", t.now().Sub(started).Round(time.Millisecond).String())
	return nil
}

// put keeps a message for the round that it is of.
func (k *keeper) put(m *proto.Recorded, samples []recorded.Sample) {
	rounds := k.ahead[m.Group]
	if rounds == nil {
		rounds = map[int64]*round{}
		k.ahead[m.Group] = rounds
	}
	of := rounds[m.EvaluatedNS]
	if of == nil {
		of = &round{m.TimeNS / int64(time.Millisecond), map[string][]recorded.Sample{}}
		rounds[m.EvaluatedNS] = of
	}
	for _, s := range samples {
		of.samples[s.Rule] = append(of.samples[s.Rule], s)
		k.newest[ruleKey(m.Group, s.Rule)] = time.Unix(0, m.EvaluatedNS)
	}
}

// evaluatedBefore gives what is stored of a round already, nil if nothing is. Rounds before
// it that aren't evaluated any more, as the group's interval is another now, are
// the past.
func (t *turn) evaluatedBefore(g *Group, at time.Time) *round {
	rounds := t.keeper.ahead[g.Key()]
	for _, evaluated := range slices.Sorted(maps.Keys(rounds)) {
		of := rounds[evaluated]
		if evaluated > at.UnixNano() {
			break
		}
		delete(rounds, evaluated)
		if evaluated == at.UnixNano() {
			return of
		}
		for rule, samples := range of.samples {
			_ = t.e.again(g, &Rule{ID: rule}, of.t, samples) // there is no room for them then
		}
	}
	return nil
}

// add has what a group recorded stored with the next batch.
func (k *keeper) add(group string, at time.Time, offset time.Duration, samples []recorded.Sample) error {
	for _, s := range samples {
		k.newest[ruleKey(group, s.Rule)] = at
	}
	if k.lane == nil || len(samples) == 0 {
		return nil
	}
	messages, err := recorded.Encode(group, at, offset, samples)
	if err != nil {
		return err
	}
	var unit []bus.Part
	for _, data := range messages {
		unit = append(unit, bus.Part{Subject: proto.RecordedSubject(group), Data: data})
	}
	k.units = append(k.units, unit)
	return nil
}

// end ends the series of rules that are no more.
func (t *turn) end(there map[[2]string]bool) {
	for key, series := range t.e.last {
		group, rule, _ := strings.Cut(key, "\x00")
		if there[[2]string{group, rule}] {
			continue
		}
		delete(t.e.last, key)
		delete(t.e.sizes, key)
		at := t.keeper.newest[key].Add(time.Millisecond)
		t.e.samples = nil
		for _, l := range series {
			_ = t.e.put(recorded.Ending(rule, l), at) // there is no room for it then
		}
		if err := t.keeper.add(group, at, 0, t.e.samples); err != nil {
			t.log.Error("recorded_series_not_stored", "group", group, "error", err)
		}
	}
}

// store stores what there is, in batches: what a group gave at a time is stored
// as a whole or not at all. If it can't be stored the turn goes on without, and ends
// when it can be again.
func (k *keeper) store(ctx context.Context, a *alerter) error {
	const perMessage = 1024 // bytes that a batch takes besides a message's own, at most
	if k.lane == nil && !a.now().Before(k.again) {
		if _, err := a.openRecorded(ctx, keepLook); err == nil {
			return errKeepAgain
		}
		k.again = a.now().Add(keepAgain)
	}
	for len(k.units) > 0 {
		var parts []bus.Part
		n, size := 0, perMessage
		for _, unit := range k.units {
			for i := range unit {
				size += len(unit[i].Data) + perMessage
			}
			if n > 0 && (size > proto.MaxBatchBytes || len(parts)+len(unit)+1 > proto.MaxBatchMsgs) {
				break
			}
			parts = append(parts, unit...)
			n++
		}
		limited, cancel := context.WithTimeout(ctx, a.keepTime)
		k.number++
		_, err := k.lane.Commit(limited, parts, nil, k.number, 0, len(parts))
		cancel()
		if errors.Is(err, bus.ErrRival) || ctx.Err() != nil {
			return fmt.Errorf("store what was recorded: %w", err)
		}
		if err != nil {
			k.without(a, err)
			return nil
		}
		k.units = k.units[n:]
	}
	k.units = nil
	return nil
}

// look works out what rules would have recorded before, as far as rules look back
// at it and the stream doesn't have it.
func (t *turn) look(ctx context.Context, groups []*Group) error {
	_, wanted := recordedNames(groups)
	back := min(wanted, mostBack)
	if back == 0 {
		return nil
	}
	said := wanted <= mostBack
	for _, g := range groups {
		end := t.next(g).Add(-g.Interval)
		var filled samplesByTime
		for _, r := range g.Rules {
			from := end.Add(-back)
			if newest := t.keeper.newest[ruleKey(g.Key(), r.ID)]; newest.After(from) {
				from = newest
			}
			start := from.Truncate(g.Interval).Add(g.Interval)
			if r.Record == "" || start.After(end) {
				continue
			}
			if !said {
				said = true
				t.log.Warn("recorded_series_begin_later", "wanted", wanted.String(), "worked_out", mostBack.String())
			}
			err := t.e.fill(ctx, g, r, start, end, &filled)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				t.log.Error("recorded_series_not_worked_out", "rule", r.Name(), "group", g.Name, "error", err)
			}
		}
		for _, at := range slices.Sorted(maps.Keys(filled)) {
			if err := t.keeper.add(g.Key(), time.UnixMilli(at).Add(g.Offset), g.Offset, filled[at]); err != nil {
				t.log.Error("recorded_series_not_stored", "group", g.Name, "error", err)
			}
		}
	}
	return t.keeper.store(ctx, t.alerter)
}

// samplesByTime are samples by their times, unix milliseconds.
type samplesByTime map[int64][]recorded.Sample

// fill works out what a rule would have recorded from one time to another.
func (e *evaluator) fill(ctx context.Context, g *Group, r *Rule, start, end time.Time, into *samplesByTime) error {
	if first := end.Add(-mostPoints * g.Interval); start.Before(first) {
		start = first
	}
	found, err := e.engine.Range(ctx, r.Expr, start.Add(-g.Offset), end.Add(-g.Offset), g.Interval)
	if err != nil {
		return err
	}
	matrix, ok := found.Value.(prom.Matrix)
	if !ok {
		return nil
	}
	if *into == nil {
		*into = samplesByTime{}
	}
	step, last := g.Interval.Milliseconds(), end.Add(-g.Offset).UnixMilli()
	alive := map[string]labels.Labels{} // those that have a value at the end
	for _, series := range matrix {
		l := recordedLabels(r, series.Metric)
		points := map[int64]recorded.Sample{}
		for _, p := range series.Floats {
			points[p.T] = recorded.Sample{Rule: r.ID, Labels: l, F: p.F}
		}
		for _, p := range series.Histograms {
			points[p.T] = recorded.Sample{Rule: r.ID, Labels: l, H: p.H}
		}
		for _, at := range slices.Sorted(maps.Keys(points)) {
			if points[at+step].Rule == "" && at+step <= last { // it has no value there
				points[at+step] = recorded.Ending(r.ID, l)
			}
		}
		for _, at := range slices.Sorted(maps.Keys(points)) {
			s := points[at]
			if err := s.Check(); err != nil {
				return err
			}
			added, err := e.memory.Add(l, at, s.F, s.H)
			if err != nil {
				return err
			}
			if added {
				(*into)[at] = append((*into)[at], s)
			}
		}
		if s := points[last]; s.Rule != "" && !s.Ends() {
			alive[string(l.Bytes(nil))] = l
		}
	}
	e.last[ruleKey(g.Key(), r.ID)] = alive
	return nil
}
