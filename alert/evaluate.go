package alert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/proto"
)

const (
	// maxAlerts is how many alerts all rules have together: in one round as many may
	// be over and as many others begin, and all that fits into a batch beside the
	// record, the rules, and a few more of an earlier version. Their record fits into
	// a message.
	maxAlerts = 490
	maxLabels = 1024 // bytes of an alert's labels
	maxText   = 1024 // bytes of an annotation

	// told is how long an alert that is over is still said to be: whoever is told
	// now and then hears of it.
	told = 15 * time.Minute

	// mostPoints is how many rounds are worked out at a start, at most.
	mostPoints = 10_000
)

// State of an alert.
type State = proto.AlertState

const (
	Pending  = proto.AlertPending
	Firing   = proto.AlertFiring
	Resolved = proto.AlertResolved
)

// Alert is one series of an alerting rule that has a value, or had one lately.
type Alert struct {
	proto.Alert
	labels labels.Labels // the same as Labels
}

func newAlert(of proto.Alert) *Alert { return &Alert{of, labels.FromMap(of.Labels)} }

// Change is an alert that begins to fire, or is over.
type Change struct {
	Alert
	At         time.Time // the time that was evaluated
	Unsilenced bool      // it began to fire before, and is silenced no more
}

// evaluator works rules out, one time after the other, and has all state of them.
type evaluator struct {
	engine   *promql.Engine
	memory   *recorded.Memory
	external map[string]string // labels of all alerts and of what is told to others
	url      *url.URL          // of the page
	alerts   map[string]*Alert
	failed   map[string]map[string]string        // why rules failed in their last evaluation, by group and ID
	last     map[string]map[string]labels.Labels // series that a rule gave last, by ruleKey: they end if it gives them no more
	sizes    map[string]int                      // of what a rule recorded last, by ruleKey
	samples  []recorded.Sample                   // of the group that is evaluated: what is to be stored
}

func newEvaluator(source promql.Source, external map[string]string, page *url.URL, subqueryStep time.Duration) *evaluator {
	m := recorded.NewMemory(recorded.DefaultBytes)
	if source == nil { // a test has all its input there
		m = recorded.NewMemory(testBytes)
	}
	if page == nil {
		page = new(url.URL)
	}
	return &evaluator{
		engine: promql.With(source, m, subqueryStep), memory: m, external: external, url: page, alerts: map[string]*Alert{},
		failed: map[string]map[string]string{}, last: map[string]map[string]labels.Labels{}, sizes: map[string]int{},
	}
}

// evaluate works the rules of a group out as of a time. A rule that fails keeps
// what it had, and the others go on. What is known of the round already, nil if
// nothing is, comes first: it isn't recorded again.
func (e *evaluator) evaluate(ctx context.Context, g *Group, at time.Time, known *round) (changes []Change, failed error) {
	e.samples = nil
	reasons := map[string]string{}
	e.failed[g.Key()] = reasons
	for _, r := range g.Rules {
		of, err := e.rule(ctx, g, r, at, known)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		changes = append(changes, of...)
		if err != nil {
			reasons[r.ID] = err.Error()
			failed = errors.Join(failed, fmt.Errorf("rule %q of group %q: %w", r.Name(), g.Name, err))
		}
	}
	return changes, failed
}

func (e *evaluator) rule(ctx context.Context, g *Group, r *Rule, at time.Time, known *round) ([]Change, error) {
	var have []recorded.Sample
	if known != nil {
		have = known.samples[r.ID]
	}
	if r.Record != "" && len(have) > 0 {
		return nil, e.again(g, r, known.t, have)
	}
	found, err := e.vector(ctx, r.Expr, at.Add(-g.Offset))
	if err != nil {
		return nil, err
	}
	if r.Alert == "" {
		return nil, e.record(g, r, found, at)
	}
	before := len(e.samples)
	if len(have) > 0 { // first: what it shows now is older then
		err = e.again(g, r, known.t, have)
	}
	changes, failed := e.alert(ctx, g, r, found, at)
	if len(have) > 0 {
		e.samples = e.samples[:before]
	}
	return changes, errors.Join(err, failed)
}

