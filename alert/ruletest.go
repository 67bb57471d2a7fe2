package alert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promhist "github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/yamlfile"
)

// testBytes bounds the samples of a test in memory.
const testBytes = 1 << 30

// testFile is a unit test of rules, in the format of `promtool test rules`.
type testFile struct {
	RuleFiles      []string       `yaml:"rule_files"`
	Interval       model.Duration `yaml:"evaluation_interval"`
	GroupEvalOrder []string       `yaml:"group_eval_order"`
	FuzzyCompare   bool           `yaml:"fuzzy_compare"`
	Tests          []ruleTest     `yaml:"tests"`
}

type ruleTest struct {
	Name           string            `yaml:"name"`
	Interval       model.Duration    `yaml:"interval"`
	Input          []inputSeries     `yaml:"input_series"`
	Alerts         []alertTest       `yaml:"alert_rule_test"`
	Exprs          []exprTest        `yaml:"promql_expr_test"`
	ExternalLabels map[string]string `yaml:"external_labels"`
	ExternalURL    string            `yaml:"external_url"`
	Start          string            `yaml:"start_timestamp"` // RFC 3339, or seconds since 1970

	document *yamlfile.Document
	index    int // in tests
}

// wrong is a mistake at a byte of a value of the test, if that can be told.
func (t *ruleTest) wrong(err error, offset int, path ...any) error {
	node := t.document.At(append([]any{"tests", t.index}, path...)...)
	var syntax parser.ParseErrors
	if errors.As(err, &syntax) {
		return t.document.WrongIn(node, int(syntax[0].PositionRange.Start)-offset, "%s", syntax[0].Err)
	}
	return t.document.Wrong(node, "%s", err)
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type alertTest struct {
	At     model.Duration `yaml:"eval_time"`
	Name   string         `yaml:"alertname"`
	Expect []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

type exprTest struct {
	Expr   string         `yaml:"expr"`
	At     model.Duration `yaml:"eval_time"`
	Expect []struct {
		Labels    string  `yaml:"labels"`
		Value     float64 `yaml:"value"`
		Histogram string  `yaml:"histogram"`
	} `yaml:"exp_samples"`
}

// TestFile runs a file of unit tests and says what isn't as it should be; an
// error is a mistake in the file or in the rules.
func TestFile(ctx context.Context, file string) (failures []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f testFile
	document, err := yamlfile.Decode(file, data, &f)
	if err != nil {
		return nil, err
	}
	for i, name := range f.GroupEvalOrder {
		if slices.Index(f.GroupEvalOrder, name) < i {
			return nil, document.Wrong(document.At("group_eval_order", i), "group %q is here twice", name)
		}
	}
	if f.Interval == 0 {
		f.Interval = model.Duration(time.Minute)
	}
	var patterns []string
	for _, p := range f.RuleFiles {
		if !filepath.IsAbs(p) {
			p = filepath.Join(filepath.Dir(file), p)
		}
		patterns = append(patterns, p)
	}
	for i := range f.Tests {
		groups, err := LoadFiles(patterns, time.Duration(f.Interval)) // anew: a test must not see what another did
		if err != nil {
			return nil, err
		}
		order := func(g *Group) int { return slices.Index(f.GroupEvalOrder, g.Name) }
		slices.SortStableFunc(groups, func(a, b *Group) int { return order(a) - order(b) })
		t := &f.Tests[i]
		t.document, t.index = document, i
		of, err := t.run(ctx, groups, time.Duration(f.Interval), f.FuzzyCompare)
		name := t.Name
		if name == "" {
			name = fmt.Sprintf("test %d", i+1)
		}
		var mistake yamlfile.Mistake
		if errors.As(err, &mistake) {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, name, err)
		}
		for _, what := range of {
			failures = append(failures, name+": "+what)
		}
	}
	return failures, nil
}

func (t *ruleTest) run(ctx context.Context, groups []*Group, every time.Duration, fuzzy bool) (failures []string, err error) {
	page, err := url.Parse(t.ExternalURL)
	if err != nil {
		return nil, t.wrong(err, 0, "external_url")
	}
	start, err := t.start()
	if err != nil {
		return nil, t.wrong(err, 0, "start_timestamp")
	}
	e := newEvaluator(nil, t.ExternalLabels, page, every)
	input, end, err := t.load(start, every)
	if err != nil {
		return nil, err
	}
	for at := time.Duration(0); at <= end; at += every {
		for ; len(input) > 0 && input[0].at <= start.Add(at).UnixMilli(); input = input[1:] { // rules don't see what is yet to come
			if _, err := e.memory.Add(input[0].of, input[0].at, input[0].Value, input[0].Histogram); err != nil {
				return nil, err
			}
		}
		for _, g := range groups {
			if _, err := e.evaluate(ctx, g, start.Add(at), nil); err != nil {
				return nil, fmt.Errorf("at %s: %w", model.Duration(at), err)
			}
		}
		for _, a := range t.Alerts {
			if asked := time.Duration(a.At); asked >= at && asked < at+every {
				failures = append(failures, a.check(e)...)
			}
		}
	}
	for i, x := range t.Exprs {
		if _, err := parser.NewParser(parser.Options{}).ParseExpr(x.Expr); err != nil {
			return nil, t.wrong(err, 0, "promql_expr_test", i, "expr")
		}
		of, err := x.check(ctx, e, start, fuzzy)
		if err != nil {
			return nil, err
		}
		failures = append(failures, of...)
	}
	return failures, nil
}

// start is the time of the first samples and the first round.
func (t *ruleTest) start() (time.Time, error) {
	if t.Start == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	if seconds, err := strconv.ParseFloat(t.Start, 64); err == nil {
		return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, t.Start)
	if err != nil {
		return at, fmt.Errorf("%q is no time: expected one such as 2026-03-01T10:00:00Z, or seconds since 1970", t.Start)
	}
	return at.UTC(), nil
}

// sample is one of an input series.
type sample struct {
	of labels.Labels
	at int64 // milliseconds
	parser.SequenceValue
}

// load reads the input, which it returns by time, and the last time asked for.
func (t *ruleTest) load(start time.Time, every time.Duration) (input []sample, end time.Duration, err error) {
	interval := time.Duration(t.Interval)
	if interval == 0 {
		interval = every
	}
	p, seen := parser.NewParser(parser.Options{}), map[string]bool{}
	for i, in := range t.Input {
		if _, err := p.ParseMetric(in.Series); err != nil {
			return nil, 0, t.wrong(err, 0, "input_series", i, "series")
		}
		of, values, err := p.ParseSeriesDesc(in.Series + " " + in.Values)
		if err != nil {
			return nil, 0, t.wrong(err, len(in.Series)+1, "input_series", i, "values")
		}
		if key := of.String(); seen[key] { // the last of the same counts, as for promtool
			input = slices.DeleteFunc(input, func(s sample) bool { return labels.Equal(s.of, of) })
		} else {
			seen[key] = true
		}
		for i, v := range values {
			if !v.Omitted {
				input = append(input, sample{of, start.Add(time.Duration(i) * interval).UnixMilli(), v})
			}
		}
	}
	slices.SortStableFunc(input, func(a, b sample) int { return cmp.Compare(a.at, b.at) })
	for i, a := range t.Alerts {
		if a.Name == "" {
			return nil, 0, t.wrong(errors.New("the test has no alertname"), 0, "alert_rule_test", i)
		}
		end = max(end, time.Duration(a.At))
	}
	for _, x := range t.Exprs {
		end = max(end, time.Duration(x.At))
	}
	return input, end, nil
}

// check compares what fires of an alert.
func (a *alertTest) check(e *evaluator) []string {
	show := func(labels, annotations map[string]string) string {
		return fmt.Sprintf("    labels %s, annotations %s", pairs(labels), pairs(annotations))
	}
	var got, want []string
	for _, alert := range e.alerts {
		if alert.State == Firing && alert.Labels[labels.AlertName] == a.Name {
			got = append(got, show(alert.Labels, alert.Annotations))
		}
	}
	for _, x := range a.Expect {
		all := maps.Clone(x.Labels)
		if all == nil {
			all = map[string]string{}
		}
		all[labels.AlertName] = a.Name
		want = append(want, show(all, x.Annotations))
	}
	return compared(fmt.Sprintf("alert %s at %s", a.Name, a.At), got, want)
}

func pairs(of map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%s=%q", k, of[k]))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func compared(what string, got, want []string) []string {
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		return nil
	}
	say := func(all []string) string {
		if len(all) == 0 {
			return "    nothing"
		}
		return strings.Join(all, "\n")
	}
	return []string{fmt.Sprintf("%s:\n  expected\n%s\n  got\n%s", what, say(want), say(got))}
}

