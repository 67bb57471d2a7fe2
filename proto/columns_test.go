package proto

import (
	"reflect"
	"slices"
	"testing"
)

// TestDecodeWhere keeps what a test of the decoded events would have kept.
func TestDecodeWhere(t *testing.T) {
	for _, enriched := range []bool{false, true} {
		f := shop(1, MaxFrameEvents-1, enriched)
		b, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, where := range map[string]struct {
			columns Columns
			keep    func(*Frame, *Event) bool
		}{
			"all":     {0, nil},
			"none":    {0, func(*Frame, *Event) bool { return false }},
			"node":    {0, func(f *Frame, _ *Event) bool { return f.Node == "n" }},
			"end":     {ColumnSet("end_ns"), func(_ *Frame, e *Event) bool { return e.EndNS%3 == 0 }},
			"route":   {ColumnSet("route", "status"), func(_ *Frame, e *Event) bool { return len(e.Route)%2 == 0 && e.Status == 200 }},
			"port":    {ColumnSet("source_port"), func(_ *Frame, e *Event) bool { return e.Source.Port()%7 == 0 }},
			"to":      {ColumnSet("destination_workload"), func(_ *Frame, e *Event) bool { return e.To.Workload != "" }},
			"latency": {ColumnSet("wait_ns", "processing_ns", "transfer_ns"), func(_ *Frame, e *Event) bool { return e.WaitNS+e.ProcessingNS+e.TransferNS > 1e6 }},
		} {
			var all, some Frame
			if err := all.Decode(b); err != nil {
				t.Fatal(err)
			}
			if err := some.DecodeWhere(b, where.columns, where.keep); err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(all.Events, func(e Event) bool { return where.keep != nil && !where.keep(&all, &e) })
			if len(want) != len(some.Events) || len(want) > 0 && !reflect.DeepEqual(want, some.Events) {
				t.Errorf("%s, enriched %v: %d events kept, want %d, or they differ", name, enriched, len(some.Events), len(want))
			}
		}
	}
}

func TestColumnSetKnowsItsNames(t *testing.T) {
	for _, name := range []string{"latency", "netns", "trace_id", "span_id"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", name)
				}
			}()
			ColumnSet(name)
		}()
	}
}

// BenchmarkDecodeWhere chooses none of a frame's events by one of its columns.
func BenchmarkDecodeWhere(b *testing.B) {
	data, err := shop(1, MaxFrameEvents, true).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var f Frame
	columns := ColumnSet("status")
	b.ReportAllocs()
	for b.Loop() {
		if err := f.DecodeWhere(data, columns, func(_ *Frame, e *Event) bool { return e.Status == 999 }); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(data))
}
