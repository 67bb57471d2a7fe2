package gateway

import (
	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// maxHeatRows is how fine a heatmap is: its histograms are downscaled to fit.
const maxHeatRows = 72

type serviceAnswer struct {
	about
	Total      *row    `json:"total"` // null if nothing is known of it
	Columns    columns `json:"columns"`
	Heat       heat    `json:"heat"`
	Operations []*row  `json:"operations"`
	Statuses   []*row  `json:"statuses"`
	Callers    []*row  `json:"callers"`
	Callees    []*row  `json:"callees"`
}

// columns are figures by window, null where nothing was measured.
type columns struct {
	Rate       []*float64 `json:"rate"`
	Errors     []*float64 `json:"errors"` // a second
	P50        []*float64 `json:"p50_ms"`
	P90        []*float64 `json:"p90_ms"`
	P99        []*float64 `json:"p99_ms"`
	Wait       []*float64 `json:"wait_ms"` // means
	Processing []*float64 `json:"processing_ms"`
	Transfer   []*float64 `json:"transfer_ms"`
}

// heat is the histograms of all windows at one scale: bucket i holds durations
// of (2^(i/2^scale), 2^((i+1)/2^scale)] seconds.
type heat struct {
	Scale   int32        `json:"scale"`
	First   int32        `json:"first"` // the lowest bucket of all
	Rows    int32        `json:"rows"`
	Columns []heatColumn `json:"columns"`
}

// heatColumn is one window's counts from bucket Offset on; Zero are durations
// of 0.
type heatColumn struct {
	Offset int32    `json:"o"`
	Counts []uint64 `json:"c"`
	Zero   uint64   `json:"z,omitempty"`
}

// service is all about one workload.
func service(s *history.Span, w query.Workload, side proto.Side) *serviceAnswer {
	a := &serviceAnswer{about: aboutOf(s)}
	own := func(k *query.Key) bool {
		return k.Namespace == w.Namespace && k.Workload == w.Name && (w.Kind == "" || k.Kind == w.Kind)
	}
	seen := func(k *query.Key) bool { return k.Side == side && own(k) }

	detail := query.NewTable(query.By{Operation: true, Status: true, Peer: true})
	hists := make([]*histogram.Histogram, s.Len())
	for i := range s.Len() {
		t := s.Table(query.By{Operation: true, Status: true, Peer: true}, i, i+1, seen)
		detail.Merge(t)
		sum := &query.Row{}
		for _, r := range t.Rows() {
			sum.AddRow(r)
		}
		a.Columns.add(sum, s.Within(i).Seconds())
		hists[i] = &sum.Hist
	}
	a.Heat = heatOf(hists)
	rows := detail.Rows()
	group := func(by query.By) []*row {
		t := query.NewTable(by)
		for _, r := range rows {
			t.AddRow(r)
		}
		out, leftOut := rowsOf(t, a.Covered)
		a.LeftOut += leftOut
		return out
	}
	if total := group(query.By{}); len(total) > 0 {
		sum := &query.Row{}
		for _, r := range rows {
			sum.AddRow(r)
			sum.Key = r.By(query.By{})
		}
		a.Total = rowOf(sum, a.Covered)
	}
	a.Operations, a.Statuses = group(query.By{Operation: true}), group(query.By{Status: true})
	others := func(side proto.Side) []*row {
		t := s.Table(query.By{Peer: true}, 0, s.Len(), func(k *query.Key) bool { return k.Side == side && own(k) })
		out, leftOut := rowsOf(t, a.Covered)
		a.LeftOut += leftOut
		return out
	}
	a.Callers, a.Callees = others(proto.SideServer), others(proto.SideClient)
	return a
}

func (c *columns) add(r *query.Row, seconds float64) {
	if seconds <= 0 && r.Hist.Count == 0 {
		for _, to := range []*[]*float64{&c.Rate, &c.Errors, &c.P50, &c.P90, &c.P99, &c.Wait, &c.Processing, &c.Transfer} {
			*to = append(*to, nil)
		}
		return
	}
	f := figuresOf(r, seconds)
	perSecond := 0.0
	if seconds > 0 {
		perSecond = float64(r.Errors) / seconds
	}
	c.Rate, c.Errors = append(c.Rate, &f.Rate), append(c.Errors, &perSecond)
	if f.Count == 0 { // no request has no latency
		for _, to := range []*[]*float64{&c.P50, &c.P90, &c.P99, &c.Wait, &c.Processing, &c.Transfer} {
			*to = append(*to, nil)
		}
		return
	}
	c.P50, c.P90, c.P99 = append(c.P50, &f.P50), append(c.P90, &f.P90), append(c.P99, &f.P99)
	c.Wait, c.Processing, c.Transfer = append(c.Wait, &f.Wait), append(c.Processing, &f.Processing), append(c.Transfer, &f.Transfer)
}

// heatOf brings histograms to the finest scale at which all fit.
func heatOf(hists []*histogram.Histogram) heat {
	scale := int32(histogram.RecordScale)
	for _, h := range hists {
		if len(h.Buckets) > 0 {
			scale = min(scale, h.Scale)
		}
	}
	for ; ; scale-- {
		first, last := int32(1<<30), int32(-1<<30)
		for _, h := range hists {
			if len(h.Buckets) > 0 {
				shift := uint(h.Scale - scale)
				first = min(first, h.Offset>>shift)
				last = max(last, (h.Offset+int32(len(h.Buckets))-1)>>shift)
			}
		}
		if last < first {
			return heat{Scale: scale, Columns: make([]heatColumn, len(hists))}
		}
		if last-first >= maxHeatRows && scale > histogram.MinScale {
			continue
		}
		out := heat{Scale: scale, First: first, Rows: last - first + 1}
		for _, h := range hists {
			h.Downscale(scale)
			column := heatColumn{Counts: h.Buckets, Zero: h.ZeroCount}
			if len(h.Buckets) > 0 {
				column.Offset = h.Offset
			}
			out.Columns = append(out.Columns, column)
		}
		return out
	}
}
