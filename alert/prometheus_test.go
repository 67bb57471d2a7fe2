package alert

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/proto"
)

// rounds evaluates a rule over series that are there at some minutes.
type rounds struct {
	*testing.T
	e     *evaluator
	group *Group
}

func newRounds(t *testing.T, text string) *rounds {
	t.Helper()
	groups, err := Parse("rules.yaml", []byte(text), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return &rounds{t, newEvaluator(nil, nil, nil, time.Minute), groups[0]}
}

// minute evaluates as of a minute at which some series have a value, and gives
// the changes as text.
func (r *rounds) minute(n int, series ...string) (changes []string, err error) {
	r.Helper()
	at := time.Unix(0, 0).UTC().Add(time.Duration(n) * time.Minute)
	for _, s := range series {
		of, _, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(fmt.Sprintf(`m{s=%q} 1`, s))
		if err != nil {
			r.Fatal(err)
		}
		if _, err := r.e.memory.Add(of, at.UnixMilli(), 1, nil); err != nil {
			r.Fatal(err)
		}
	}
	found, err := r.e.evaluate(r.Context(), r.group, at, nil)
	for _, c := range found {
		changes = append(changes, fmt.Sprintf("%s %s", c.Labels["s"], c.State))
	}
	return changes, err
}

func (r *rounds) expect(n int, series []string, want ...string) {
	r.Helper()
	got, err := r.minute(n, series...)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		r.Errorf("at minute %d: %v, %v, want %v", n, got, err, want)
	}
}

// A rule that has a longer `for` now: what fires is pending again, as in
// Prometheus, and said to be over.
func TestLongerFor(t *testing.T) {
	r := newRounds(t, `
groups:
- name: g
  rules:
  - {alert: A, expr: 'last_over_time(m[30s]) > 0', for: 1m}
`)
	a := []string{"a"}
	r.expect(0, a)
	r.expect(1, a, "a firing")
	r.group.Rules[0].For = 4 * time.Minute
	r.expect(2, a, "a resolved")
	r.expect(3, a)
	r.expect(4, a, "a firing")
	r.expect(5, nil, "a resolved")
}

// What is kept firing counts for a group's limit. Beyond it a rule has no alerts,
// as in Prometheus.
func TestLimit(t *testing.T) {
	r := newRounds(t, `
groups:
- name: g
  limit: 2
  rules:
  - {alert: A, expr: 'last_over_time(m[30s]) > 0', keep_firing_for: 10m}
`)
	r.expect(0, []string{"a", "b"}, "a firing", "b firing")
	r.expect(1, []string{"b"})
	got, err := r.minute(2, "b", "c")
	if err == nil || fmt.Sprint(got) != "[a resolved b resolved]" {
		t.Errorf("beyond the limit: %v, %v", got, err)
	}
	r.expect(3, []string{"c"}, "c firing")
}

// A histogram with less than nothing in a bucket can't be recorded, as in
// Prometheus: whoever reads would refuse it, and all that is stored with it.
func TestNegativeHistogram(t *testing.T) {
	r := newRounds(t, `
groups:
- name: g
  rules:
  - {record: less, expr: 'h * -1'}
  - {record: same, expr: h}
`)
	of, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc("h {{schema:0 count:3 sum:2 buckets:[1 2]}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.memory.Add(of, 0, 0, values[0].Histogram); err != nil {
		t.Fatal(err)
	}
	if _, err := r.minute(0); err == nil {
		t.Error("it doesn't fail")
	}
	messages, err := recorded.Encode("f;g", time.Unix(0, 0), 0, r.e.samples)
	if err != nil || len(messages) != 1 {
		t.Fatal(len(messages), err)
	}
	m, err := proto.DecodeRecorded(messages[0])
	if err != nil {
		t.Fatal(err)
	}
	if samples, err := recorded.Samples(m); err != nil || len(samples) != 1 || samples[0].Rule != "same" {
		t.Error(samples, err)
	}
}

// When the clock is set back a little, what fires goes on: it isn't over, and
// doesn't begin to fire a second time.
func TestClockSetBack(t *testing.T) {
	r := newRounds(t, `
groups:
- name: g
  rules:
  - {alert: A, expr: 'last_over_time(m[30s]) > 0', for: 2m}
`)
	a := []string{"a"}
	r.expect(0, a)
	r.expect(1, a)
	r.expect(2, a, "a firing")
	r.expect(1, a)
	r.expect(2, a)
	r.expect(3, nil, "a resolved")
}
