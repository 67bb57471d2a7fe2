package alert

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	exemplarName   = "exemplar"      // the annotation
	exemplarWindow = 5 * time.Minute // of a rule's window, the newest
	exemplarAfter  = 5 * time.Minute // how much later than the window messages are read
	exemplarTime   = 5 * time.Second
	mostExemplary  = 50     // alerts of a round
	mostRead       = 50_000 // messages
	mostSubjects   = 20     // beyond that all are read
	mostSteps      = 10     // from series to series that rules record
	mostRules      = 100    // that are looked at on the way
)

// latencyLabels are those that a series of latencies may have.
var latencyLabels = func() []string {
	k := query.Key{Namespace: "x", Workload: "x", Kind: "x", Operation: "x x", Status: "0", ErrorType: "x", PeerNamespace: "x", PeerWorkload: "x", PeerKind: "x"}
	var names []string
	for _, l := range k.Labels() {
		names = append(names, l.Name)
	}
	return names
}()

// exemplify gives the alerts that begin to fire an annotation: the slowest
// exchange of the rule's window that the alert may be about. What is stored
// decides alone, so it is the same whoever finds it. The stream is read once.
func (t *turn) exemplify(ctx context.Context, groups []*Group, at time.Time) error {
	var wanted []*exemplary
	of := map[*exemplary]*Change{}
	for i := range t.changes {
		c := &t.changes[i]
		if _, own := c.Annotations[exemplarName]; c.State != Firing || own || c.Unsilenced || len(wanted) == mostExemplary {
			continue
		}
		if x := exemplaryOf(groups, &c.Alert, at); x != nil {
			wanted, of[x] = append(wanted, x), c
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	reading, cancel := context.WithTimeout(ctx, exemplarTime)
	defer cancel()
	if err := readExemplars(reading, t.cfg.Bus, wanted); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.log.Warn("no_exemplars", "alerts", len(wanted), "error", err)
		return nil
	}
	for _, x := range wanted {
		if c := of[x]; x.text != "" {
			a := t.e.alerts[c.key()]
			a.Exemplar = x.text
			a.annotate()
			c.Exemplar, c.Annotations = a.Exemplar, a.Annotations
		}
	}
	return nil
}

// annotate adds the exemplar to the rule's annotations.
func (a *Alert) annotate() {
	if _, own := a.Annotations[exemplarName]; own || a.Exemplar == "" {
		return
	}
	if a.Annotations == nil {
		a.Annotations = map[string]string{}
	}
	a.Annotations[exemplarName] = a.Exemplar
}

// exemplary is an alert for which an exemplar is looked for.
type exemplary struct {
	selectors promql.Selectors
	labels    map[string]string // that the series must have
	within    query.Interval
	failures  bool // the rule tells errors apart: an exchange that failed is preferred

	best   proto.Exemplar
	failed bool // the best one
	text   string
}

// exemplaryOf is nil if an alert isn't about latencies.
func exemplaryOf(groups []*Group, a *Alert, at time.Time) *exemplary {
	var group *Group
	var rule *Rule
	for _, g := range groups {
		for _, r := range g.Rules {
			if g.Key() == a.Group && r.ID == a.Rule {
				group, rule = g, r
			}
		}
	}
	if rule == nil {
		return nil
	}
	s := &sources{groups: groups, given: map[string]bool{labels.AlertName: true}}
	s.rule(rule, nil, 0, mostSteps)
	x := &exemplary{selectors: s.selectors, labels: map[string]string{}, failures: s.failures}
	for name, value := range a.Labels {
		switch {
		case s.given[name]:
		case slices.Contains(latencyLabels, name):
			x.labels[name] = value
		default: // latencies have no such label
			return nil
		}
	}
	end := at.Add(-group.Offset)
	x.within = query.Between(end.Add(-min(s.window, exemplarWindow)), end)
	if len(x.selectors) == 0 {
		return nil
	}
	return x
}

// sources are the selectors of latencies that a rule looks at, also by way of
// series that rules record.
type sources struct {
	groups    []*Group
	selectors promql.Selectors
	window    time.Duration
	given     map[string]bool // labels that rules set
	looked    int             // at rules
	failures  bool
}

// rule adds those of a rule; those of what it looks at must match too.
func (s *sources) rule(r *Rule, matchers []*labels.Matcher, window time.Duration, steps int) {
	if s.looked++; steps == 0 || s.looked > mostRules {
		return
	}
	for name := range r.Labels {
		s.given[name] = true
	}
	parser.Inspect(r.parsed, func(node parser.Node, path []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok || v.OriginalOffset != 0 || v.Timestamp != nil {
			return nil
		}
		far := window
		for _, above := range path {
			switch n := above.(type) {
			case *parser.MatrixSelector:
				far += n.Range
			case *parser.SubqueryExpr:
				far += n.Range
			case *parser.Call:
				if n.Func.Name == "scalar" { // only a number is compared with
					return nil
				}
			}
		}
		all := slices.Clone(v.LabelMatchers)
		for _, m := range matchers {
			if slices.Contains(latencyLabels, m.Name) {
				all = append(all, m)
			}
		}
		through := false
		for _, g := range s.groups {
			for _, next := range g.Rules {
				if next.Record != "" && mayBe(v, map[string]bool{next.Record: true}) {
					through = true
					if !next.mayGive(all) {
						continue
					}
					s.rule(next, all, far, steps-1)
				}
			}
		}
		if !through {
			s.selector(all, cmp.Or(far, time.Minute))
		}
		return nil
	})
}

// mayGive reports whether the labels that a rule sets are among those asked for:
// the objectives of an SLO record series of the same names.
func (r *Rule) mayGive(matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool {
		value, set := r.Labels[m.Name]
		return set && !m.Matches(value)
	})
}

