package histogram

import (
	"math"
	"slices"
)

// classicBounds are the upper bounds, in seconds, that the OpenTelemetry semantic
// conventions recommend for durations of HTTP requests, and three below them:
// many calls within a cluster take less than five milliseconds.
var classicBounds = []float64{
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
}

// ClassicBounds are the upper bounds, in seconds, of the buckets that h is shown
// in to those who know no others.
func ClassicBounds() []float64 { return slices.Clone(classicBounds) }

// Below is how many values are at or below a number of seconds. Within the
// bucket that the bound cuts they are taken to be spread evenly over its
// logarithm, as Prometheus does for native histograms. It doesn't fall when values
// are added, unless they make h's scale coarser.
func (h *Histogram) Below(seconds float64) float64 {
	if h.Count == 0 || !(seconds >= 0) {
		return 0
	}
	below := float64(h.ZeroCount)
	if seconds == 0 {
		return below
	}
	bound := math.Ldexp(math.Log2(seconds), int(h.Scale)) // in buckets
	for i, n := range h.Buckets {
		share := bound - float64(h.Offset) - float64(i)
		if share <= 0 {
			break
		}
		below += float64(n) * min(share, 1)
	}
	return below
}