// again records what a rule gave when the round was evaluated before.
func (e *evaluator) again(g *Group, r *Rule, t int64, samples []recorded.Sample) (failed error) {
	now := map[string]labels.Labels{}
	for i := range samples {
		s := &samples[i]
		_, err := e.memory.Add(s.Labels, t, s.F, s.H)
		failed = errors.Join(failed, err)
		if !s.Ends() {
			now[string(s.Labels.Bytes(nil))] = s.Labels
		}
	}
	e.last[ruleKey(g.Key(), r.ID)] = now
	return failed
}

// put records a sample.
func (e *evaluator) put(s recorded.Sample, at time.Time) error {
	added, err := e.memory.Add(s.Labels, at.UnixMilli(), s.F, s.H)
	if added {
		e.samples = append(e.samples, s)
	}
	return err
}

// vector is an expression's value; a scalar is a sample without labels.
func (e *evaluator) vector(ctx context.Context, expr string, at time.Time) (prom.Vector, error) {
	r, err := e.engine.Instant(ctx, expr, at)
	if err != nil {
		return nil, err
	}
	switch v := r.Value.(type) {
	case prom.Vector:
		return v, nil
	case prom.Scalar:
		return prom.Vector{{T: v.T, F: v.V}}, nil
	}
	return nil, fmt.Errorf("the expression gives a %s: a rule needs an instant vector or a scalar", r.Value.Type())
}

func (e *evaluator) record(g *Group, r *Rule, found prom.Vector, at time.Time) error {
	if g.Limit > 0 && len(found) > g.Limit {
		return fmt.Errorf("it gives %d series, the group's limit is %d", len(found), g.Limit)
	}
	now, size := map[string]labels.Labels{}, 0
	samples := make([]recorded.Sample, len(found))
	for i, s := range found {
		l := recordedLabels(r, s.Metric)
		key := string(l.Bytes(nil))
		if _, twice := now[key]; twice {
			return fmt.Errorf("it gives the same labels twice: %s", l)
		}
		now[key] = l
		samples[i] = recorded.Sample{Rule: r.ID, Labels: l, F: s.F, H: s.H}
		if err := samples[i].Check(); err != nil {
			return err
		}
		size += samples[i].Size()
	}
	if err := e.fits(g, r, size, len(found)); err != nil {
		return err
	}
	for _, s := range samples {
		if err := e.put(s, at.Add(-g.Offset)); err != nil {
			return err
		}
	}
	return e.ended(g, r, now, at)
}

// fits reports whether there is room for what a rule records at a time.
func (e *evaluator) fits(g *Group, r *Rule, size, series int) error {
	key := ruleKey(g.Key(), r.ID)
	all := size - e.sizes[key]
	for _, n := range e.sizes {
		all += n
	}
	if all > maxRecorded {
		return fmt.Errorf("it gives %d series, with which rules would record more than %d MiB at a time: make it record less", series, maxRecorded>>20)
	}
	e.sizes[key] = size
	return nil
}

func recordedLabels(r *Rule, of labels.Labels) labels.Labels {
	b := labels.NewBuilder(of)
	b.Set(model.MetricNameLabel, r.Record)
	for k, v := range r.Labels {
		b.Set(k, v)
	}
	return b.Labels()
}

// ended marks series that a rule gave before and gives no more.
func (e *evaluator) ended(g *Group, r *Rule, now map[string]labels.Labels, at time.Time) (err error) {
	rule := ruleKey(g.Key(), r.ID)
	for key, l := range e.last[rule] {
		if _, still := now[key]; !still {
			err = errors.Join(err, e.put(recorded.Ending(r.ID, l), at.Add(-g.Offset)))
		}
	}
	e.last[rule] = now
	return err
}

