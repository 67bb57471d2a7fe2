package gateway

import (
	"cmp"
	"slices"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxRows     = 1000 // of a table: the busiest
	sparkPoints = 48
)

// about says what an answer is of and how far it can be trusted.
type about struct {
	From    int64   `json:"from"` // unix milliseconds, like all times here
	To      int64   `json:"to"`
	Step    int64   `json:"step_ms"`
	Since   int64   `json:"since"` // the part that was measured
	Until   int64   `json:"until"`
	Covered float64 `json:"covered_s"`
	Lost    uint64  `json:"lost"`
	Missing string  `json:"missing"`
	LeftOut int     `json:"left_out"` // rows over the limit
}

func aboutOf(s *history.Span) about {
	return about{
		From: s.FromNS / 1e6, To: s.ToNS / 1e6, Step: s.Step / 1e6, Since: s.Since / 1e6, Until: s.Until / 1e6,
		Covered: s.Covers().Seconds(), Lost: s.Lost(), Missing: s.Missing,
	}
}

// row is a line of a table. Names are those of `weir latency -o json`.
type row struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Kind      string `json:"kind"`
	Side      string `json:"side"`
	Protocol  string `json:"protocol"`
	Operation string `json:"operation,omitempty"`
	Status    string `json:"status,omitempty"`
	Peer      *peer  `json:"peer,omitempty"`
	Spark     *spark `json:"spark,omitempty"`
	figures
}

type peer struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Kind      string `json:"kind"`
}

// figures are what is said of any set of requests.
type figures struct {
	Count     uint64  `json:"count"`
	Errors    uint64  `json:"errors"`
	Rate      float64 `json:"rate"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	WaitP99   float64 `json:"wait_p99_ms"`
	WaitShare float64 `json:"wait_share"` // of all time, 0 to 1

	// Means of the three parts.
	Wait       float64 `json:"wait_ms"`
	Processing float64 `json:"processing_ms"`
	Transfer   float64 `json:"transfer_ms"`
}

// spark is a row's course over the interval; null where it isn't measured.
type spark struct {
	Rate []*float64 `json:"rate"`
	P99  []*float64 `json:"p99_ms"`
}

func figuresOf(r *query.Row, seconds float64) figures {
	f := figures{
		Count: r.Hist.Count, Errors: r.Errors,
		P50: r.Hist.Quantile(0.5) / 1e6, P90: r.Hist.Quantile(0.9) / 1e6, P99: r.Hist.Quantile(0.99) / 1e6,
		Max: float64(r.Hist.MaxNS) / 1e6, WaitP99: r.Wait.Quantile(0.99) / 1e6,
	}
	if seconds > 0 {
		f.Rate = float64(r.Hist.Count) / seconds
	}
	if sum := r.WaitNS + r.ProcessingNS + r.TransferNS; sum > 0 {
		f.WaitShare = float64(r.WaitNS) / float64(sum)
	}
	if n := float64(r.Hist.Count) * 1e6; n > 0 {
		f.Wait, f.Processing, f.Transfer = float64(r.WaitNS)/n, float64(r.ProcessingNS)/n, float64(r.TransferNS)/n
	}
	return f
}

func rowOf(r *query.Row, seconds float64) *row {
	out := &row{
		Namespace: r.Namespace, Workload: r.Workload, Kind: r.Kind, Side: r.Side.String(), Protocol: r.Protocol,
		Operation: r.Operation, Status: r.Status, figures: figuresOf(r, seconds),
	}
	if r.PeerWorkload != "" || r.PeerNamespace != "" {
		out.Peer = &peer{r.PeerNamespace, r.PeerWorkload, r.PeerKind}
	}
	return out
}

// rowsOf are the busiest rows of a table, and how many are left out.
func rowsOf(t *query.Table, seconds float64) (out []*row, leftOut int) {
	rows := t.Rows()
	slices.SortStableFunc(rows, func(a, b *query.Row) int { return cmp.Compare(b.Hist.Count, a.Hist.Count) })
	leftOut = max(0, len(rows)-maxRows)
	out = []*row{} // not null
	for _, r := range rows[:len(rows)-leftOut] {
		out = append(out, rowOf(r, seconds))
	}
	return out, leftOut
}

type servicesAnswer struct {
	about
	Rows []*row `json:"rows"`
}

// services is a row a workload, side and protocol.
func services(s *history.Span, of query.Selection) *servicesAnswer {
	wanted := func(k *query.Key) bool { return of.MatchesSide(k.Side) && of.Matches(k.Namespace, k.Workload, k.Kind) }
	a := &servicesAnswer{about: aboutOf(s)}
	group := (s.Len() + sparkPoints - 1) / sparkPoints
	all := query.NewTable(query.By{})
	sparks := map[query.Key]*spark{}
	points := (s.Len() + group - 1) / max(group, 1)
	for n := range points {
		from, to := n*group, min((n+1)*group, s.Len())
		var seconds float64
		for i := from; i < to; i++ {
			seconds += s.Within(i).Seconds()
		}
		t := s.Table(query.By{}, from, to, wanted)
		all.Merge(t)
		for _, r := range t.Rows() {
			line := sparks[r.Key]
			if line == nil {
				line = &spark{Rate: make([]*float64, points), P99: make([]*float64, points)}
				sparks[r.Key] = line
			}
			if seconds > 0 {
				rate, p99 := float64(r.Hist.Count)/seconds, r.Hist.Quantile(0.99)/1e6
				line.Rate[n], line.P99[n] = &rate, &p99
			}
		}
	}
	a.Rows, a.LeftOut = rowsOf(all, a.Covered)
	for _, r := range a.Rows {
		r.Spark = sparks[query.Key{Namespace: r.Namespace, Workload: r.Workload, Kind: r.Kind, Side: proto.ParseSide(r.Side), Protocol: r.Protocol}]
	}
	return a
}
