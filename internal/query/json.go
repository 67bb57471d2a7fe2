package query

import "math"

// LatencyRow is a row in JSON, of `weir latency -o json` and weir.api.latency.
type LatencyRow struct {
	Namespace string  `json:"namespace"`
	Workload  string  `json:"workload"`
	Kind      string  `json:"kind"`
	Side      string  `json:"side"`
	Protocol  string  `json:"protocol"`
	Operation string  `json:"operation"`
	Status    string  `json:"status"`
	Count     uint64  `json:"count"`
	Errors    uint64  `json:"errors"`
	Lost      uint64  `json:"lost"`
	Rate      float64 `json:"rate"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	WaitP99   float64 `json:"wait_p99_ms"`

	PeerNamespace string `json:"peer_namespace,omitempty"`
	PeerWorkload  string `json:"peer_workload,omitempty"`
	PeerKind      string `json:"peer_kind,omitempty"`
}

// NewLatencyRow is a row of a result.
func NewLatencyRow(row *Row, r *Result) LatencyRow {
	return LatencyRow{
		Namespace: row.Namespace, Workload: row.Workload, Kind: row.Kind, Side: row.Side.String(), Protocol: row.Protocol,
		Operation: row.Operation, Status: row.Status,
		Count: row.Hist.Count, Errors: row.Errors, Lost: r.Lost(), Rate: rounded(row.Rate(r.Covered()), 1),
		P50: milliseconds(row.Hist.Quantile(0.5)), P90: milliseconds(row.Hist.Quantile(0.9)), P99: milliseconds(row.Hist.Quantile(0.99)),
		Max: milliseconds(float64(row.Hist.MaxNS)), WaitP99: milliseconds(row.Wait.Quantile(0.99)),
		PeerNamespace: row.PeerNamespace, PeerWorkload: row.PeerWorkload, PeerKind: row.PeerKind,
	}
}

// MapEnd is a workload at one end of an edge.
type MapEnd struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Kind      string `json:"kind"`
}

// MapView is an edge as one side saw it.
type MapView struct {
	Count  uint64  `json:"count"`
	Errors uint64  `json:"errors"`
	Mean   float64 `json:"mean_ms"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// MapRow is a row in JSON, of `weir map -o json` and weir.api.map.
type MapRow struct {
	Source      MapEnd   `json:"source"`
	Destination MapEnd   `json:"destination"`
	Protocol    string   `json:"protocol"`
	Side        string   `json:"side"` // which view the next fields are
	Count       uint64   `json:"count"`
	Errors      uint64   `json:"errors"`
	Lost        uint64   `json:"lost"`
	Rate        float64  `json:"rate"`
	P50         float64  `json:"p50_ms"`
	P99         float64  `json:"p99_ms"`
	Max         float64  `json:"max_ms"`
	WaitP99     float64  `json:"wait_p99_ms"`
	Server      *MapView `json:"server"` // null where it isn't measured
	Client      *MapView `json:"client"`
	Network     *float64 `json:"network_mean_ms"` // null where it isn't known
}

func newMapView(r *Row) *MapView {
	if r == nil {
		return nil
	}
	return &MapView{Count: r.Hist.Count, Errors: r.Errors, Mean: milliseconds(float64(r.Hist.SumNS) / float64(r.Hist.Count)),
		P50: milliseconds(r.Hist.Quantile(0.5)), P99: milliseconds(r.Hist.Quantile(0.99))}
}

// NewMapRow is an edge of a result.
func NewMapRow(e *Edge, r *Result) MapRow {
	l := NewLatencyRow(e.Seen(), r)
	row := MapRow{
		Source:      MapEnd{e.From.Namespace, e.From.Name, e.From.Kind},
		Destination: MapEnd{e.To.Namespace, e.To.Name, e.To.Kind},
		Protocol:    l.Protocol, Side: l.Side, Count: l.Count, Errors: l.Errors, Lost: l.Lost, Rate: l.Rate,
		P50: l.P50, P99: l.P99, Max: l.Max, WaitP99: l.WaitP99,
		Server: newMapView(e.Server), Client: newMapView(e.Client),
	}
	if mean, known := e.NetworkNS(); known {
		mean = milliseconds(mean)
		row.Network = &mean
	}
	return row
}

func milliseconds(ns float64) float64 { return rounded(ns/1e6, 4) }

// rounded keeps a number of decimals.
func rounded(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}