func (e *evaluator) alert(ctx context.Context, g *Group, r *Rule, found prom.Vector, at time.Time) ([]Change, error) {
	now := map[string]*Alert{}
	for _, s := range found {
		a, err := e.expand(ctx, g, r, s, at)
		if err != nil {
			return nil, err
		}
		key := a.key()
		if now[key] != nil {
			return nil, fmt.Errorf("two series have the same labels once the rule's are set: %s", a.labels)
		}
		now[key] = a
	}
	if n := e.count(g, r, now, at); g.Limit > 0 && n > g.Limit {
		changes := e.clear(g, r, at)
		return changes, errors.Join(fmt.Errorf("it gives %d alerts, the group's limit is %d: as in Prometheus it has none then", n, g.Limit), e.ended(g, r, nil, at))
	}
	if err := e.room(now); err != nil {
		return nil, err
	}
	var changes []Change
	for key, a := range now {
		if old := e.alerts[key]; old != nil && old.State != Resolved {
			old.Value, old.Annotations, old.KeepFiringSince = a.Value, a.Annotations, time.Time{}
			old.annotate()
			continue
		}
		e.alerts[key] = a
	}
	var failed error
	series := map[string]labels.Labels{}
	for _, key := range slices.Sorted(maps.Keys(e.alerts)) {
		a := e.alerts[key]
		if a.Group != g.Key() || a.Rule != r.ID {
			continue
		}
		if c := a.advance(r, now[key] != nil, at); c != nil {
			changes = append(changes, *c)
		}
		if a.State == Resolved && (a.FiredAt.IsZero() || at.Sub(a.ResolvedAt) >= told) {
			delete(e.alerts, key)
		}
		if a.State != Resolved {
			failed = errors.Join(failed, e.show(a, series, at.Add(-g.Offset)))
		}
	}
	return changes, errors.Join(failed, e.ended(g, r, series, at))
}

// forget forgets the oldest of too many alerts that are over.
func (e *evaluator) forget() {
	var over []*Alert
	for _, a := range e.alerts {
		if a.State == Resolved {
			over = append(over, a)
		}
	}
	if len(over) <= maxAlerts {
		return
	}
	slices.SortFunc(over, func(a, b *Alert) int { return b.ResolvedAt.Compare(a.ResolvedAt) })
	for _, a := range over[maxAlerts:] {
		delete(e.alerts, a.key())
	}
}

// room reports whether there is room for a rule's new alerts.
func (e *evaluator) room(now map[string]*Alert) error {
	active := 0
	for _, a := range e.alerts {
		if a.State != Resolved {
			active++
		}
	}
	for key := range now {
		if old := e.alerts[key]; old == nil || old.State == Resolved {
			active++
		}
	}
	if active > maxAlerts {
		return fmt.Errorf("it gives %d alerts, with which there would be more than %d: make it say less", len(now), maxAlerts)
	}
	return nil
}

// count is how many alerts a rule has at a time at which it gives some: those that
// are kept firing count too.
func (e *evaluator) count(g *Group, r *Rule, now map[string]*Alert, at time.Time) int {
	n := len(now)
	for key, a := range e.alerts {
		if a.Group == g.Key() && a.Rule == r.ID && now[key] == nil && a.kept(r, at) {
			n++
		}
	}
	return n
}

// clear ends all alerts of a rule.
func (e *evaluator) clear(g *Group, r *Rule, at time.Time) (changes []Change) {
	for _, key := range slices.Sorted(maps.Keys(e.alerts)) {
		a := e.alerts[key]
		if a.Group != g.Key() || a.Rule != r.ID {
			continue
		}
		switch {
		case a.State == Firing:
			a.State, a.ResolvedAt = Resolved, at
			changes = append(changes, Change{Alert: *a, At: at})
		case a.State == Pending || at.Sub(a.ResolvedAt) >= told:
			delete(e.alerts, key)
		}
	}
	return changes
}

// kept reports whether an alert whose expression has no value is kept firing.
func (a *Alert) kept(r *Rule, at time.Time) bool {
	return a.State == Firing && r.KeepFiringFor > 0 && (a.KeepFiringSince.IsZero() || at.Sub(a.KeepFiringSince) < r.KeepFiringFor)
}

