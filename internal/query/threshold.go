package query

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Threshold is a condition on a row that its user wants to know broken, such
// as `p99 > 250ms` or `errors > 1%`.
type Threshold struct {
	text   string
	metric string
	op     string
	limit  float64
	ratio  bool // the limit is a share of the row's count
}

var thresholdForm = regexp.MustCompile(`^\s*([a-z_]+[0-9.]*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*$`)

// ParseThreshold reads a metric (count, rate, errors, lost, max, wait_p99 or
// any pNN), a comparison (> >= < <= == !=) and a limit: a duration for
// latencies, a number or a percentage of the count for the others.
func ParseThreshold(text string) (Threshold, error) {
	m := thresholdForm.FindStringSubmatch(text)
	if m == nil {
		return Threshold{}, fmt.Errorf("%q is not METRIC OP LIMIT, such as 'p99 > 250ms' or 'errors > 1%%'", text)
	}
	t := Threshold{text: strings.TrimSpace(text), metric: m[1], op: m[2]}
	if _, ok := quantileOf(t.metric); ok || t.metric == "max" {
		d, err := time.ParseDuration(m[3])
		if err != nil {
			return Threshold{}, fmt.Errorf("%q: %q is not a duration such as 250ms", text, m[3])
		}
		t.limit = float64(d)
		return t, nil
	}
	switch t.metric {
	case "count", "rate", "errors", "lost":
	default:
		return Threshold{}, fmt.Errorf("%q: there is no %q; there are p50, p99 and other quantiles, wait_p99, max, count, rate, errors, lost", text, t.metric)
	}
	number, percent := strings.CutSuffix(m[3], "%")
	limit, err := strconv.ParseFloat(number, 64)
	if err != nil || percent && t.metric != "errors" && t.metric != "lost" {
		return Threshold{}, fmt.Errorf("%q: %q is not a number that %s can be compared with", text, m[3], t.metric)
	}
	t.limit, t.ratio = limit, percent
	if percent {
		t.limit /= 100
	}
	return t, nil
}

func (t Threshold) String() string { return t.text }

// Broken reports whether the condition is true of a row of the result.
func (t Threshold) Broken(r *Row, of *Result) bool {
	value := t.value(r, of)
	switch t.op {
	case ">":
		return value > t.limit
	case ">=":
		return value >= t.limit
	case "<":
		return value < t.limit
	case "<=":
		return value <= t.limit
	case "==":
		return value == t.limit
	}
	return value != t.limit
}

func (t Threshold) value(r *Row, of *Result) float64 {
	if q, ok := quantileOf(t.metric); ok {
		h := &r.Hist
		if strings.HasPrefix(t.metric, "wait_") {
			h = &r.Wait
		}
		return h.Quantile(q)
	}
	var v float64
	switch t.metric {
	case "max":
		return float64(r.Hist.MaxNS)
	case "rate":
		return r.Rate(of.Covered())
	case "count":
		v = float64(r.Hist.Count)
	case "errors":
		v = float64(r.Errors)
	case "lost":
		v = float64(of.Lost())
	}
	if t.ratio && r.Hist.Count > 0 {
		v /= float64(r.Hist.Count)
	}
	return v
}

// quantileOf reads "p99", "p99.9" or "wait_p50" as a quantile.
func quantileOf(metric string) (float64, bool) {
	digits, ok := strings.CutPrefix(strings.TrimPrefix(metric, "wait_"), "p")
	if !ok {
		return 0, false
	}
	percent, err := strconv.ParseFloat(digits, 64)
	if err != nil || percent <= 0 || percent >= 100 {
		return 0, false
	}
	return percent / 100, true
}
