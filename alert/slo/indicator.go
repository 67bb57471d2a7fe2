package slo

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/proto"
)

// indicator measures requests. Expressions are for a window such as 1h.
type indicator struct {
	good     string                     // what is good, for a person: of host/cart within 300ms
	bad      func(window string) string // the share of bad requests; no series if there were none
	requests func(window string) string // how many there were; nil if that can't be known
	names    map[string]string          // namespace and workload, if known
	ratio    bool                       // takes no limit from the objective
}

// readIndicator reads the spec of an indicator. limit, in seconds, is the
// objective's, 0 if it has none.
func readIndicator(spec node, limit float64) indicator {
	keys := spec.keys("the spec of an indicator", "description", "thresholdMetric", "ratioMetric")
	if keys == nil {
		return indicator{}
	}
	threshold, isThreshold := keys["thresholdMetric"]
	ratio, isRatio := keys["ratioMetric"]
	switch {
	case isThreshold == isRatio:
		spec.wrong("the indicator has both of thresholdMetric and ratioMetric, or neither: expected one")
		return indicator{}
	case isThreshold:
		return readThreshold(threshold, limit)
	}
	i := readRatio(ratio)
	i.ratio = true
	return i
}

// readThreshold reads a metric that is a latency.
func readThreshold(n node, limit float64) indicator {
	kind, spec, ok := n.source("thresholdMetric")
	if !ok {
		return indicator{}
	}
	if kind == "Weir" {
		return readWeir(spec, limit)
	}
	q, ok := readQuery(spec)
	if !ok {
		return indicator{}
	}
	if limit == 0 {
		n.wrong("the objective of this thresholdMetric has no value: expected op: lte and a value in seconds")
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if strings.HasSuffix(q.metric, suffix) {
			q.wrong("%s is part of a classic histogram: expected the name of a native one, without %s", q.metric, suffix)
		}
	}
	i := indicator{good: "within " + seconds(limit), names: q.names}
	i.bad = func(window string) string { return slower(q.rate(window), limit) }
	if !q.template {
		i.requests = func(window string) string { return "histogram_count(" + q.increase(window) + ")" }
	}
	return i
}

// readRatio reads good or bad of total, or a ratio of Weir's.
func readRatio(n node) indicator {
	keys := n.keys("ratioMetric", "counter", "good", "bad", "total", "raw", "rawType")
	if keys == nil {
		return indicator{}
	}
	if raw, ok := keys["raw"]; ok {
		return readRaw(n, keys, raw)
	}
	if counter, ok := keys["counter"]; ok && counter.Value != "true" {
		counter.wrong("counter %q: expected true: shares are of counters that only rise", counter.Value)
	}
	good, hasGood := keys["good"]
	bad, hasBad := keys["bad"]
	total, ok := n.need(keys, "ratioMetric", "total")
	if hasGood == hasBad {
		n.wrong("ratioMetric has both of good and bad, or neither: expected one")
		return indicator{}
	}
	if !ok {
		return indicator{}
	}
	part, name := bad, "bad"
	if hasGood {
		part, name = good, "good"
	}
	p, ok1 := readPrometheus(part, name)
	t, ok2 := readPrometheus(total, "total")
	if !ok1 || !ok2 {
		return indicator{}
	}
	if p.template != t.template {
		p.wrong("of %s and total one has %s: expected it in both or in neither", name, place)
	}
	i := indicator{good: "are good", names: t.names}
	i.bad = func(window string) string {
		// A series that wasn't there yet counted nothing.
		zero := "vector(0)"
		if t.template {
			zero = t.rate(window) + " * 0"
		}
		share := fmt.Sprintf("(%s or %s) / (%s > 0)", p.rate(window), zero, t.rate(window))
		if hasGood {
			return "1 - " + share
		}
		return share
	}
	if !t.template {
		i.requests = t.increase
	}
	return i
}

