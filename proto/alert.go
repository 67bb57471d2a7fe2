package proto

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Versions of the messages of WEIR_ALERTS, which are JSON.
const (
	AlertRecordVersion = 1
	AlertRulesVersion  = 1
)

// AlertState is what an alert does.
type AlertState string

const (
	AlertPending  AlertState = "pending"  // its expression has a value, not yet for long enough
	AlertFiring   AlertState = "firing"   //
	AlertResolved AlertState = "resolved" // it is over
)

// Number is written as JSON also where JSON has no such number: "NaN", "+Inf".
type Number float64

// MarshalJSON writes a number, or a string.
func (n Number) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(n), 'g', -1, 64)
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		text = strconv.Quote(text)
	}
	return []byte(text), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Number) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	*n = Number(f)
	return err
}

// Alert is one series of an alerting rule that has a value, or had one lately.
type Alert struct {
	Group           string            `json:"group"` // file;name
	Rule            string            `json:"rule"`  // its ID
	State           AlertState        `json:"state"`
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Value           Number            `json:"value"`
	ActiveAt        time.Time         `json:"active_at"`                  // since when the expression has a value
	FiredAt         time.Time         `json:"fired_at,omitzero"`          // zero while it is pending
	KeepFiringSince time.Time         `json:"keep_firing_since,omitzero"` // when the expression lost its value while it fired
	ResolvedAt      time.Time         `json:"resolved_at,omitzero"`
	Exemplar        string            `json:"exemplar,omitempty"`    // the annotation of that name, if it isn't the rule's
	SilencedBy      []string          `json:"silenced_by,omitempty"` // IDs of silences
	Untold          bool              `json:"untold,omitempty"`      // it began to fire silenced, and webhooks haven't heard of it
}

// AlertGroup is how far a group of rules was evaluated.
type AlertGroup struct {
	Evaluated time.Time         `json:"evaluated"`
	Interval  float64           `json:"interval_s"`
	Took      float64           `json:"took_s,omitempty"` // the last evaluation
	Rules     int               `json:"rules"`
	Error     string            `json:"error,omitempty"`  // of the last evaluation
	Errors    map[string]string `json:"errors,omitempty"` // the same by the IDs of rules
}

// AlertRecord is all that an alerter knows after a round, on [SubjectAlertCommit].
type AlertRecord struct {
	V       int                   `json:"v"`
	Cluster string                `json:"cluster,omitempty"`
	Time    time.Time             `json:"time"`   // that was evaluated last
	Groups  map[string]AlertGroup `json:"groups"` // by file;name
	Alerts  []*Alert              `json:"alerts"` // pending, firing, and resolved of late
}

// DecodeAlertRecord reads a message of [SubjectAlertCommit].
func DecodeAlertRecord(data []byte) (*AlertRecord, error) {
	r := new(AlertRecord)
	return r, decodeAlerts(data, "record", r, &r.V, AlertRecordVersion)
}

// AlertChange is the data of a message of [SubjectsAlert]: an alert begins to
// fire, or is over.
type AlertChange struct {
	Status      string            `json:"status"` // firing or resolved
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Value       Number            `json:"value"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt,omitzero"`
	Rule        string            `json:"rule"`
	Group       string            `json:"group"`
	Page        string            `json:"generatorURL,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	Silenced    bool              `json:"silenced,omitempty"` // it began to fire silenced: webhooks don't hear of it
}

// AlertRules are the rules that an alerter evaluates, on [SubjectAlertRules].
type AlertRules struct {
	V       int         `json:"v"`
	Groups  []RuleGroup `json:"groups"`
	LeftOut int         `json:"left_out,omitempty"` // groups there was no room for
}

// RuleGroup is rules that are evaluated one after the other.
type RuleGroup struct {
	File      string     `json:"file"` // "" for rules that come with Weir
	Name      string     `json:"name"`
	Interval  float64    `json:"interval_s"`
	Limit     int        `json:"limit,omitempty"` // of what a rule may give; 0 for none
	Rules     []Rule     `json:"rules"`
	Objective *Objective `json:"objective,omitempty"` // that the rules were made of
}

// Key names a group in [AlertRecord] and [Alert].
func (g *RuleGroup) Key() string { return g.File + ";" + g.Name }

// Kinds of rules.
const (
	RuleAlerting  = "alerting"
	RuleRecording = "recording"
)

// Rule alerts, or records a series.
type Rule struct {
	ID            string            `json:"id"`   // its name; with #2 and so on if others of the group have the same
	Kind          string            `json:"kind"` // RuleAlerting or RuleRecording
	Name          string            `json:"name"` // of the alert or of the series
	Query         string            `json:"query"`
	For           float64           `json:"for_s,omitempty"`
	KeepFiringFor float64           `json:"keep_firing_for_s,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ObjectiveWindow stands for the range in an [Objective]'s ErrorRatio.
const ObjectiveWindow = "{{.window}}"

// Objective is one objective of an SLO.
type Objective struct {
	SLO        string            `json:"slo"`
	Service    string            `json:"service"`
	Target     float64           `json:"target"`      // share of requests that must be good
	Period     float64           `json:"period_s"`    // that the target is for
	Text       string            `json:"text"`        // what is asked for: 99% of requests … over 30d
	Labels     map[string]string `json:"labels"`      // of all that the rules record: slo, objective, …
	ErrorRatio string            `json:"error_ratio"` // PromQL for the share of bad requests; ObjectiveWindow is its range
}

// maxRulesBytes leaves room in a batch for all alerts that may change at once.
const maxRulesBytes = MaxMessageBytes / 2

// Encode writes rules as a message. Groups that it has no room for are left out,
// and counted. The same rules give the same bytes.
func (r *AlertRules) Encode() (data []byte, leftOut int, err error) {
	out := AlertRules{V: AlertRulesVersion, Groups: []RuleGroup{}}
	room := maxRulesBytes - 100 // for what is around the groups
	for _, g := range r.Groups {
		data, err := json.Marshal(g)
		if err != nil {
			return nil, 0, fmt.Errorf("encode rules of group %s: %w", g.Key(), err)
		}
		if len(data)+1 > room {
			out.LeftOut++
			continue
		}
		room -= len(data) + 1
		out.Groups = append(out.Groups, g)
	}
	data, err = json.Marshal(out)
	return data, out.LeftOut, err
}

// DecodeAlertRules reads what [AlertRules.Encode] writes.
func DecodeAlertRules(data []byte) (*AlertRules, error) {
	r := new(AlertRules)
	return r, decodeAlerts(data, "rules", r, &r.V, AlertRulesVersion)
}

func decodeAlerts(data []byte, what string, into any, v *int, version int) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode the alerter's %s: %w", what, err)
	}
	switch {
	case *v == 0:
		return fmt.Errorf("decode the alerter's %s: %w", what, errNoVersion)
	case *v > version:
		return fmt.Errorf("decode the alerter's %s: version %d, this program knows %d", what, *v, version)
	}
	return nil
}

// DecodeAlertChange reads a message of [SubjectsAlert].
func DecodeAlertChange(data []byte) (*AlertChange, error) {
	c := new(AlertChange)
	err := json.Unmarshal(data, c)
	if err == nil && c.Status != string(AlertFiring) && c.Status != string(AlertResolved) {
		err = errors.New("its status is neither firing nor resolved")
	}
	if err != nil {
		return nil, fmt.Errorf("decode an alert's change: %w", err)
	}
	return c, nil
}
