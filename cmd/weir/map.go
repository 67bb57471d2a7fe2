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
	page := askPage(ctx, c)
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
	if f.format == "table" && len(edges) > 0 {
		a.printPage(page, withTime(pageState("map", o.Selection), o.Interval, o.Now))
	}
	a.note(result)
	return nil
}

func (a *app) printMap(format string, edges []query.Edge, r *query.Result) error {
	if format != "table" {
		rows := make([]query.MapRow, len(edges))
		for i := range edges {
			rows[i] = query.NewMapRow(&edges[i], r)
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
