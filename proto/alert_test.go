package proto_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/proto"
)

func TestAlertRules(t *testing.T) {
	small := proto.RuleGroup{File: "a.yaml", Name: "small", Interval: 15, Rules: []proto.Rule{
		{ID: "Slow", Kind: proto.RuleAlerting, Name: "Slow", Query: "x > 1", For: 60, Labels: map[string]string{"severity": "page"}},
		{ID: "Slow#2", Kind: proto.RuleRecording, Name: "Slow", Query: "sum(x)"},
	}, Objective: &proto.Objective{SLO: "s", Target: 0.99, Period: 3600, Labels: map[string]string{"slo": "s"}, ErrorRatio: "x[" + proto.ObjectiveWindow + "]"}}
	large := proto.RuleGroup{Name: "large", Rules: []proto.Rule{{ID: "Slow", Query: strings.Repeat("x", proto.MaxMessageBytes/3)}}}
	all := proto.AlertRules{Groups: []proto.RuleGroup{large, small, large, small}}
	data, leftOut, err := all.Encode()
	if err != nil || leftOut != 1 || len(data) > proto.MaxMessageBytes {
		t.Fatalf("%d bytes, %d left out, %v", len(data), leftOut, err)
	}
	got, err := proto.DecodeAlertRules(data)
	want := &proto.AlertRules{V: 1, Groups: []proto.RuleGroup{large, small, small}, LeftOut: 1}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	again, _, err := all.Encode()
	if err != nil || string(again) != string(data) {
		t.Error("the same rules give other bytes")
	}
}

func TestAlertMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`{"v":2,"groups":[]}`: "version 2, this program knows 1",
		`{"groups":[]}`:       "no version",
		`[]`:                  "cannot unmarshal array",
	} {
		if _, err := proto.DecodeAlertRules([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rules %s: %v", text, err)
		}
	}
	if _, err := proto.DecodeAlertRecord([]byte(`{"v":2}`)); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
	for _, text := range []string{`{}`, `{"status":"pending"}`, `"`} {
		if _, err := proto.DecodeAlertChange([]byte(text)); err == nil {
			t.Errorf("%s is taken for a change", text)
		}
	}
}

// A value may be what JSON has no number for.
func TestAlertNumber(t *testing.T) {
	for _, v := range []float64{0, -1.5, 1e-300, math.NaN(), math.Inf(1), math.Inf(-1)} {
		data, err := json.Marshal(proto.Alert{Value: proto.Number(v), ActiveAt: time.Unix(0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		var got proto.Alert
		if err := json.Unmarshal(data, &got); err != nil || float64(got.Value) != v && !math.IsNaN(v) || math.IsNaN(v) != math.IsNaN(float64(got.Value)) {
			t.Errorf("%v becomes %s and %v: %v", v, data, got.Value, err)
		}
	}
}