// readRaw reads a ratio that is known as such.
func readRaw(n node, keys map[string]node, raw node) indicator {
	for _, k := range []string{"good", "bad", "total"} {
		if other, ok := keys[k]; ok {
			other.wrong("ratioMetric has %s beside raw: expected raw alone", k)
		}
	}
	if kind, ok := n.need(keys, "ratioMetric", "rawType"); ok {
		kind.one("rawType", "failure")
	}
	kind, spec, ok := raw.source("raw")
	if !ok {
		return indicator{}
	}
	if kind != "Weir" {
		raw.wrong("raw is of a source of type %s: expected Weir; of a ratio alone nobody knows how many requests it stands for, so give good or bad, and total", kind)
		return indicator{}
	}
	return readWeir(spec, 0)
}

// source reads a metricSource: its type and its spec.
func (n node) source(what string) (kind string, spec node, ok bool) {
	source, ok := n.need(n.keys(what, "metricSource"), what, "metricSource")
	if !ok {
		return "", spec, false
	}
	keys := source.keys("metricSource", "metricSourceRef", "type", "spec")
	t, ok := source.need(keys, "metricSource", "type")
	if !ok {
		return "", spec, false
	}
	if kind, ok = t.one("type", "Weir", "Prometheus"); !ok {
		return "", spec, false
	}
	spec, ok = source.need(keys, "metricSource", "spec")
	return kind, spec, ok
}

// readWeir reads a source that needs no PromQL.
func readWeir(n node, limit float64) indicator {
	const what = "the spec of a Weir source"
	keys := n.keys(what, "namespace", "workload", "operation", "side", "metric", "threshold")
	if keys == nil {
		return indicator{}
	}
	names := map[string]string{}
	var matchers []string
	match := func(name, value string) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, name, value).String())
	}
	for _, name := range []string{"namespace", "workload"} {
		if v, ok := n.need(keys, what, name); ok {
			names[name] = v.text(name)
			match(name, names[name])
		}
	}
	who := names["namespace"] + "/" + names["workload"]
	if v, ok := keys["operation"]; ok {
		method, route, ok := strings.Cut(v.Value, " ")
		if !ok {
			v.wrong("operation %q: expected a method and a route, such as POST /charges", v.Value)
		}
		match("http_request_method", method)
		match("http_route", route)
		who += " (" + v.Value + ")"
	}
	side, by := "server", "of "
	if v, ok := keys["side"]; ok {
		if side, _ = v.one("side", "server", "client"); side == "client" {
			by = "made by "
		}
	}
	name := "http_" + side + "_request_duration_seconds"
	failed := slices.Concat(matchers, []string{`error_type!=""`})
	sum := func(f, window string, matchers []string) string {
		return fmt.Sprintf("sum(%s(%s{%s}[%s]))", f, name, strings.Join(matchers, ","), window)
	}
	i := indicator{names: names, requests: func(window string) string { return "histogram_count(" + sum("increase", window, matchers) + ")" }}
	metric, ok := n.need(keys, what, "metric")
	if !ok {
		return i
	}
	threshold, has := keys["threshold"]
	switch m, _ := metric.one("metric", "latency", "errors"); {
	case m == "errors" && (has || limit != 0):
		metric.wrong("metric errors has a threshold: expected none, or metric: latency")
	case m == "errors":
		i.good = by + who + " succeed"
		i.bad = func(window string) string {
			return fmt.Sprintf("(histogram_count(%s) or vector(0)) / (histogram_count(%s) > 0)", sum("rate", window, failed), sum("rate", window, matchers))
		}
	case m == "latency" && has == (limit != 0):
		metric.wrong("latency has two limits, or none: expected threshold: 300ms here, or op: lte and value: 0.3 in the objective")
	case m == "latency":
		if has {
			limit = threshold.duration()
		}
		i.good = by + who + " within " + seconds(limit)
		i.bad = func(window string) string { return slower(sum("rate", window, matchers), limit) }
	}
	return i
}

// duration reads one such as 300ms, in seconds.
func (n node) duration() float64 {
	d, err := time.ParseDuration(n.Value)
	if err != nil || d <= 0 {
		n.wrong("threshold %q: expected a duration such as 300ms or 1.5s", n.Value)
	}
	return d.Seconds()
}

// seconds writes a duration.
func seconds(s float64) string { return time.Duration(math.Round(s * float64(time.Second))).String() }

// slower is the share of a native histogram above a limit. That of no requests
// is NaN, which the comparison leaves out.
func slower(histogram string, limit float64) string {
	return fmt.Sprintf("clamp_min(1 - histogram_fraction(0, %s, %s), 0) >= 0", decimal(limit), histogram)
}

// query is one of a person's: a selector, or an expression with a place for the range.
type query struct {
	node
	text     string
	metric   string // of a selector
	template bool   // has a place for the range
	names    map[string]string
}

// place stands for the range of a window in a query.
const place = proto.ObjectiveWindow

// readPrometheus reads the query of good, bad or total.
func readPrometheus(n node, what string) (query, bool) {
	kind, spec, ok := n.source(what)
	if !ok {
		return query{}, false
	}
	if kind == "Weir" {
		n.wrong("%s is of a source of type Weir, which knows the share by itself: expected it below raw, with rawType: failure, or below thresholdMetric", what)
		return query{}, false
	}
	return readQuery(spec)
}

// readQuery reads the spec of a Prometheus source.
func readQuery(spec node) (query, bool) {
	const what = "the spec of a Prometheus source"
	n, ok := spec.need(spec.keys(what, "query"), what, "query")
	if !ok {
		return query{}, false
	}
	q := query{node: n, text: strings.TrimSpace(strings.ReplaceAll(n.Value, "{{ .window }}", place))}
	q.template = strings.Contains(q.text, place)
	expr, err := promql.Parse(q.of("5m"))
	if err != nil {
		var syntax *promql.SyntaxError
		errors.As(err, &syntax) // Parse gives no others
		n.wrong("query: line %d, column %d: %s\n%s", syntax.Line, syntax.Column, syntax.Reason, syntax.Pointed())
		return q, false
	}
	if s, ok := expr.(*parser.VectorSelector); ok && !q.template && plainSelector(s) {
		q.metric, q.text = s.Name, s.String()
	} else if !q.template {
		n.wrong("query %s: expected a selector of a counter, such as http_requests_total{job=\"shop\"}, or a rate with %s for its range, such as sum(rate(http_requests_total[%s]))",
			strconv.Quote(q.text), place, place)
		return q, false
	}
	q.names = namesIn(expr)
	return q, true
}

// plainSelector reports whether a range may follow.
func plainSelector(s *parser.VectorSelector) bool {
	return s.OriginalOffset == 0 && s.OriginalOffsetExpr == nil && s.Timestamp == nil && s.StartOrEnd == 0
}

// of is the query for a window.
func (q query) of(window string) string { return strings.ReplaceAll(q.text, place, window) }

// rate is what was counted a second.
func (q query) rate(window string) string {
	if q.template && window == place { // it isn't PromQL as long as that stands there
		return "(" + q.text + "\n)" // on a line of its own, as a comment may come before
	}
	if q.template {
		expr, _ := promql.Parse(q.of(window)) // as it was with another window
		return "(" + expr.String() + ")"
	}
	return "sum(rate(" + q.text + "[" + window + "]))"
}

// increase is what was counted; only of selectors.
func (q query) increase(window string) string { return "sum(increase(" + q.text + "[" + window + "]))" }

// namesIn are the namespace and the workload that all selectors of an expression ask for.
func namesIn(expr parser.Expr) map[string]string {
	names := map[string]string{}
	for _, name := range []string{"namespace", "workload"} {
		values := map[string]bool{}
		for _, matchers := range parser.ExtractSelectors(expr) {
			value := ""
			for _, m := range matchers {
				if m.Name == name && m.Type == labels.MatchEqual {
					value = m.Value
				}
			}
			values[value] = true
		}
		if len(values) == 1 {
			for v := range values {
				names[name] = v
			}
		}
	}
	return names
}
