package slo

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/proto"
)

// interval of all groups: an alert is at most that late.
const interval = model.Duration(time.Minute)

// windows that the share of bad requests is recorded over.
var windows = []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}

// ownLabels are those of all recordings and alerts, besides the SLO's own.
var ownLabels = []string{"slo", "service", "namespace", "workload", "objective", "severity", "alertname", "le", "__name__"}

// burn is a row of table 5-8 of the SRE workbook: a share of the budget that is
// used up within the long window, and still being used up in the short one.
type burn struct {
	severity    string
	long, short string
	length      time.Duration // of long
	share       float64
}

var burns = []burn{
	{"page", "1h", "5m", time.Hour, 0.02},
	{"page", "6h", "30m", 6 * time.Hour, 0.05},
	{"ticket", "1d", "2h", day, 0.10},
	{"ticket", "3d", "6h", 3 * day, 0.10},
}

// factor is how many times too fast a budget is used up: 14.4, 6, 3 and 1 for
// 30 days. For other periods it is the one that uses up the same share.
func (b burn) factor(period time.Duration) float64 {
	return b.share * float64(period) / float64(b.length)
}

// limit is the share of bad requests that a row alerts above. At 1 or more it never does.
func (o *Objective) limit(b burn) float64 { return b.factor(o.Period) * (1 - o.Target) }

// Compile turns OpenSLO files into rule groups, one for each objective. Notes and
// errors are those of [Read].
func Compile(files ...File) (groups []rulefmt.RuleGroup, notes []string, err error) {
	objectives, notes, err := Read(files...)
	for _, o := range objectives {
		groups = append(groups, o.group())
	}
	return groups, notes, err
}

// Load turns OpenSLO files into groups that an alerter evaluates, which know
// their objectives.
func Load(files ...File) ([]*alert.Group, error) {
	objectives, _, err := Read(files...)
	if err != nil || len(objectives) == 0 {
		return nil, err
	}
	var rules []rulefmt.RuleGroup
	for _, o := range objectives {
		rules = append(rules, o.group())
	}
	data, err := Marshal(rules)
	if err != nil {
		return nil, err
	}
	groups, err := alert.Parse("slo", data, time.Duration(interval))
	if err != nil {
		return nil, err
	}
	for i, g := range groups {
		g.Objective = objectives[i].told()
	}
	return groups, nil
}

// told is an objective as others are told of it.
func (o *Objective) told() *proto.Objective {
	return &proto.Objective{
		SLO: o.SLO, Service: o.Service, Target: o.Target, Period: o.Period.Seconds(), Text: o.Text, Labels: o.allLabels(), ErrorRatio: o.bad(place),
	}
}

// Marshal writes a rule file.
func Marshal(groups []rulefmt.RuleGroup) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(rulefmt.RuleGroups{Groups: groups}); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return out.Bytes(), nil
}

// group holds the recordings of an objective and then its alerts, which look at them.
func (o *Objective) group() rulefmt.RuleGroup {
	g := rulefmt.RuleGroup{Name: "weir-slo-" + o.SLO + "-" + o.id(), Interval: interval}
	record := func(name, expr string) {
		g.Rules = append(g.Rules, rulefmt.Rule{Record: name, Expr: expr, Labels: o.allLabels()})
	}
	for _, w := range windows {
		record("weir:slo_error_ratio:rate"+w, o.bad(w))
	}
	if o.requests != nil {
		for _, b := range burns {
			record("weir:slo_requests:increase"+b.long, o.requests(b.long))
		}
	}
	record("weir:slo_objective", "vector("+decimal(o.Target)+")")
	record("weir:slo_budget_left:ratio3d", fmt.Sprintf("1 - %s / %s", o.series("weir:slo_error_ratio:rate3d"), decimal(1-o.Target)))
	for _, severity := range []string{"page", "ticket"} {
		if expr := o.alert(severity); expr != "" {
			labels := o.allLabels()
			for name, value := range labels {
				labels[name] = plain(value) // those of alerts are templates, those of recordings aren't
			}
			labels["severity"] = severity
			g.Rules = append(g.Rules, rulefmt.Rule{Alert: "SLOBudgetBurn", Expr: expr, Labels: labels, Annotations: map[string]string{
				"summary":     plain(o.SLO) + ": the error budget is being used up too fast",
				"description": `{{ $value | printf "%.1f" }} times as fast as it may be. The objective is: ` + plain(o.Text) + ".",
			}})
		}
	}
	return g
}

// alert is what a severity is given for, "" if for nothing.
func (o *Objective) alert(severity string) string {
	var rows []string
	for _, b := range burns {
		if b.severity != severity || o.limit(b) >= 1 {
			continue
		}
		above := func(window string) string {
			return fmt.Sprintf("%s / %s > %s", o.series("weir:slo_error_ratio:rate"+window), decimal(1-o.Target), decimal(b.factor(o.Period)))
		}
		row := "  " + above(b.long) + "\n  and " + above(b.short) + "\n"
		if o.minBad > 0 {
			row += fmt.Sprintf("  and %s * %s >= %s\n", o.series("weir:slo_error_ratio:rate"+b.long), o.series("weir:slo_requests:increase"+b.long), decimal(o.minBad))
		}
		rows = append(rows, "(\n"+row+")\n")
	}
	return strings.Join(rows, "or\n")
}

// series selects what was recorded for the objective.
func (o *Objective) series(name string) string {
	return fmt.Sprintf("%s{slo=%q,objective=%q}", name, o.SLO, o.id())
}

func (o *Objective) allLabels() map[string]string {
	all := map[string]string{"slo": o.SLO, "objective": o.id(), "service": o.Service, "namespace": o.Namespace, "workload": o.Workload}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	maps.Copy(all, o.labels)
	return all
}

// plain is text of a person for a template, in which braces mean something.
func plain(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }
