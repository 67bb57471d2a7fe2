package promql

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// two is a sum by workload of two series that begin in the range, and its plan.
func two(t *testing.T, share *Share) (*rates, []*group) {
	e, err := Parse("sum by (workload) (rate(http_server_request_duration_seconds[5m]))")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := newRates(t.Context(), sumOf(e), share, cut([]int64{0, 60e9, 120e9, 180e9}, 0), 60_000, 180_000, 60_000)
	if err != nil {
		t.Fatal(err)
	}
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

// The buckets of a sum are free once its last group is worked out: others may be in
// the same expression. Its plan is held until the query ends.
func TestMemoryOfSums(t *testing.T) {
	all := &pool{most: 1 << 20}
	plan, groups := two(t, &Share{all: all})
	planned := all.held
	if planned < stepBytes*len(plan.steps) {
		t.Errorf("%d bytes of a plan of %d steps are held", planned, len(plan.steps))
	}
	for i, g := range groups {
		if it := g.Iterator(nil); it.Err() != nil {
			t.Fatal(it.Err())
		}
		if last := i == len(groups)-1; (plan.memory.rates == nil) != last || (all.held == planned) != last {
			t.Errorf("after group %d %d bytes are held, memory is free: %v", i, all.held, plan.memory.rates == nil)
		}
	}
}

// The memory of a sum in the making counts, with what the query's others hold.
func TestTooLargeSum(t *testing.T) {
	all := &pool{most: 1 << 20}
	_, groups := two(t, &Share{all: all})
	groups[0].Iterator(nil)
	held := all.held
	if held < 300*8 { // ten octaves of 32, of some totals
		t.Fatalf("%d bytes", held)
	}
	all = &pool{most: 1 << 20, held: 1<<20 - held + 1}
	e, err := Parse(`sum(x) or {"` + strings.Repeat("é", 100_000) + `"}`)
	if err != nil {
		t.Fatal(err)
	}
	_, groups = two(t, &Share{of: e, all: all})
	var limit *LimitError
	err = groups[0].Iterator(nil).Err()
	if !errors.As(err, &limit) || !strings.Contains(limit.Reason, "more than 1 MiB of memory together, the limit: sum(x) or ") ||
		!strings.Contains(limit.Reason, "… needs more") || len(limit.Reason) > 1000 || !utf8.ValidString(limit.Reason) {
		t.Error(err)
	}
}
