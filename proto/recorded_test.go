package proto

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// What is too long for a message is split, and is the same together.
func TestSplitRecorded(t *testing.T) {
	m := exampleRecorded()
	m.Series = nil
	for i := range 70_000 {
		v := float64(i) / 3
		m.Series = append(m.Series, RecordedSeries{Rule: "a", Labels: []RecordedLabel{{"__name__", "a"}, {"n", fmt.Sprint(i)}}, Value: &v})
	}
	messages, err := SplitRecorded(m)
	if err != nil || len(messages) < 4 {
		t.Fatal(len(messages), err)
	}
	var got []RecordedSeries
	for _, data := range messages {
		part, err := DecodeRecorded(data)
		if err != nil || part.Group != m.Group || part.TimeNS != m.TimeNS || part.EvaluatedNS != m.EvaluatedNS {
			t.Fatal(part, err)
		}
		got = append(got, part.Series...)
	}
	if !reflect.DeepEqual(got, m.Series) {
		t.Error("not the same series")
	}
	m.Series = []RecordedSeries{{Labels: []RecordedLabel{{"__name__", "a"}}, Histogram: &FloatHistogram{Bounds: make([]float64, 100_000)}}}
	if _, err := SplitRecorded(m); err == nil || !strings.Contains(err.Error(), "at most 524288") {
		t.Error(err)
	}
}

func TestRecordedRefuses(t *testing.T) {
	for name, change := range map[string]func(m, series map[string]any){
		"index outside the strings": func(_, s map[string]any) { s["rule"] = 99 },
		"labels out of order":       func(_, s map[string]any) { l := s["labels"].([]any); l[0], l[2] = l[2], l[0] },
		"half a label":              func(_, s map[string]any) { s["labels"] = s["labels"].([]any)[1:] },
		"no labels":                 func(_, s map[string]any) { delete(s, "labels") },
		"many labels":               func(_, s map[string]any) { s["labels"] = make([]int, 2*MaxRecordedLabels+2) },
		"integer for a float":       func(_, s map[string]any) { s["value"] = 1 },
		"number and histogram":      func(_, s map[string]any) { s["histogram"] = map[string]any{} },
		"buckets without spans": func(_, s map[string]any) {
			delete(s, "value")
			s["histogram"] = map[string]any{"buckets": []float64{1}}
		},
		"spans without buckets":  func(_, s map[string]any) { delete(s, "value"); s["histogram"] = map[string]any{"spans": []int{0, 1}} },
		"a time with a fraction": func(m, _ map[string]any) { m["time_ns"] = math.Pi },
	} {
		data, err := encodeRecorded(exampleRecorded())
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := msgpack.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		change(m, m["series"].([]any)[0].(map[string]any))
		if data, err = msgpack.Marshal(m); err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeRecorded(data); err == nil {
			t.Errorf("%s is accepted: %+v", name, got)
		}
	}
}
