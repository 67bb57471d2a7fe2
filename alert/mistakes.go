package alert

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/yamlfile"
)

// mistakes are what is wrong in a rule file beyond its form: what rulefmt finds, which
// seldom knows where, and rules that record a name of Weir's own metrics, which an
// expression couldn't tell apart.
func mistakes(d *yamlfile.Document, groups []rulefmt.RuleGroup, errs []error) (wrong yamlfile.Mistakes) {
	for i, g := range groups {
		switch first := slices.IndexFunc(groups, func(o rulefmt.RuleGroup) bool { return o.Name == g.Name }); {
		case g.Name == "":
			wrong = append(wrong, d.Wrong(d.At("groups", i, "name"), "the group has no name"))
		case first < i:
			wrong = append(wrong, d.Wrong(d.At("groups", i, "name"), "there is a group %q already, in line %d: expected another name",
				g.Name, d.At("groups", first, "name").Line))
		}
		for k, v := range g.Labels {
			if !model.UTF8Validation.IsValidLabelName(k) || k == model.MetricNameLabel {
				wrong = append(wrong, d.Wrong(d.KeyAt("groups", i, "labels", k), "group %q: invalid label name: %s", g.Name, k))
			} else if !model.LabelValue(v).IsValid() {
				wrong = append(wrong, d.Wrong(d.At("groups", i, "labels", k), "group %q: invalid label value: %s", g.Name, v))
			}
		}
		for j, r := range g.Rules {
			if promql.Owns(r.Record) {
				wrong = append(wrong, d.Wrong(d.At("groups", i, "rules", j, "record"),
					"group %q, rule %d, %q: this is the name of one of Weir's own metrics: record another", g.Name, j+1, r.Record))
			}
		}
	}
	for _, err := range errs {
		var of *rulefmt.Error
		if errors.As(err, &of) {
			wrong = append(wrong, wrongRule(d, groups, of))
		} else if len(wrong) == 0 { // of groups, as above
			wrong = append(wrong, d.Wrong(nil, "%s", err))
		}
	}
	slices.SortStableFunc(wrong, func(a, b yamlfile.Mistake) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return wrong
}

// What rulefmt says of a rule, and so of which of its keys.
var (
	ofTemplate = regexp.MustCompile(`^(label|annotation) (".*?"): (?:template: .*?:(\d+): )?`)
	ofName     = regexp.MustCompile(`^invalid (label|annotation) name: (.*)$`)
	ofField    = regexp.MustCompile(`^invalid field '(.*)' in recording rule$`)
)

// wrongRule is a mistake of a rule.
func wrongRule(d *yamlfile.Document, groups []rulefmt.RuleGroup, e *rulefmt.Error) yamlfile.Mistake {
	group := slices.IndexFunc(groups, func(g rulefmt.RuleGroup) bool {
		return g.Name == e.Group && len(g.Rules) >= e.Rule && cmp.Or(g.Rules[e.Rule-1].Alert, g.Rules[e.Rule-1].Record) == e.RuleName
	})
	at := func(keys ...any) []any { return append([]any{"groups", group, "rules", e.Rule - 1}, keys...) }
	text := errors.Unwrap(&e.Err).Error()
	node, offset := d.At(at()...), -1
	var syntax parser.ParseErrors
	if errors.As(e, &syntax) {
		node, offset = d.At(at("expr")...), int(syntax[0].PositionRange.Start)
		text = "expr: " + syntax[0].Err.Error()
	} else if m := ofTemplate.FindStringSubmatch(text); m != nil {
		key, _ := strconv.Unquote(m[2]) // rulefmt has quoted it
		node = d.At(at(m[1]+"s", key)...)
		if line, err := strconv.Atoi(m[3]); err == nil {
			offset = yamlfile.LineOffset(node.Value, line)
			text = m[1] + " " + m[2] + ": " + strings.TrimPrefix(text, m[0])
		}
	} else if m := ofName.FindStringSubmatch(text); m != nil {
		node = d.KeyAt(at(m[1]+"s", m[2])...)
	} else if m := ofField.FindStringSubmatch(text); m != nil {
		node = d.KeyAt(at(m[1])...)
	} else if strings.Contains(text, "recording rule name") {
		node = d.At(at("record")...)
	}
	const format = "group %q, rule %d, %q: %s"
	if offset >= 0 {
		return d.WrongIn(node, offset, format, e.Group, e.Rule, e.RuleName, text)
	}
	return d.Wrong(node, format, e.Group, e.Rule, e.RuleName, text)
}
