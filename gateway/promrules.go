package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/proto"
)

// ownRules is the file that rules are said to be of which come with Weir.
const ownRules = "weir"

// promGroup is a group of rules as Prometheus tells of it.
type promGroup struct {
	Name           string    `json:"name"`
	File           string    `json:"file"`
	Rules          []any     `json:"rules"` // promAlerting and promRecording
	Interval       float64   `json:"interval"`
	Limit          int       `json:"limit"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
}

// promRule is what rules of both kinds have.
type promRule struct {
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Labels         map[string]string `json:"labels"`
	Health         string            `json:"health"` // ok, err, unknown
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

type promAlerting struct {
	State         string            `json:"state"` // firing, pending, inactive
	Duration      float64           `json:"duration"`
	KeepFiringFor float64           `json:"keepFiringFor"`
	Annotations   map[string]string `json:"annotations"`
	Alerts        []promAlert       `json:"alerts"` // null if they are excluded
	promRule
}

type promAlert struct {
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	State           proto.AlertState  `json:"state"`
	ActiveAt        *time.Time        `json:"activeAt,omitempty"`
	KeepFiringSince *time.Time        `json:"keepFiringSince,omitempty"`
	Value           string            `json:"value"`
}

func promAlertOf(a *proto.Alert) promAlert {
	out := promAlert{
		Labels: notNil(a.Labels), Annotations: notNil(a.Annotations), State: a.State, ActiveAt: &a.ActiveAt,
		Value: strconv.FormatFloat(float64(a.Value), 'e', -1, 64),
	}
	if !a.KeepFiringSince.IsZero() {
		out.KeepFiringSince = &a.KeepFiringSince
	}
	return out
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// alerts answers /api/v1/alerts: what fires and what is pending.
func (a *promAPI) alerts(*http.Request) (*promData, error) {
	out := []promAlert{} // not null
	if record := a.gateway.alerts.known().record; record != nil {
		for _, alert := range record.Alerts {
			if alert.State != proto.AlertResolved {
				out = append(out, promAlertOf(alert))
			}
		}
	}
	return success(map[string]any{"alerts": out}), nil
}

// ruleFilter is which rules are asked for.
type ruleFilter struct {
	kind                string // "" for both
	names, groups, file []string
	labels              [][]*labels.Matcher // any of these
	excludeAlerts       bool
	limit               int // of groups, 0 for none
	next                string
}

func ruleFilterOf(q url.Values) (f ruleFilter, err error) {
	f = ruleFilter{names: q["rule_name[]"], groups: q["rule_group[]"], file: q["file[]"], next: q.Get("group_next_token")}
	switch strings.ToLower(q.Get("type")) {
	case "":
	case "alert":
		f.kind = proto.RuleAlerting
	case "record":
		f.kind = proto.RuleRecording
	default:
		return f, badParam("type", fmt.Errorf("not supported value %q", q.Get("type")))
	}
	if given := q["match[]"]; len(given) > 0 {
		if f.labels, err = promSelectors(given); err != nil {
			return f, err
		}
	}
	if text := q.Get("exclude_alerts"); text != "" {
		if f.excludeAlerts, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
			return f, badParam("exclude_alerts", fmt.Errorf("%q is neither true nor false", text))
		}
	}
	if text := q.Get("group_limit"); text != "" {
		if f.limit, err = strconv.Atoi(text); err != nil || f.limit <= 0 {
			return f, badParam("group_limit", fmt.Errorf("%q is not a number greater than 0", text))
		}
	} else if f.next != "" {
		return f, badParam("group_next_token", errors.New("group_limit needs to be present in order to paginate over the groups"))
	}
	return f, nil
}

// among reports whether one is wanted; all are if none is named.
func among(wanted []string, one string) bool { return len(wanted) == 0 || slices.Contains(wanted, one) }

// wants reports whether a rule is asked for.
func (f *ruleFilter) wants(r *proto.Rule) bool {
	if f.kind != "" && f.kind != r.Kind || !among(f.names, r.Name) {
		return false
	}
	hasNot := func(m *labels.Matcher) bool { return !m.Matches(r.Labels[m.Name]) }
	return len(f.labels) == 0 || slices.ContainsFunc(f.labels, func(all []*labels.Matcher) bool { return !slices.ContainsFunc(all, hasNot) })
}

// rules answers /api/v1/rules.
func (a *promAPI) rules(r *http.Request) (*promData, error) {
	f, err := ruleFilterOf(r.Form)
	if err != nil {
		return nil, err
	}
	k := a.gateway.alerts.known()
	if k.rules == nil {
		return success(map[string]any{"groups": []any{}}), nil
	}
	var data struct {
		Groups []*promGroup `json:"groups"`
		Next   string       `json:"groupNextToken,omitempty"`
	}
	data.Groups = []*promGroup{} // not null
	skip := f.next != ""
	for i := range k.rules.Groups {
		g := promGroupOf(&k.rules.Groups[i], k.record, f)
		token := nextToken(g)
		skip = skip && token != f.next
		if skip || len(g.Rules) == 0 || !among(f.groups, g.Name) || !among(f.file, g.File) {
			continue
		}
		if f.limit > 0 && len(data.Groups) == f.limit {
			data.Next = token
			break
		}
		data.Groups = append(data.Groups, g)
	}
	if skip {
		return nil, badParam("group_next_token", fmt.Errorf("invalid group_next_token %q. were rule groups changed?", f.next))
	}
	d := success(data)
	if n := k.rules.LeftOut; n > 0 {
		d.Warnings = []string{fmt.Sprintf("%d groups of rules are not listed: the alerter's message had no room for them", n)}
	}
	return d, nil
}

func nextToken(g *promGroup) string {
	sum := sha256.Sum256([]byte(g.File + ";" + g.Name))
	return hex.EncodeToString(sum[:])
}

// promGroupOf is a group with those of its rules that are wanted.
func promGroupOf(g *proto.RuleGroup, record *proto.AlertRecord, f ruleFilter) *promGroup {
	var of proto.AlertGroup
	active := map[string][]promAlert{} // by rule
	if record != nil {
		of = record.Groups[g.Key()]
		for _, alert := range record.Alerts {
			if alert.Group == g.Key() && alert.State != proto.AlertResolved {
				active[alert.Rule] = append(active[alert.Rule], promAlertOf(alert))
			}
		}
	}
	out := &promGroup{
		Name: g.Name, File: cmp.Or(g.File, ownRules), Rules: []any{}, Interval: g.Interval, Limit: g.Limit,
		EvaluationTime: of.Took, LastEvaluation: of.Evaluated,
	}
	for i := range g.Rules {
		r := &g.Rules[i]
		if !f.wants(r) {
			continue
		}
		rule := promRule{
			Name: r.Name, Query: r.Query, Labels: notNil(r.Labels), Health: "ok", LastError: of.Errors[r.ID], LastEvaluation: of.Evaluated, Type: r.Kind,
		}
		switch {
		case of.Evaluated.IsZero():
			rule.Health = "unknown"
		case rule.LastError != "":
			rule.Health = "err"
		}
		if r.Kind == proto.RuleRecording {
			out.Rules = append(out.Rules, rule)
			continue
		}
		alerting := promAlerting{
			State: stateOf(active[r.ID]), Duration: r.For, KeepFiringFor: r.KeepFiringFor, Annotations: notNil(r.Annotations), promRule: rule,
		}
		if !f.excludeAlerts {
			alerting.Alerts = append([]promAlert{}, active[r.ID]...) // not null
		}
		out.Rules = append(out.Rules, alerting)
	}
	return out
}

// stateOf is the state of a rule with some alerts.
func stateOf(alerts []promAlert) string {
	state := "inactive"
	for _, a := range alerts {
		if a.State == proto.AlertFiring {
			return string(a.State)
		}
		state = string(a.State)
	}
	return state
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
