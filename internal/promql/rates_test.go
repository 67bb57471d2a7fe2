package promql

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// two is a sum by workload of two series that begin in the range, and its plan.
func two(t *testing.T) (*rates, []*group) {
	e, err := Parse("sum by (workload) (rate(http_server_request_duration_seconds[5m]))")
	if err != nil {
		t.Fatal(err)
	}
	plan := newRates(t.Context(), sumOf(e), cut([]int64{0, 60e9, 120e9, 180e9}, 0), 60_000, 180_000, 60_000)
	var all []*group
	for range 2 {
		of := &Series{Key: query.Key{Side: proto.SideServer, Protocol: "http"}, Windows: []int{1, 2}}
		of.Read = func(int, bool, bool) *histogram.Histogram {
			h := new(histogram.Histogram)
			h.Record(1e6)
			h.Record(1e9)
			return h
		}
		all = append(all, &group{rates: plan, series: []*series{{of: of}}})
	}
	plan.groups = len(all)
	return plan, all
}

// A sum's memory is free once its last group is worked out: others may be in the
// same expression.
func TestMemoryOfSums(t *testing.T) {
	plan, all := two(t)
	for i, g := range all {
		if it := g.Iterator(nil); it.Err() != nil {
			t.Fatal(it.Err())
		}
		if last := i == len(all)-1; (plan.memory.rates == nil) != last {
			t.Errorf("after group %d memory is free: %v", i, !last)
		}
	}
}

func TestTooManyBuckets(t *testing.T) {
	plan, all := two(t)
	all[0].Iterator(nil)
	held := plan.memory.buckets()
	if held < 300 { // ten octaves of 32, of some totals
		t.Fatalf("%d buckets", held)
	}
	plan, all = two(t)
	plan.most = held - 1
	var limit *LimitError
	if err := all[0].Iterator(nil).Err(); !errors.As(err, &limit) || !strings.Contains(limit.Reason, "buckets at once, the limit") {
		t.Error(err)
	}
}
