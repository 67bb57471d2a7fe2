package slo

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/weirstream/weir/internal/yamlfile"
)

const (
	apiVersion = "openslo/v1"

	// minBadKey is an annotation that sets minBad for an SLO.
	minBadKey = "weir.io/min-bad-requests"
	// minBad is how many bad requests an alert needs in its long window: of two
	// requests at night one slow one is half, but no trend.
	minBad = 10
)

// Objective is one objective of an SLO.
type Objective struct {
	SLO       string
	Service   string
	Namespace string // "" if the queries don't say
	Workload  string // "" if the queries don't say
	Target    float64
	Period    time.Duration // that the target is for
	Text      string        // what is asked for: 99% of requests … over 30d

	labels map[string]string // the SLO's own, for alerts
	minBad float64           // 0 if requests can't be counted
	indicator
}

// id is the target in percent, which tells the objectives of an SLO apart.
func (o *Objective) id() string { return decimal(o.Target * 100) }

// decimal writes a number without the noise of binary fractions.
func decimal(f float64) string { return strconv.FormatFloat(f, 'g', 10, 64) }

// reader is what is known of the files so far.
type reader struct {
	mistakes *yamlfile.Mistakes
	notes    []string
	slos     []*document
	slis     map[string]*document
	used     map[string]bool // names of SLIs
}

// document is an object of OpenSLO.
type document struct {
	node
	name        node
	labels      map[string]string
	annotations map[string]node
	spec        node
}

// Read gives the objectives of OpenSLO files, in their order. Notes say what was
// left out. An error is of type [yamlfile.Mistakes] and holds all there are.
func Read(files ...File) (objectives []*Objective, notes []string, err error) {
	r := &reader{mistakes: &yamlfile.Mistakes{}, slis: map[string]*document{}, used: map[string]bool{}}
	for _, f := range files {
		for _, n := range documents(f, r.mistakes) {
			r.document(n)
		}
	}
	for _, d := range r.slos {
		objectives = append(objectives, r.slo(d)...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.slis)) {
		if !r.used[name] {
			r.note(r.slis[name].node, "SLI %s skipped: no SLO refers to it", name)
		}
	}
	if len(*r.mistakes) > 0 {
		slices.SortStableFunc(*r.mistakes, func(a, b yamlfile.Mistake) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, r.notes, *r.mistakes
	}
	return objectives, r.notes, nil
}

func (r *reader) note(n node, format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf("%s:%d: ", n.file, n.Line)+fmt.Sprintf(format, args...))
}

// document sorts in what a document is.
func (r *reader) document(n node) {
	keys := n.keys("an OpenSLO document", "apiVersion", "kind", "metadata", "spec")
	if keys == nil {
		return
	}
	version, ok := n.need(keys, "the document", "apiVersion")
	if !ok {
		return
	}
	if _, ok = version.one("apiVersion", apiVersion); !ok {
		return
	}
	kind, ok := n.need(keys, "the document", "kind")
	if !ok {
		return
	}
	switch kind.Value {
	case "Service", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget":
		r.note(n, "%s skipped: no rule comes of it", kind.Value)
		return
	case "SLO", "SLI":
	default:
		kind.wrong("kind %q: expected SLO or SLI; Service, DataSource, AlertPolicy, AlertCondition and AlertNotificationTarget are skipped", kind.Value)
		return
	}
	d := &document{node: n}
	metadata, ok := n.need(keys, "the document", "metadata")
	if !ok || !d.metadata(metadata) {
		return
	}
	if d.spec, ok = n.need(keys, "the document", "spec"); !ok {
		return
	}
	if kind.Value == "SLO" {
		for _, other := range r.slos {
			d.differs(other, "SLO")
		}
		r.slos = append(r.slos, d)
		return
	}
	if other := r.slis[d.name.Value]; other != nil {
		d.differs(other, "SLI")
	}
	r.slis[d.name.Value] = d
}