func (s *sources) selector(matchers []*labels.Matcher, window time.Duration) {
	var texts []string
	for _, m := range matchers {
		texts = append(texts, m.String())
		s.failures = s.failures || m.Name == "http_response_status_code" || m.Name == "error_type"
	}
	found, err := promql.SelectorsOf("{" + strings.Join(texts, ",") + "}")
	if err != nil { // it was parsed before
		return
	}
	s.selectors = append(s.selectors, found...)
	s.window = max(s.window, window)
}

// subject is that of a workload's latencies, or of all.
func (x *exemplary) subject() string {
	if x.labels["namespace"] == "" || x.labels["workload"] == "" {
		return proto.SubjectsLatency
	}
	return proto.LatencySubject(x.labels["namespace"], x.labels["workload"])
}

// readExemplars reads the stream for all of them.
func readExemplars(ctx context.Context, c *bus.Conn, wanted []*exemplary) error {
	subjects := map[string]bool{}
	from, to := wanted[0].within.From(), wanted[0].within.To()
	for _, x := range wanted {
		subjects[x.subject()] = true
		if x.within.From().Before(from) {
			from = x.within.From()
		}
		if x.within.To().After(to) {
			to = x.within.To()
		}
	}
	if subjects[proto.SubjectsLatency] || len(subjects) > mostSubjects {
		subjects = map[string]bool{proto.SubjectsLatency: true}
	}
	read := 0
	for m, err := range c.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: slices.Sorted(maps.Keys(subjects)), StartTime: from.Add(-query.Early), StopAtEnd: true,
	}) {
		if err != nil {
			return err
		}
		if read++; read > mostRead || m.Time.After(to.Add(exemplarAfter)) {
			return nil
		}
		l, err := proto.DecodeLatency(m.Data)
		if err != nil {
			continue // it is counted elsewhere
		}
		for i := range l.Points {
			if p := &l.Points[i]; len(p.Exemplars) > 0 {
				key := query.NewKey(l, p)
				for _, x := range wanted {
					x.take(&key, p)
				}
			}
		}
	}
	return nil
}

func (x *exemplary) take(k *query.Key, p *proto.Point) {
	there := false
	for i := range p.Exemplars {
		there = there || x.within.Contains(p.Exemplars[i].TimeNS)
	}
	if !there {
		return
	}
	series, matches := x.selectors.Labels(k)
	for name, value := range x.labels {
		matches = matches && series.Get(name) == value
	}
	if !matches {
		return
	}
	for _, e := range p.Exemplars {
		if !x.within.Contains(e.TimeNS) || x.text != "" && !x.better(k, e) {
			continue
		}
		x.best, x.failed = e, k.ErrorType != ""
		x.text = exemplarText(k, e)
	}
}

// better reports whether an exemplar is to be told of rather than the best so far.
func (x *exemplary) better(k *query.Key, e proto.Exemplar) bool {
	if failed := k.ErrorType != ""; x.failures && failed != x.failed {
		return failed
	}
	if e.ValueNS != x.best.ValueNS {
		return e.ValueNS > x.best.ValueNS
	}
	if e.TimeNS != x.best.TimeNS {
		return e.TimeNS < x.best.TimeNS
	}
	return exemplarText(k, e) < x.text
}

// exemplarText is a line of keys and values: what it was, how long it took and when.
func exemplarText(k *query.Key, e proto.Exemplar) string {
	var b strings.Builder
	add := func(name, value string) {
		if value == "" {
			return
		}
		if strings.ContainsAny(value, " \"=") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&b, "%s=%s ", name, value)
	}
	add("duration", time.Duration(e.ValueNS).Round(time.Microsecond).String())
	add("operation", k.Operation)
	add("status", k.Status)
	add("namespace", k.Namespace)
	add("workload", k.Workload)
	add("peer", k.PeerWorkload)
	add("side", k.Side.String())
	add("time", time.Unix(0, e.TimeNS).UTC().Format("2006-01-02T15:04:05.000Z"))
	add("trace_id", e.TraceID)
	add("span_id", e.SpanID)
	return strings.ToValidUTF8(strings.TrimSpace(b.String()), "\uFFFD")
}