// advance goes on to a time at which the expression has a value or not. It gives
// the change if the alert begins to fire, or is over.
func (a *Alert) advance(r *Rule, active bool, at time.Time) *Change {
	switch {
	case a.State == Resolved:
		return nil
	case !active && a.State == Pending:
		a.State, a.ResolvedAt = Resolved, at
		return nil
	case !active:
		keeps := a.kept(r, at)
		if a.KeepFiringSince.IsZero() {
			a.KeepFiringSince = at
		}
		if !keeps {
			a.State, a.ResolvedAt = Resolved, at
			return &Change{Alert: *a, At: at}
		}
	}
	switch long := at.Sub(a.ActiveAt) >= r.For; {
	case long && a.State == Pending:
		a.State, a.FiredAt = Firing, at
		return &Change{Alert: *a, At: at}
	case !long && a.State == Firing && !at.Before(a.FiredAt): // the clock wasn't set back: the rule has a longer `for` now: it is pending again, as in Prometheus
		over := &Change{Alert: *a, At: at}
		over.State, over.ResolvedAt = Resolved, at
		a.State, a.FiredAt, a.KeepFiringSince, a.Exemplar, a.Untold = Pending, time.Time{}, time.Time{}, "", false
		return over
	}
	return nil
}

// show records the series ALERTS and ALERTS_FOR_STATE, as Prometheus does.
func (e *evaluator) show(a *Alert, series map[string]labels.Labels, at time.Time) error {
	b := labels.NewBuilder(a.labels)
	b.Set(model.MetricNameLabel, "ALERTS_FOR_STATE")
	since := b.Labels()
	b.Set(model.MetricNameLabel, "ALERTS")
	b.Set("alertstate", string(a.State))
	state := b.Labels()
	if series != nil {
		series[string(since.Bytes(nil))], series[string(state.Bytes(nil))] = since, state
	}
	return errors.Join(
		e.put(recorded.Sample{Rule: a.Rule, Labels: since, F: float64(a.ActiveAt.Unix())}, at),
		e.put(recorded.Sample{Rule: a.Rule, Labels: state, F: 1}, at))
}

// expand makes the alert of a sample: its labels and annotations may be templates.
func (e *evaluator) expand(ctx context.Context, g *Group, r *Rule, s prom.Sample, at time.Time) (*Alert, error) {
	data := template.AlertTemplateData(s.Metric.Map(), e.external, e.url.String(), s)
	// A template that fails must not keep the alert from firing.
	expand := func(text string) string {
		const before = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
		out, err := template.NewTemplateExpander(ctx, before+text, "__alert_"+r.Alert, data, model.TimeFromUnixNano(at.UnixNano()),
			e.vector, e.url, []string{"missingkey=zero"}).Expand()
		if err != nil {
			out = fmt.Sprintf("<error expanding template: %s>", err)
		}
		return strings.ToValidUTF8(out, "\uFFFD")
	}
	b := labels.NewBuilder(s.Metric).Del(model.MetricNameLabel)
	for k, v := range r.Labels {
		b.Set(k, expand(v))
	}
	b.Set(labels.AlertName, r.Alert)
	size := 0
	b.Range(func(l labels.Label) { // JSON has no other bytes
		if !utf8.ValidString(l.Value) {
			b.Set(l.Name, strings.ToValidUTF8(l.Value, "\uFFFD"))
		}
		size += len(l.Name) + len(l.Value)
	})
	if size > maxLabels {
		return nil, fmt.Errorf("the labels of an alert have %d bytes, at most %d are allowed", size, maxLabels)
	}
	a := newAlert(proto.Alert{Group: g.Key(), Rule: r.ID, State: Pending, Value: proto.Number(s.F), ActiveAt: at, Labels: b.Labels().Map()})
	for k, v := range r.Annotations {
		if a.Annotations == nil {
			a.Annotations = map[string]string{}
		}
		text := expand(v)
		if len(text) > maxText {
			text = strings.ToValidUTF8(text[:maxText], "") + "…"
		}
		a.Annotations[k] = text
	}
	return a, nil
}

// key names an alert among all.
func (a *Alert) key() string { return a.Group + "\x00" + a.Rule + "\x00" + a.labels.String() }