// differs checks that another document hasn't the same name.
func (d *document) differs(other *document, kind string) {
	if d.name.Value == other.name.Value {
		d.name.wrong("there is an %s %q already, at %s:%d: expected another name", kind, d.name.Value, other.file, other.Line)
	}
}

// metadata reads a document's; false if it has no name.
func (d *document) metadata(n node) bool {
	keys := n.keys("metadata", "name", "displayName", "labels", "annotations")
	var ok bool
	if d.name, ok = n.need(keys, "metadata", "name"); !ok || d.name.text("name") == "" {
		return false
	}
	if labels, ok := keys["labels"]; ok {
		d.labels = map[string]string{}
		for name, value := range labels.pairs("labels") {
			switch {
			case slices.Contains(ownLabels, name):
				value.wrong("label %q: expected another name, this one is set by Weir", name)
			case !model.LegacyValidation.IsValidLabelName(name):
				value.wrong("label %q: expected letters, digits and underscores, as it becomes a label of alerts", name)
			default:
				d.labels[name] = value.text("label " + name)
			}
		}
	}
	if annotations, ok := keys["annotations"]; ok {
		d.annotations = annotations.pairs("annotations")
	}
	return true
}

// slo gives the objectives of an SLO.
func (r *reader) slo(d *document) (all []*Objective) {
	keys := d.spec.keys("the spec of an SLO",
		"description", "service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives", "alertPolicies")
	if keys == nil {
		return nil
	}
	o := Objective{SLO: d.name.Value, labels: d.labels, minBad: minBad, Period: 30 * day}
	for _, name := range slices.Sorted(maps.Keys(d.annotations)) {
		if value := d.annotations[name]; name == minBadKey {
			o.minBad, _ = value.number(name, 0, 0, "a number above 0")
		} else if strings.HasPrefix(name, "weir.io/") {
			value.wrong("unknown annotation %q: expected %s", name, minBadKey)
		}
	}
	if service, ok := d.spec.need(keys, "the SLO", "service"); ok {
		o.Service = service.text("service")
	}
	if method, ok := d.spec.need(keys, "the SLO", "budgetingMethod"); ok && method.Value != "Occurrences" {
		method.wrong("budgetingMethod %q: expected Occurrences; slices of time aren't understood, only shares of requests", method.Value)
	}
	if window, ok := keys["timeWindow"]; ok {
		o.Period = window.period()
	}
	if _, ok := keys["alertPolicies"]; ok {
		r.note(d.node, "alertPolicies are not used: the alerts of an SLO are those of docs/slo.md")
	}
	spec, ok := r.indicatorOf(d, keys)
	objectives, found := d.spec.need(keys, "the SLO", "objectives")
	if !ok || !found {
		return nil
	}
	for _, n := range objectives.list("objectives") {
		one := o
		if !r.objective(n, spec, &one) {
			continue
		}
		if slices.ContainsFunc(all, func(other *Objective) bool { return other.id() == one.id() }) {
			n.wrong("a target of %s%% is in this SLO already: expected another, which tells them apart", one.id())
		}
		all = append(all, &one)
	}
	return all
}

// indicatorOf is the spec of an SLO's indicator, which is in it or elsewhere.
func (r *reader) indicatorOf(d *document, keys map[string]node) (spec node, ok bool) {
	inline, has := keys["indicator"]
	ref, refers := keys["indicatorRef"]
	switch {
	case has == refers:
		d.spec.wrong("the SLO has both of indicator and indicatorRef, or neither: expected one")
		return spec, false
	case refers:
		sli := r.slis[ref.Value]
		if sli == nil {
			ref.wrong("indicatorRef %q: expected the name of an SLI in these files", ref.Value)
			return spec, false
		}
		r.used[ref.Value] = true
		return sli.spec, true
	}
	return inline.need(inline.keys("the indicator", "metadata", "spec"), "the indicator", "spec")
}

