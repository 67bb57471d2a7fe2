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
		Long: `A row for each pair of workloads that talk: requests, rate, errors and latency.
What both ends saw is shown as the server saw it; --side client shows what the
callers felt. WORKLOAD may be at either end.`,
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
	if o.Selection, err = f.selection(args); err != nil {
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
}

// mapRow is a row of -o json.
type mapRow struct {
	Source      mapEnd  `json:"source"`
	Destination mapEnd  `json:"destination"`
	Protocol    string  `json:"protocol"`
	Side        string  `json:"side"` // which end saw it
	Count       uint64  `json:"count"`
	Errors      uint64  `json:"errors"`
	Lost        uint64  `json:"lost"`
	Rate        float64 `json:"rate"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Max         float64 `json:"max_ms"`
	WaitP99     float64 `json:"wait_p99_ms"`
}

func (a *app) printMap(format string, edges []query.Edge, r *query.Result) error {
	if format != "table" {
		rows := make([]mapRow, len(edges))
		for i, e := range edges {
			l := newLatencyRow(e.Row, r)
			rows[i] = mapRow{
				Source:      mapEnd{e.FromNamespace, e.FromWorkload},
				Destination: mapEnd{e.ToNamespace, e.ToWorkload},
				Protocol:    l.Protocol, Side: l.Side, Count: l.Count, Errors: l.Errors, Lost: l.Lost, Rate: l.Rate,
				P50: l.P50, P99: l.P99, Max: l.Max, WaitP99: l.WaitP99,
			}
		}
		return writeJSON(a.stdout, format, rows)
	}
	if len(edges) == 0 {
		return nil
	}
	t := table{coloured: a.coloured()}
	t.head("FROM", "TO", "PROTOCOL", ">REQUESTS", ">RATE", ">ERRORS", ">P50", ">P99", ">MAX")
	for _, e := range edges {
		t.add(
			text(mapName(e.FromNamespace, e.FromWorkload)), text(mapName(e.ToNamespace, e.ToWorkload)), text(e.Row.Protocol),
			number(strconv.FormatUint(e.Row.Hist.Count, 10)), number(fmt.Sprintf("%.1f/s", e.Row.Rate(r.Covered()))),
			alarming(e.Row.Errors),
			number(latency(e.Row.Hist.Quantile(0.5))), number(latency(e.Row.Hist.Quantile(0.99))),
			number(latency(float64(e.Row.Hist.MaxNS))))
	}
	return t.write(a.stdout)
}

// mapName is namespace/workload, without the namespace of a plain host.
func mapName(namespace, workload string) string {
	switch {
	case workload == "":
		return "(others)"
	case namespace == "host" || namespace == "":
		return workload
	}
	return namespace + "/" + workload
}
