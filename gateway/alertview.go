package gateway

import (
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/proto"
)

const maxHistory = 1000 // episodes in an answer: the newest

// alertsAnswer is what fires, and what did.
type alertsAnswer struct {
	At      int64         `json:"at"`      // the rules were evaluated as of it; 0 if no alerter has said anything of late
	Old     bool          `json:"old"`     // no alerter is at work
	Past    bool          `json:"past"`    // another time than now is asked for: what was pending isn't known of it
	Groups  int           `json:"groups"`  // of rules
	Failing []failingRule `json:"failing"` // in their last evaluation
	Active  []alertRow    `json:"active"`  // what fires, what is pending, and what is over since a quarter of an hour at most
	From    int64         `json:"from"`
	To      int64         `json:"to"`
	History []alertRow    `json:"history"`  // what fired between From and To, the newest first
	LeftOut int           `json:"left_out"` // of the history
	Missing string        `json:"missing"`  // why something isn't here
}

type failingRule struct {
	Group string `json:"group"`
	Rule  string `json:"rule"`
	Error string `json:"error"`
}

// alertRow is an alert, or one time that it fired.
type alertRow struct {
	State       proto.AlertState  `json:"state"`
	Name        string            `json:"name"`
	Severity    string            `json:"severity"`
	Labels      map[string]string `json:"labels"` // all of them
	Value       proto.Number      `json:"value"`  // a string if JSON has no such number
	Summary     string            `json:"summary"`
	Description string            `json:"description,omitempty"`
	Since       int64             `json:"since"`                 // when it began to fire, or to be pending
	Until       int64             `json:"until,omitempty"`       // when it was over
	Silenced    bool              `json:"silenced,omitempty"`    // nobody is to hear of it; of what fired: webhooks heard nothing of it
	SilencedBy  []string          `json:"silenced_by,omitempty"` // IDs of silences; not known of what fired
	Group       string            `json:"group"`
	Rule        string            `json:"rule"`
}

func rowOfAlert(state proto.AlertState, c *proto.AlertChange, since, until time.Time) alertRow {
	return alertRow{
		State: state, Name: c.Labels[labels.AlertName], Severity: c.Labels["severity"], Labels: c.Labels, Value: c.Value,
		Summary: c.Annotations["summary"], Description: c.Annotations["description"],
		Since: millis(since), Until: millis(until), Group: c.Group, Rule: c.Rule,
	}
}

func (e *episode) row() alertRow {
	state := proto.AlertFiring
	if !e.to.IsZero() {
		state = proto.AlertResolved
	}
	row := rowOfAlert(state, &e.AlertChange, e.from, e.to)
	row.Silenced = e.Silenced
	return row
}

// alertTimes reads the time of a question: the 24 hours before to, or before now,
// unless from says otherwise.
func alertTimes(q url.Values, now time.Time) (from, to time.Time, err error) {
	if to, err = timeOf(q, "to", now); err != nil {
		return from, to, err
	}
	if from, err = timeOf(q, "from", to.Add(-alertsKept)); err != nil {
		return from, to, err
	}
	if !from.Before(to) {
		err = badf("nothing lies between from=%s and to=%s: the start must be before the end", stamp(from), stamp(to))
	}
	return from, to, err
}

// alertsPage answers /api/alerts.
func (g *gateway) alertsPage(r *http.Request) (any, error) {
	now := time.Now()
	q := r.URL.Query()
	from, to, err := alertTimes(q, now)
	if err != nil {
		return nil, err
	}
	k := g.alerts.known()
	out := &alertsAnswer{
		Past: q.Has("to"), Failing: []failingRule{}, Active: []alertRow{}, From: millis(from), To: millis(to), History: []alertRow{}, LeftOut: k.forgotten.since(from),
		Missing: k.problem,
	}
	if k.record != nil {
		out.At, out.Old, out.Groups = millis(k.record.Time), now.Sub(k.stored) > alertsOld, len(k.record.Groups)
	}
	if from.Before(now.Add(-alertsKept-time.Minute)) && out.Missing == "" {
		out.Missing = "changes are kept for 24 hours"
	}
	history := g.alerts.between(from, to)
	for i := range history {
		e := &history[i]
		if out.Past && (e.to.IsZero() || e.to.After(to)) {
			e.to = time.Time{} // as it was then
			out.Active = append(out.Active, e.row())
		}
		if len(out.History) == maxHistory {
			out.LeftOut++
			continue
		}
		out.History = append(out.History, e.row())
	}
	if !out.Past && k.record != nil {
		out.now(k.record)
	}
	return out, nil
}

// now adds what the alerter knows at present.
func (a *alertsAnswer) now(record *proto.AlertRecord) {
	for _, alert := range record.Alerts {
		since := alert.FiredAt
		if since.IsZero() {
			since = alert.ActiveAt
		}
		row := rowOfAlert(alert.State, &episodeOf(alert).AlertChange, since, alert.ResolvedAt)
		row.SilencedBy = silencedBy(alert)
		row.Silenced = len(row.SilencedBy) > 0
		a.Active = append(a.Active, row)
	}
	for _, key := range sortedKeys(record.Groups) {
		of := record.Groups[key]
		for _, rule := range sortedKeys(of.Errors) {
			a.Failing = append(a.Failing, failingRule{key, rule, of.Errors[rule]})
		}
	}
}

// liveAlerts is how many alerts there are.
type liveAlerts struct {
	Firing   int  `json:"firing"` // without those that are silenced
	Silenced int  `json:"silenced"`
	Pending  int  `json:"pending"`
	Old      bool `json:"old"` // no alerter is at work
}

// live is nil if no alerter has said anything of late.
func (a *alerts) live(now time.Time) *liveAlerts {
	k := a.known()
	if k.record == nil {
		return nil
	}
	l := &liveAlerts{Old: now.Sub(k.stored) > alertsOld}
	for _, alert := range k.record.Alerts {
		switch {
		case len(silencedBy(alert)) > 0:
			l.Silenced++
		case alert.State == proto.AlertFiring:
			l.Firing++
		case alert.State == proto.AlertPending:
			l.Pending++
		}
	}
	return l
}
