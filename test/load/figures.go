package load

import (
	"math"
	"slices"
	"time"
)

// Quantile is the exact order statistic of the answered requests' latencies:
// the smallest one that at least a share q of them does not exceed. Zero if
// nothing was answered.
func (r *Result) Quantile(q float64) time.Duration {
	all := r.latencies()
	if len(all) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(all))))
	return all[min(max(rank, 1), len(all))-1]
}

func (r *Result) latencies() []time.Duration {
	all := make([]time.Duration, 0, len(r.Stamps))
	for _, s := range r.Stamps {
		if s.Status != 0 {
			all = append(all, time.Duration(s.End-s.Start))
		}
	}
	slices.Sort(all)
	return all
}

// Figures is a result as JSON, durations in milliseconds.
type Figures struct {
	Sent      int         `json:"sent"`
	Done      int         `json:"done"`
	Failed    int         `json:"failed"`
	Unsent    int         `json:"unsent"`
	Status    map[int]int `json:"status"`
	Rate      float64     `json:"rate"` // answered a second
	P50       float64     `json:"p50_ms"`
	P90       float64     `json:"p90_ms"`
	P99       float64     `json:"p99_ms"`
	Max       float64     `json:"max_ms"`
	Histogram []Bucket    `json:"histogram"`
	Error     string      `json:"error,omitempty"`
	Stamps    []Stamp     `json:"stamps,omitempty"`
}

// Bucket counts latencies in (upper of the bucket before, Upper].
type Bucket struct {
	Upper float64 `json:"upper_ms"` // powers of two of a microsecond
	Count int     `json:"count"`
}

// Figures sums the result up. The stamps are left out.
func (r *Result) Figures() Figures {
	f := Figures{
		Sent: r.Sent, Done: r.Done, Failed: r.Failed, Unsent: r.Unsent, Status: r.Status,
		Rate: float64(r.Done) / r.Elapsed.Seconds(),
		P50:  millis(r.Quantile(0.5)), P90: millis(r.Quantile(0.9)),
		P99: millis(r.Quantile(0.99)), Max: millis(r.Quantile(1)),
	}
	if r.Err != nil {
		f.Error = r.Err.Error()
	}
	upper := time.Microsecond
	for _, d := range r.latencies() {
		for d > upper {
			upper *= 2
		}
		if n := len(f.Histogram); n > 0 && f.Histogram[n-1].Upper == millis(upper) {
			f.Histogram[n-1].Count++
			continue
		}
		f.Histogram = append(f.Histogram, Bucket{millis(upper), 1})
	}
	return f
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
