package alert

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/yamlfile"
	"github.com/weirstream/weir/proto"
)

// lookback is how long a sample stands for what follows it, as in Prometheus.
const lookback = 5 * time.Minute

// DefaultInterval is how often the rules of a group that says nothing of it are
// evaluated.
const DefaultInterval = time.Minute

// Group is rules that are evaluated one after the other.
type Group struct {
	File     string // "" for rules that come with Weir
	Name     string
	Interval time.Duration
	Offset   time.Duration // query_offset
	Limit    int           // of what a rule may give; 0 for none
	Rules    []*Rule

	Objective *proto.Objective // that they were made of; nil if they weren't
}

// Key names a group: it is the same after a restart.
func (g *Group) Key() string { return g.File + ";" + g.Name }

// Rule records a series, or alerts.
type Rule struct {
	ID            string // its name; with #2 and so on if others of the group have the same
	Record        string // name of the series, "" if it alerts
	Alert         string
	Expr          string
	For           time.Duration
	KeepFiringFor time.Duration
	Labels        map[string]string
	Annotations   map[string]string

	parsed parser.Expr
}

// Name is that of the alert or of the series.
func (r *Rule) Name() string {
	return cmp.Or(r.Alert, r.Record)
}

// LoadFiles reads the rule files that match some patterns. All mistakes of all
// files are in the error, each with its file and, where it has one, its place.
func LoadFiles(patterns []string, interval time.Duration) ([]*Group, error) {
	var groups []*Group
	var wrong []error
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("rule files %q: %w", pattern, err)
		}
		if len(files) == 0 {
			wrong = append(wrong, fmt.Errorf("rule files %q: there is no such file", pattern))
		}
		slices.Sort(files)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			of, err := Parse(file, data, interval)
			groups = append(groups, of...)
			wrong = append(wrong, err)
		}
	}
	seen := map[string]bool{}
	for _, g := range groups {
		if seen[g.Key()] {
			wrong = append(wrong, fmt.Errorf("%s: group %q is there twice", g.File, g.Name))
		}
		seen[g.Key()] = true
	}
	return groups, errors.Join(wrong...)
}

// Parse reads a rule file's text. All its mistakes are in the error, each with its
// place.
func Parse(file string, data []byte, interval time.Duration) ([]*Group, error) {
	p := parser.NewParser(parser.Options{})
	var read rulefmt.RuleGroups
	document, err := yamlfile.Decode(file, data, &read)
	if kind := document.At("kind"); err != nil && kind != nil && kind.Value == "PrometheusRule" {
		return nil, document.Wrong(kind, "a PrometheusRule is a manifest of Kubernetes: expected what is below its spec, groups and their rules")
	}
	if err != nil {
		return nil, err
	}
	_, errs := rulefmt.Parse(data, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if wrong := mistakes(document, read.Groups, errs); len(wrong) > 0 {
		return nil, wrong
	}
	var groups []*Group
	for _, g := range read.Groups {
		group := &Group{File: file, Name: g.Name, Interval: time.Duration(g.Interval), Limit: g.Limit}
		if group.Interval == 0 {
			group.Interval = interval
		}
		if g.QueryOffset != nil {
			group.Offset = time.Duration(*g.QueryOffset)
		}
		names := map[string]int{}
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil { // it was parsed before
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			of := map[string]string{}
			for k, v := range g.Labels {
				of[k] = v
			}
			for k, v := range r.Labels {
				of[k] = v
			}
			id := cmp.Or(r.Alert, r.Record)
			if names[id]++; names[id] > 1 {
				id = fmt.Sprintf("%s#%d", id, names[id])
			}
			group.Rules = append(group.Rules, &Rule{
				ID: id, Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: time.Duration(r.For), KeepFiringFor: time.Duration(r.KeepFiringFor),
				Labels: of, Annotations: r.Annotations, parsed: expr,
			})
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// Twice says which rules record a name with the same labels as one before them: of a
// series that both give one has no samples, as in Prometheus.
func Twice(groups []*Group) (said []string) {
	first := map[string]*Group{}
	for _, g := range groups {
		for _, r := range g.Rules {
			key := r.Record + labels.FromMap(r.Labels).String()
			if r.Record == "" {
				continue
			}
			if of := first[key]; of != nil {
				said = append(said, fmt.Sprintf("%s: rule %q of group %q records what group %q of %s records: series that both give have the samples of one of them", g.File, r.ID, g.Name, of.Name, of.File))
			} else {
				first[key] = g
			}
		}
	}
	return said
}

// recordedNames reports what names the rules of all groups record, and how far back
// their expressions look at these.
func recordedNames(groups []*Group) (names map[string]bool, back time.Duration) {
	names = map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				names[r.Record] = true
			}
		}
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			parser.Inspect(r.parsed, func(node parser.Node, path []parser.Node) error {
				s, ok := node.(*parser.VectorSelector)
				if !ok || !mayBe(s, names) {
					return nil
				}
				far := s.OriginalOffset
				for _, above := range path {
					switch n := above.(type) {
					case *parser.MatrixSelector:
						far += n.Range
					case *parser.SubqueryExpr:
						far += n.Range + n.OriginalOffset
					}
				}
				back = max(back, far+lookback)
				return nil
			})
		}
	}
	return names, back
}

// mayBe reports whether a selector may select one of some names.
func mayBe(s *parser.VectorSelector, names map[string]bool) bool {
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			for name := range names {
				if m.Matches(name) {
					return true
				}
			}
			return false
		}
	}
	return true
}
