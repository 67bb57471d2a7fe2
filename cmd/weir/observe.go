package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

// frameOnTheWay is how long a finished request takes into WEIR_ENRICHED at most.
const frameOnTheWay = 5 * time.Second

type observeFlags struct {
	timeFlags
	selectFlags
	outputFlag
	last   int
	follow bool
	filter string
}

func (a *app) observeCommand() *cobra.Command {
	f := &observeFlags{}
	cmd := &cobra.Command{
		Use:     "observe [WORKLOAD]",
		GroupID: groupRead,
		Short:   "Single requests, as they happen or of the past",
		Long: `A line for each request: when it ended, who called whom, what was asked, how it
went, and how long it took: wait (arrived, but not read yet), processing and
transfer. A request between two workloads of this host is seen twice, by its
client and by its server; --side picks one. WORKLOAD may be at either end.

Without a time the requests are shown as they happen. --filter takes a CEL
expression over the fields that -o json has: side, protocol, operation, method,
path, status, error, duration_ms, wait_ms, processing_ms, transfer_ms,
request_bytes, response_bytes, node, time, unresolved,
stale, source.{namespace,workload,pod,service,address,port}, destination.{…}, process.{pid,name}.
Comparisons of a field with a constant, joined by && and ||, are the fastest: with
them most of what isn't wanted is never decoded.`,
		Example: `  weir observe                                    # as they happen
  weir observe cart --since 5m --side server
  weir observe --last 20 --filter 'status >= 500'
  weir observe --follow --since 1m --filter 'wait_ms > 10 && destination.workload == "payment"'
  weir observe --since 1h -o ndjson | jq -r .operation | sort | uniq -c`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.observe(cmd.Context(), f, args) },
	}
	f.timeFlags.add(cmd, 0)
	f.selectFlags.add(cmd)
	f.outputFlag.add(cmd)
	cmd.Flags().IntVar(&f.last, "last", 0, "only the last `N` requests (of --since, default 15m)")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what happens next (default if no time is given)")
	cmd.Flags().StringVar(&f.filter, "filter", "", "only requests for which this CEL `expression` is true")
	a.completeWorkloads(cmd)
	return cmd
}

func (f *observeFlags) options(args []string) (query.EventOptions, error) {
	o := query.EventOptions{Follow: f.follow, Wait: frameOnTheWay}
	if err := f.check(); err != nil {
		return o, err
	}
	if f.last < 0 {
		return o, usagef("--last %d is less than nothing", f.last)
	}
	if f.follow && f.to != "" {
		return o, usagef("--follow goes on for ever: give no --to with it")
	}
	if !f.given() && f.last == 0 {
		o.Follow = true
		f.since = "now"
	}
	if f.last > 0 {
		f.fallback = 15 * time.Minute
	} else {
		f.fallback = 24 * time.Hour // only --to was given
	}
	if o.Follow && f.format == "json" {
		return o, usagef("-o json is an array and ends; to follow use -o ndjson")
	}
	now := now()
	var err error
	if f.since == "now" {
		o.Interval = query.Between(now, now)
	} else if o.Interval, err = f.interval(now); err != nil {
		return o, err
	}
	if o.Selection, err = f.selection(args); err != nil {
		return o, err
	}
	if f.filter != "" {
		if o.Filter, err = query.NewFilter(f.filter); err != nil {
			return o, usagef("--filter: %w", err)
		}
	}
	return o, nil
}

func (a *app) observe(ctx context.Context, f *observeFlags, args []string) error {
	o, err := f.options(args)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	page, state := askPage(ctx, c), f.state(o)
	if f.format == "table" && o.Follow { // it has no end
		a.printPage(page, state)
	}
	printer := &eventPrinter{app: a, format: f.format}
	if f.last > 0 {
		past := o
		past.Follow = false
		last := query.NewLast(f.last)
		if err := query.Events(ctx, c, past, last.Add); err != nil {
			return err
		}
		for _, e := range last.Events() {
			if err := printer.print(e); err != nil {
				return err
			}
		}
		o.Interval.FromNS = o.Interval.ToNS
	}
	if f.last == 0 || o.Follow {
		err = query.Events(ctx, c, o, printer.print)
	}
	if o.Follow && ctx.Err() != nil {
		err = nil // Ctrl-C is how following ends
	}
	if err != nil {
		return err
	}
	if f.format == "table" && !o.Follow && printer.count > 0 {
		a.printPage(page, state)
	}
	return printer.end()
}

// state is the page's view of the same requests. What that shows without a time
// is what happens now.
func (f *observeFlags) state(o query.EventOptions) url.Values {
	state := pageState("events", o.Selection)
	if f.filter != "" {
		state.Set("filter", f.filter)
	}
	if o.Follow {
		return state
	}
	return withTime(state, o.Interval, time.Time{})
}

// eventPrinter prints events as they come.
type eventPrinter struct {
	app    *app
	format string
	count  int
}

func (p *eventPrinter) print(e *query.Event) error {
	p.count++
	if p.format == "table" {
		return p.line(e)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	switch {
	case p.format == "ndjson":
		b = append(b, '\n')
	case p.count == 1:
		b = append([]byte("["), b...)
	default:
		b = append([]byte(",\n "), b...)
	}
	_, err = p.app.stdout.Write(b)
	return err
}

// end closes the array.
func (p *eventPrinter) end() error {
	if p.format != "json" {
		return nil
	}
	end := "]\n"
	if p.count == 0 {
		end = "[]\n"
	}
	_, err := fmt.Fprint(p.app.stdout, end)
	return err
}

// line prints what a person wants to see. Lines come one by one, so they
// can't be a table; the widths are those that fit most names.
func (p *eventPrinter) line(e *query.Event) error {
	status := cell{text: strconv.Itoa(int(e.Status))}
	switch {
	case e.Status == 0:
		status = cell{text: e.Error, style: red}
	case e.Error != "" || e.Status >= 500:
		status.style = red
	case e.Status >= 400:
		status.style = yellow
	default:
		status.style = green
	}
	t := table{coloured: p.app.coloured()}
	wait := ""
	if e.Side == "server" {
		wait = "wait " + latency(e.WaitMS*1e6) + " + "
	}
	_, err := fmt.Fprintf(p.app.stdout, "%s  %-6s  %-33s  %-28s  %s  %8s = %s%s + %s\n",
		e.Time.Local().Format("15:04:05.000"), e.Side,
		printable(endName(e.Source)+" → "+endName(e.Destination)), printable(e.Operation), t.paint(status),
		latency(e.DurationMS*1e6), wait, "processing "+latency(e.ProcessingMS*1e6), "transfer "+latency(e.TransferMS*1e6))
	return err
}

// endName is the workload, or the address of what isn't known.
func endName(e query.End) string {
	if e.Workload == "" {
		return e.Address
	}
	return e.Workload
}
