package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// completeIn is how long it takes at most until what ended now is counted: the
// rest of a window, and five seconds for the way.
const completeIn = 15 * time.Second

type latencyFlags struct {
	timeFlags
	selectFlags
	outputFlag
	waitFlags
	by     []string
	watch  bool
	failIf []string
}

func (a *app) latencyCommand() *cobra.Command {
	f := &latencyFlags{}
	cmd := &cobra.Command{
		Use:     "latency [WORKLOAD]",
		GroupID: groupRead,
		Short:   "Requests, rate, errors and latency of every workload",
		Long: `A row for each workload, side, protocol and operation: how many requests, how
many of them failed, how long they took, and how long they waited before the
server read them. Times cover whole windows of ten seconds.

LOST is what is known to be missing in that time and could belong to the row;
weir ledger tells where and why.

At a terminal the rows that are there are shown at once, and the last seconds
may be missing; otherwise the command waits, 15 s at most, until everything
that ended before it was called is counted. --wait and --no-wait decide.`,
		Example: `  weir latency                          # the last 15 minutes of everything
  weir latency deploy/cart -n shop --by peer --since 1h
  weir latency --by workload --watch
  weir latency nginx --from 2026-11-22T10:00:00Z --to 2026-11-22T10:05:00Z -o json
  weir latency cart --fail-if 'p99 > 250ms' --fail-if 'errors > 1%'   # exit 3 if so`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.latency(cmd.Context(), f, args) },
	}
	f.timeFlags.add(cmd, 15*time.Minute)
	f.selectFlags.add(cmd)
	f.outputFlag.add(cmd)
	f.waitFlags.add(cmd)
	cmd.Flags().StringSliceVar(&f.by, "by", []string{"operation"}, "rows by workload, operation, peer or status; several with commas")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show again after every window, until Ctrl-C")
	cmd.Flags().StringArrayVar(&f.failIf, "fail-if", nil, "exit 3 if a `condition` such as 'p99 > 250ms' or 'errors > 1%' is true of a row")
	a.completeWorkloads(cmd)
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(
		[]string{"workload", "operation", "peer", "status"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// waitFlags are --wait and --no-wait.
type waitFlags struct{ wait, noWait bool }

func (w *waitFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until everything until now is counted, 15 s at most (default unless at a terminal)")
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "show what is there at once")
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
}

func (w *waitFlags) atMost(a *app) time.Duration {
	if w.noWait || !w.wait && service.IsTerminal(a.stdout) {
		return 0
	}
	return completeIn
}

func (f *latencyFlags) options(a *app, args []string) (query.Options, error) {
	o := query.Options{Now: now(), Wait: f.atMost(a)}
	if err := f.check(); err != nil {
		return o, err
	}
	var err error
	if o.By, err = query.ParseBy(f.by); err != nil {
		return o, flagError(err)
	}
	if o.Interval, err = f.interval(o.Now); err != nil {
		return o, err
	}
	o.Selection, err = f.workloads(args)
	return o, err
}

func (a *app) latency(ctx context.Context, f *latencyFlags, args []string) error {
	o, err := f.options(a, args)
	if err != nil {
		return err
	}
	var thresholds []query.Threshold
	for _, text := range f.failIf {
		t, err := query.ParseThreshold(text)
		if err != nil {
			return usagef("--fail-if %w", err)
		}
		thresholds = append(thresholds, t)
	}
	if f.watch && (f.from != "" || f.to != "" || len(thresholds) > 0 || f.format == "json") {
		return usagef("--watch goes with --since and with -o table or ndjson, not with --from, --to, --fail-if or -o json")
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	page := askPage(ctx, c)
	if f.watch {
		return a.watchLatency(ctx, c, page, f, o)
	}
	result, err := query.Latency(ctx, c, o)
	if err != nil {
		return err
	}
	if err := a.explainNothing(ctx, c, o.Selection, result); err != nil {
		return err
	}
	if err := a.printLatency(f.format, o.By, result, thresholds); err != nil {
		return err
	}
	if f.format == "table" && len(result.Rows) > 0 {
		a.printPage(page, withTime(latencyState(o.Selection, result.Rows), o.Interval, o.Now))
	}
	a.note(result)
	return judge(result, thresholds)
}

// watchLatency shows the rows again and again until Ctrl-C.
func (a *app) watchLatency(ctx context.Context, c *bus.Conn, page *page, f *latencyFlags, o query.Options) error {
	span := time.Duration(o.Interval.ToNS - o.Interval.FromNS)
	err := query.Watch(ctx, c, o, span, func(r *query.Result) error {
		if f.format == "table" && service.IsTerminal(a.stdout) {
			fmt.Fprint(a.stdout, "\x1b[H\x1b[2J") // to the top left, and clear
		}
		if f.format == "table" {
			fmt.Fprintf(a.stdout, "%s, the last %s\n", now().Format(time.TimeOnly), shortDuration(span))
		}
		if err := a.printLatency(f.format, o.By, r, nil); err != nil || f.format != "table" || len(r.Rows) == 0 {
			return err
		}
		a.printPage(page, withTime(latencyState(o.Selection, r.Rows), query.Between(o.Now.Add(-span), o.Now), o.Now))
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// explainNothing fails if the workload that was asked for doesn't exist, which
// is most often a slip of the keys.
func (a *app) explainNothing(ctx context.Context, c *bus.Conn, s query.Selection, r *query.Result) error {
	if len(r.Rows) > 0 || s.Workload == "" {
		return nil
	}
	known, err := query.Workloads(ctx, c, s)
	if err != nil {
		return err
	}
	names := make([]string, len(known))
	for i, w := range known {
		names[i] = w.Name
	}
	if slices.Contains(names, s.Workload) {
		return nil // known, but quiet: an empty table is the answer
	}
	message := fmt.Sprintf("no workload %q was seen in the last 24 hours", s.Workload)
	if s.Namespace != "" {
		message += fmt.Sprintf(" in namespace %s", s.Namespace)
	}
	if s.Kind == query.KindPod {
		return fmt.Errorf("%s of pods that nothing owns; `weir observe pod/%s` shows the requests of any", message, s.Workload)
	}
	if near := query.Near(s.Workload, slices.Compact(names)); len(near) > 0 {
		return fmt.Errorf("%s; did you mean %s?", message, strings.Join(near, " or "))
	}
	return fmt.Errorf("%s; `weir latency --by workload --since 24h` lists them", message)
}

// note says what the rows don't: that they are not complete, or that there are none.
func (a *app) note(r *query.Result) {
	if r.Missing != "" {
		fmt.Fprintf(a.stderr, "weir: not complete: %s\n", r.Missing)
	}
	if len(r.Rows) == 0 {
		fmt.Fprintf(a.stderr, "weir: no requests between %s and %s\n",
			r.Interval.From().Format(time.RFC3339), r.Interval.To().Format(time.RFC3339))
	}
}

// judge fails if a threshold is broken, or if there was nothing to judge by.
func judge(r *query.Result, thresholds []query.Threshold) error {
	if len(thresholds) > 0 && len(r.Rows) == 0 {
		return fmt.Errorf("nothing to compare with %s", thresholds[0])
	}
	var broken []string
	for _, row := range r.Rows {
		for _, t := range thresholds {
			if t.Broken(row, r) {
				broken = append(broken, strings.Join(strings.Fields(fmt.Sprintf("%s: %s %s %s",
					t, printable(row.Workload), row.Side, printable(row.Operation))), " "))
			}
		}
	}
	if len(broken) > 0 {
		return brokenError{strings.Join(broken, "\nweir: ")}
	}
	return nil
}

func (a *app) printLatency(format string, by query.By, r *query.Result, thresholds []query.Threshold) error {
	if format != "table" {
		rows := make([]query.LatencyRow, len(r.Rows))
		for i, row := range r.Rows {
			rows[i] = query.NewLatencyRow(row, r)
		}
		return writeJSON(a.stdout, format, rows)
	}
	if len(r.Rows) == 0 {
		return nil
	}
	t := table{coloured: a.coloured()}
	namespaces := severalNamespaces(r.Rows)
	t.head(latencyHead(by, namespaces)...)
	names := names{}
	for _, row := range r.Rows {
		names.learn(query.Workload{Namespace: row.Namespace, Name: row.Workload, Kind: row.Kind})
	}
	for _, row := range r.Rows {
		name := names.of(query.Workload{Namespace: row.Namespace, Name: row.Workload, Kind: row.Kind})
		t.add(latencyCells(by, namespaces, name, row, r, thresholds)...)
	}
	return t.write(a.stdout)
}

func severalNamespaces(rows []*query.Row) bool {
	return slices.ContainsFunc(rows, func(r *query.Row) bool { return r.Namespace != rows[0].Namespace })
}

func latencyHead(by query.By, namespaces bool) []string {
	var head []string
	if namespaces {
		head = append(head, "NAMESPACE")
	}
	head = append(head, "WORKLOAD", "SIDE", "PROTOCOL")
	if by.Operation {
		head = append(head, "OPERATION")
	}
	if by.Peer {
		head = append(head, "PEER")
	}
	if by.Status {
		head = append(head, "STATUS")
	}
	return append(head, ">REQUESTS", ">RATE", ">ERRORS", ">P50", ">P90", ">P99", ">MAX", ">WAIT P99", ">LOST")
}

func latencyCells(by query.By, namespaces bool, name string, row *query.Row, r *query.Result, thresholds []query.Threshold) []cell {
	var cells []cell
	if namespaces {
		cells = append(cells, text(row.Namespace))
	}
	cells = append(cells, text(name), text(row.Side.String()), text(row.Protocol))
	if by.Operation {
		cells = append(cells, text(row.Operation))
	}
	if by.Peer {
		cells = append(cells, text(peerName(row)))
	}
	if by.Status {
		cells = append(cells, text(row.Status))
	}
	wait := "-" // a client doesn't see it
	if row.Wait.Count > 0 {
		wait = latency(row.Wait.Quantile(0.99))
	}
	cells = append(cells,
		number(strconv.FormatUint(row.Hist.Count, 10)),
		number(fmt.Sprintf("%.1f/s", row.Rate(r.Covered()))),
		alarming(row.Errors),
		number(latency(row.Hist.Quantile(0.5))),
		number(latency(row.Hist.Quantile(0.9))),
		number(latency(row.Hist.Quantile(0.99))),
		number(latency(float64(row.Hist.MaxNS))),
		number(wait),
		alarming(r.Lost()))
	for _, t := range thresholds {
		if t.Broken(row, r) {
			for i := range cells {
				cells[i].style = red
			}
		}
	}
	return cells
}

// peerName has its namespace where it is another of the cluster's.
func peerName(row *query.Row) string {
	switch row.PeerNamespace {
	case "", row.Namespace, proto.NamespaceHost, proto.NamespaceExternal:
		return row.PeerWorkload
	}
	return row.PeerNamespace + "/" + row.PeerWorkload
}

// alarming is a number that should be zero.
func alarming(n uint64) cell {
	c := number(strconv.FormatUint(n, 10))
	if n > 0 {
		c.style = red
	}
	return c
}
