package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

type mapFlags struct {
	timeFlags
	selectFlags
	outputFlag
	waitFlags
}

func (a *app) mapCommand() *cobra.Command {
	f := &mapFlags{}
	cmd := &cobra.Command{
		Use:     "map [WORKLOAD]",
		GroupID: groupRead,
		Short:   "Who calls whom, how often, how fast",
		Long: `A row for each pair of workloads that talk: requests, rate, errors and latency,
as the server saw them, or as the caller did where only that is measured. Where
both are, CALLER is what the caller felt, and NETWORK the mean time of a request
outside of the server: the mean latency of all requests as the caller felt them,
less their mean as the server saw them. It is - where the two have not seen
the same requests: their numbers differ by more than 3 %. WORKLOAD may be at
either end.`,
		Example: `  weir map
  weir map payment --since 1h
  weir map -o json | jq '.[] | select(.errors > 0)'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.showMap(cmd.Context(), f, args) },
	}
	f.timeFlags.add(cmd, 15*time.Minute)
	f.selectFlags.add(cmd)
	f.outputFlag.add(cmd)
	f.waitFlags.add(cmd)
	a.completeWorkloads(cmd)
	return cmd
}

func (a *app) showMap(ctx context.Context, f *mapFlags, args []string) error {
	o := query.Options{Now: now(), Wait: f.atMost(a)}
	err := f.check()
	if err != nil {
		return err
	}
	if o.Interval, err = f.interval(o.Now); err != nil {
		return err
	}
	if o.Selection, err = f.workloads(args); err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	edges, result, err := query.Edges(ctx, c, o)
	if err != nil {
		return err
	}
	if len(edges) == 0 {
		result.Rows = nil
		if err := a.explainNothing(ctx, c, o.Selection, result); err != nil {
			return err
		}
	}
	if err := a.printMap(f.format, edges, result); err != nil {
		return err
	}
	a.note(result)
	return nil
}

type mapEnd struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Kind      string `json:"kind"`
}

// mapView is an edge as one side saw it.
type mapView struct {
	Count  uint64  `json:"count"`
	Errors uint64  `json:"errors"`
	Mean   float64 `json:"mean_ms"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// mapRow is a row of -o json.
type mapRow struct {
	Source      mapEnd   `json:"source"`
	Destination mapEnd   `json:"destination"`
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
	Server      *mapView `json:"server"` // null where it isn't measured
	Client      *mapView `json:"client"`
	Network     *float64 `json:"network_mean_ms"` // null where it isn't known
}

func newMapView(r *query.Row) *mapView {
	if r == nil {
		return nil
	}
	return &mapView{Count: r.Hist.Count, Errors: r.Errors, Mean: milliseconds(float64(r.Hist.SumNS) / float64(r.Hist.Count)),
		P50: milliseconds(r.Hist.Quantile(0.5)), P99: milliseconds(r.Hist.Quantile(0.99))}
}

func newMapRow(e *query.Edge, r *query.Result) mapRow {
	l := newLatencyRow(e.Seen(), r)
	row := mapRow{
		Source:      mapEnd{e.From.Namespace, e.From.Name, e.From.Kind},
		Destination: mapEnd{e.To.Namespace, e.To.Name, e.To.Kind},
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

func (a *app) printMap(format string, edges []query.Edge, r *query.Result) error {
	if format != "table" {
		rows := make([]mapRow, len(edges))
		for i := range edges {
			rows[i] = newMapRow(&edges[i], r)
		}
		return writeJSON(a.stdout, format, rows)
	}
	if len(edges) == 0 {
		return nil
	}
	t := table{coloured: a.coloured()}
	t.head("FROM", "TO", "PROTOCOL", ">REQUESTS", ">RATE", ">ERRORS", ">P50", ">P99", ">MAX", ">CALLER P50", ">CALLER P99", ">NETWORK")
	names := names{}
	for _, e := range edges {
		names.learn(e.From)
		names.learn(e.To)
	}
	for i := range edges {
		e := &edges[i]
		seen := e.Seen()
		p50, p99, network := "-", "-", "-"
		if e.Client != nil {
			p50, p99 = latency(e.Client.Hist.Quantile(0.5)), latency(e.Client.Hist.Quantile(0.99))
		}
		if mean, known := e.NetworkNS(); known {
			network = latency(mean)
		}
		t.add(
			text(mapName(names, e.From)), text(mapName(names, e.To)), text(e.Protocol),
			number(strconv.FormatUint(seen.Hist.Count, 10)), number(fmt.Sprintf("%.1f/s", seen.Rate(r.Covered()))),
			alarming(seen.Errors),
			number(latency(seen.Hist.Quantile(0.5))), number(latency(seen.Hist.Quantile(0.99))),
			number(latency(float64(seen.Hist.MaxNS))), number(p50), number(p99), number(network))
	}
	return t.write(a.stdout)
}

// mapName is namespace/workload, without the namespace of a plain host.
func mapName(names names, w query.Workload) string {
	switch {
	case w.Name == "":
		return "(others)"
	case w.Namespace == "host" || w.Namespace == "":
		return names.of(w)
	}
	return w.Namespace + "/" + names.of(w)
}
