package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

type ledgerFlags struct {
	timeFlags
	outputFlag
}

func (a *app) ledgerCommand() *cobra.Command {
	f := &ledgerFlags{}
	cmd := &cobra.Command{
		Use:     "ledger",
		GroupID: groupRead,
		Short:   "What was generated, delivered and lost: whether the numbers can be trusted",
		Long: `A row for each node: the exchanges (one side of a request each) its agent is
known to have seen, those that are in the histograms, those on their way, and
those that were lost, with the reason:

  ring_full     the kernel found no room: make the agent's ring larger
  storage_full  the kernel had no memory for a connection
  conn_limit    too many connections at once
  unparsed      the end of a request could not be found
  restart       requests that were under way when an agent ended
  spool_full    NATS was away for longer than the agent could keep
  expired       left a stream before it was read: enrichers or aggregators were away
  event_limit   larger than a frame

GENERATED = DELIVERED + ON THE WAY + LOST. Kernel records that were lost and
could not be turned into exchanges are counted apart: AT MOST that many more.
Times are when things were counted.`,
		Example: `  weir ledger
  weir ledger --since 24h -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ledger(cmd.Context(), f) },
	}
	f.timeFlags.add(cmd, kept)
	f.outputFlag.add(cmd)
	return cmd
}

func (a *app) ledger(ctx context.Context, f *ledgerFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	now := now()
	interval, err := f.interval(now)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	page := askPage(ctx, c)
	l, err := query.ReadLedger(ctx, c, interval)
	if err != nil {
		return err
	}
	if err := a.printLedger(f.format, l); err != nil || f.format != "table" {
		return err
	}
	a.printPage(page, withTime(pageState("health", query.Selection{}), interval, now))
	return nil
}

// ledgerRow is a node of -o json.
type ledgerRow struct {
	Node      string     `json:"node"`
	Generated uint64     `json:"generated"`
	Delivered uint64     `json:"delivered"`
	InFlight  uint64     `json:"in_flight"`
	Lost      uint64     `json:"lost"`
	Records   uint64     `json:"lost_records"`
	Reasons   []lossRow  `json:"reasons"`
	Heard     *time.Time `json:"heard"`
}

type lossRow struct {
	Reason string `json:"reason"`
	Unit   string `json:"unit"`
	Count  uint64 `json:"count"`
}

func newLedgerRow(n *query.Account) ledgerRow {
	row := ledgerRow{
		Node: n.Node, Generated: n.Generated, Delivered: n.Delivered, InFlight: n.InFlight,
		Lost: n.Sum(proto.UnitExchanges), Records: n.Sum(proto.UnitRecords), Reasons: []lossRow{},
	}
	for _, l := range n.Lost {
		row.Reasons = append(row.Reasons, lossRow(l))
	}
	if !n.Heard.IsZero() {
		row.Heard = &n.Heard
	}
	return row
}

func (a *app) printLedger(format string, l *query.Ledger) error {
	rows := make([]ledgerRow, len(l.Accounts))
	for i, n := range l.Accounts {
		rows[i] = newLedgerRow(n)
	}
	switch format {
	case "ndjson":
		return writeJSON(a.stdout, format, rows)
	case "json":
		out, err := json.MarshalIndent(map[string]any{
			"from": l.Interval.From().UTC(), "to": l.Interval.To().UTC(), "nodes": rows,
			"delivered": l.Delivered, "duplicates": l.Duplicates, "balanced": l.Balanced(),
		}, "", "  ")
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", out)
		return err
	}
	t := table{coloured: a.coloured()}
	t.head("NODE", ">GENERATED", ">DELIVERED", ">ON THE WAY", ">LOST", ">AT MOST", "WHY")
	for _, n := range rows {
		var why []string
		for _, r := range n.Reasons {
			why = append(why, fmt.Sprintf("%s: %d %s", r.Reason, r.Count, r.Unit))
		}
		count := func(n uint64) cell { return number(strconv.FormatUint(n, 10)) }
		t.add(text(n.Node), count(n.Generated), count(n.Delivered), count(n.InFlight),
			alarming(n.Lost), alarming(n.Records), text(strings.Join(why, ", ")))
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	verdict := "the histograms hold what was delivered"
	if !l.Balanced() {
		verdict = fmt.Sprintf("NOT BALANCED: the histograms hold %d", l.Delivered)
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s; %d arrived twice and were counted once\n", verdict, l.Duplicates)
	return err
}