// check compares the value of an expression.
func (x *exprTest) check(ctx context.Context, e *evaluator, start time.Time, fuzzy bool) ([]string, error) {
	found, err := e.vector(ctx, x.Expr, start.Add(time.Duration(x.At)))
	if err != nil {
		return nil, fmt.Errorf("expression %q at %s: %w", x.Expr, x.At, err)
	}
	p := parser.NewParser(parser.Options{})
	var want prom.Vector
	for _, s := range x.Expect {
		of := labels.EmptyLabels()
		if s.Labels != "" {
			if of, err = p.ParseMetric(s.Labels); err != nil {
				return nil, fmt.Errorf("expected labels %q: %w", s.Labels, err)
			}
		}
		sample := prom.Sample{Metric: of, F: s.Value}
		if s.Histogram != "" {
			_, values, err := p.ParseSeriesDesc("{} " + s.Histogram)
			if err != nil || len(values) != 1 || values[0].Histogram == nil {
				return nil, fmt.Errorf("expected histogram %q: expected one such as {{schema:0 count:1 sum:2 buckets:[1]}}: %w", s.Histogram, err)
			}
			sample.H = values[0].Histogram
		}
		want = append(want, sample)
	}
	left := slices.Clone(want)
	same := len(found) == len(want)
	for _, s := range found {
		i := slices.IndexFunc(left, func(w prom.Sample) bool {
			return labels.Equal(w.Metric, s.Metric) && equalHistograms(w.H, s.H) && (s.H != nil || equalNumbers(w.F, s.F, fuzzy))
		})
		if i < 0 {
			same = false
			break
		}
		left = slices.Delete(left, i, i+1)
	}
	if same {
		return nil, nil
	}
	show := func(v prom.Vector) (out []string) {
		for _, s := range v {
			if s.H != nil {
				out = append(out, fmt.Sprintf("    %s %s", s.Metric, s.H.TestExpression()))
			} else {
				out = append(out, fmt.Sprintf("    %s %v", s.Metric, s.F))
			}
		}
		return out
	}
	return compared(fmt.Sprintf("expression %q at %s", x.Expr, x.At), show(found), show(want)), nil
}

func equalHistograms(a, b *promhist.FloatHistogram) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.TestExpression() == b.TestExpression() // also the hint about resets, as promtool does
}

func equalNumbers(a, b float64, fuzzy bool) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || fuzzy && (math.Nextafter(a, math.Inf(-1)) == b || math.Nextafter(a, math.Inf(1)) == b)
}
