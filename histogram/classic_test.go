package histogram

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(durations()).Draw(t, "values")
		h := record(values)
		h.Downscale(rapid.Int32Range(-2, RecordScale).Draw(t, "scale"))
		at := rapid.Float64Range(0, 1e10).Draw(t, "bound")
		if exp := int32(math.Ilogb(at)); at > 0 && h.Scale >= 0 {
			if got, least, most := h.Below(at), h.CountBelow(exp), h.CountBelow(exp+1); got < float64(least) || got > float64(most) {
				t.Fatalf("%v values at or below %v s: %d are below 2^%d, %d below 2^%d", got, at, least, exp, most, exp+1)
			}
		}
		before, scale := h.Below(at), h.Scale
		h.Record(durations().Draw(t, "another"))
		if got := h.Below(at); h.Scale == scale && got < before*(1-1e-12) {
			t.Fatalf("%v values at or below %v s, %v before one was added", got, at, before)
		}
	})
	h := record([]int64{0, 1e6, 2e6, 3e6, 1e9})
	for _, c := range []struct{ at, want float64 }{{-1, 0}, {0, 1}, {math.NaN(), 0}, {math.Inf(1), 5}, {0.5, 4}, {2, 5}} {
		if got := h.Below(c.at); got != c.want {
			t.Errorf("%v values at or below %v s, want %v", got, c.at, c.want)
		}
	}
}