// objective reads one objective into what all of an SLO have.
func (r *reader) objective(n, spec node, o *Objective) bool {
	before := len(*r.mistakes)
	keys := n.keys("an objective", "displayName", "op", "value", "target", "targetPercent")
	if keys == nil {
		return false
	}
	share, hasShare := keys["target"]
	percent, hasPercent := keys["targetPercent"]
	switch {
	case hasShare == hasPercent:
		n.wrong("the objective has both of target and targetPercent, or neither: expected one")
	case hasShare:
		o.Target, _ = share.number("target", 0, 1, "a share above 0 and below 1, such as 0.99")
	default:
		o.Target, _ = percent.number("targetPercent", 0, 100, "a number above 0 and below 100, such as 99")
		o.Target /= 100
	}
	limit := 0.0 // seconds
	if value, ok := keys["value"]; ok {
		if limit, ok = value.number("value", 0, 0, "seconds, such as 0.3"); !ok {
			limit = 1 // there is one: that is no further mistake
		}
	}
	op, hasOp := keys["op"]
	if hasOp {
		op.one("op", "lte", "lt")
	}
	if limit != 0 && !hasOp {
		n.wrong("the objective has a value, but no op: expected op: lte")
	}
	o.indicator = readIndicator(spec, limit)
	if o.ratio && (limit != 0 || hasOp) {
		n.wrong("op and value are for a thresholdMetric: expected none with a ratioMetric")
	}
	if len(*r.mistakes) > before {
		return false
	}
	if o.requests == nil {
		o.minBad = 0
	}
	o.Namespace, o.Workload = o.names["namespace"], o.names["workload"]
	o.Text = fmt.Sprintf("%s%% of requests %s over %s", o.id(), o.good, model.Duration(o.Period))
	if name, ok := keys["displayName"]; ok {
		o.Text = name.text("displayName") + ": " + o.Text
	}
	for _, b := range burns {
		if o.limit(b) >= 1 {
			r.note(n, "no %s after %s: with a target of %s%% not even %s of nothing but bad requests use up %s%% of the budget",
				b.severity, b.long, o.id(), b.long, decimal(b.share*100))
		}
	}
	return true
}

var shorthand = regexp.MustCompile(`^([1-9][0-9]{0,3})([hdwMQY])$`)

const day = 24 * time.Hour

// period reads the only element of timeWindow.
func (n node) period() time.Duration {
	windows := n.list("timeWindow")
	if len(windows) != 1 {
		n.wrong("timeWindow has %d elements: expected one", len(windows))
		return 0
	}
	w := windows[0]
	keys := w.keys("timeWindow", "duration", "isRolling", "calendar")
	duration, ok := w.need(keys, "timeWindow", "duration")
	if !ok {
		return 0
	}
	if c, ok := keys["calendar"]; ok {
		c.wrong("windows that follow the calendar aren't understood: expected isRolling: true, and no calendar")
	} else if keys["isRolling"].Node == nil || keys["isRolling"].Value != "true" {
		w.wrong("the window isn't rolling, and windows that follow the calendar aren't understood: expected isRolling: true")
	}
	found := shorthand.FindStringSubmatch(duration.Value)
	if found == nil {
		duration.wrong("duration %q: expected a number with h, d, w, M (30 days), Q (90 days) or Y (365 days), such as 30d", duration.Value)
		return 0
	}
	number, _ := strconv.Atoi(found[1]) // at most four digits
	unit := map[string]time.Duration{"h": time.Hour, "d": day, "w": 7 * day, "M": 30 * day, "Q": 90 * day, "Y": 365 * day}[found[2]]
	if days := float64(number) * unit.Hours() / 24; days < 3 || days > 3650 {
		duration.wrong("duration %q: expected at least 3d, the longest window that alerts look at, and at most 10Y", duration.Value)
		return 0
	}
	return time.Duration(number) * unit
}
