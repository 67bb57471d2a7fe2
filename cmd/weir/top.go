package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
)

// spans are what + and - go through.
var spans = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

type topFlags struct {
	selectFlags
	since string
}

func (a *app) topCommand() *cobra.Command {
	f := &topFlags{}
	cmd := &cobra.Command{
		Use:     "top [WORKLOAD]",
		GroupID: groupRead,
		Short:   "The same full screen, live: sort, filter, drill down, histogram",
		Long: `A row for each workload and side, as weir latency counts them, shown anew after
every window of ten seconds. Enter goes from a workload to its operations, and
from an operation to callers and statuses; below is the histogram of the row that
is selected, how much of the time was waiting, working and sending, and where
the page shows the same.

Keys: arrows or j k select, Enter and Esc go down and up, s and S choose the
column to sort by, r turns the order, / filters by name, Tab chooses the side,
+ and - the time, Space stops the picture, ? shows these, q ends.`,
		Example: `  weir top
  weir top -n shop --since 1h
  weir top deploy/cart -n shop --side server`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.top(cmd.Context(), f, args) },
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.since, "since", "5m", "the last `duration`, up to 24h")
	a.completeWorkloads(cmd)
	return cmd
}

func (a *app) top(ctx context.Context, f *topFlags, args []string) error {
	span, err := query.ParseDuration(f.since)
	if err != nil || span <= 0 || span > kept {
		return usagef("--since %q is not a duration such as 15m, of 24h at most", f.since)
	}
	selection, err := f.workloads(args)
	if err != nil {
		return err
	}
	if !service.IsTerminal(a.stdout) {
		return usagef("weir top draws on a terminal; `weir latency --watch` prints to anything")
	}
	c, err := a.connectLogging(ctx, slog.New(slog.DiscardHandler)) // the screen says it
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Partitions(ctx); err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	feed := &topFeed{conn: c, options: query.Options{Selection: selection, By: query.By{Operation: true, Peer: true, Status: true}}, spans: make(chan time.Duration, 1)}
	model := newTopModel(c.URL(), span, a.coloured(), c.Connected, feed.choose)
	model.web, model.selection = askPage(ctx, c), selection
	program := tea.NewProgram(model, tea.WithContext(ctx), tea.WithOutput(a.stdout))
	g.Go(func() error { return feed.run(ctx, span, program.Send) })
	g.Go(func() error {
		defer stop()
		_, err := program.Run()
		if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
			return nil
		}
		return err
	})
	return g.Wait()
}

// topFeed reads what the screen shows.
type topFeed struct {
	conn    *bus.Conn
	options query.Options
	spans   chan time.Duration
}

// choose makes it read another span.
func (f *topFeed) choose(span time.Duration) {
	select {
	case <-f.spans: // one that wasn't taken yet
	default:
	}
	f.spans <- span
}

// run sends a *query.Result after every commit, and errors, until ctx ends.
func (f *topFeed) run(ctx context.Context, span time.Duration, send func(tea.Msg)) error {
	for ctx.Err() == nil {
		watch, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func(span time.Duration) {
			defer close(done)
			o := f.options
			o.Now = now()
			err := query.Watch(watch, f.conn, o, span, func(r *query.Result) error { send(r); return watch.Err() })
			if err != nil && watch.Err() == nil {
				send(err)
			}
		}(span)
		var again <-chan time.Time
		for ended, wait := (<-chan struct{})(done), true; wait; {
			select {
			case <-ended:
				ended, again = nil, time.After(2*time.Second)
			case <-again:
				wait = false
			case span = <-f.spans:
				wait = false
			case <-ctx.Done():
				wait = false
			}
		}
		stop()
		<-done
	}
	return nil
}
