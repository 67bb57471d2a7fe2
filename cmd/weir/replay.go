package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/replay"
	"github.com/weirstream/weir/proto"
)

// closeWithin is how long what was played may take to arrive, also after Ctrl-C.
const closeWithin = 10 * time.Second

type replayFlags struct {
	timeFlags
	speed            string
	latency, recount bool
	read             string
	write, subject   string
}

func (a *app) replayCommand() *cobra.Command {
	f := &replayFlags{}
	cmd := &cobra.Command{
		Use:     "replay",
		GroupID: groupRead,
		Short:   "The past once more: to the terminal, a file, or a subject",
		Long: `Plays enriched events, or with --latency the histograms of latency, of an
interval: at once, or at the speed at which they were recorded, or a multiple.

To standard output they are an object a line, with the fields that weir observe
-o ndjson has and all others. --write makes such a file, or a Parquet file;
--read plays one, - is standard input. --subject publishes to a NATS subject:
the messages as they are in the stream, with headers that say when and where
they were stored (docs/wire.md). A subject that ends in .> gets the tokens of the
original: replay.> is replay.enriched.p00 or replay.latency.shop.cart.

--recount counts events anew into the histograms of whole windows: sums are what
they were, bit for bit.`,
		Example: `  weir replay --from 2h --to 1h | jq -r .operation | sort | uniq -c
  weir replay --from 10m --speed 10x --subject replay.events
  weir replay --latency --since 24h --write latency.parquet
  weir replay --read events.parquet --recount        # histograms of a recording
  weir replay --since 5m | weir replay --read - --subject replay.events --server nats://other:4222`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replay(cmd.Context(), cmd.InOrStdin(), f) },
	}
	f.add(cmd, 15*time.Minute)
	flags := cmd.Flags()
	flags.StringVar(&f.speed, "speed", "max", "`factor` such as 1x, 10x or 0.5x of the recorded speed, or max")
	flags.BoolVar(&f.latency, "latency", false, "latency messages instead of events")
	flags.BoolVar(&f.recount, "recount", false, "latency messages, counted anew from the events")
	flags.StringVar(&f.read, "read", "", "play this `file`, .ndjson or .parquet, instead of the stream; - is NDJSON from standard input")
	flags.StringVar(&f.write, "write", "", "make this `file`, .ndjson or .parquet")
	flags.StringVar(&f.subject, "subject", "", "publish to this NATS `subject`")
	cmd.MarkFlagsMutuallyExclusive("write", "subject")
	cmd.MarkFlagsMutuallyExclusive("latency", "recount")
	_ = cmd.RegisterFlagCompletionFunc("speed", cobra.FixedCompletions([]string{"1x", "10x", "60x", "max"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// plan is what was asked for.
type plan struct {
	interval query.Interval
	speed    replay.Speed
}

func (f *replayFlags) plan() (p plan, err error) {
	if p.speed, err = replay.ParseSpeed(f.speed); err != nil {
		return p, usagef("--speed %w", err)
	}
	if f.recount && p.speed != 0 {
		return p, usagef("--recount counts at once: give no --speed with it")
	}
	if f.read != "" && !f.given() {
		p.interval = query.Interval{FromNS: math.MinInt64, ToNS: math.MaxInt64}
	} else if p.interval, err = f.interval(now()); err != nil {
		return p, err
	}
	if f.recount && f.given() {
		p.interval = p.interval.Windows()
	}
	if f.subject != "" {
		if err := replay.CheckSubject(f.subject); err != nil {
			return p, usagef("--subject %w", err)
		}
	}
	for _, file := range []struct{ flag, name string }{{"--read", f.read}, {"--write", f.write}} {
		if file.name == "" || file.name == "-" && file.flag == "--read" {
			continue
		}
		if _, err := replay.FormatOf(file.name); err != nil {
			return p, usagef("%s %w", file.flag, err)
		}
	}
	from, err := os.Stat(f.read)
	if err != nil {
		return p, nil // opening it says why
	}
	if to, err := os.Stat(f.write); err == nil && os.SameFile(from, to) {
		return p, usagef("--write %s would overwrite what --read reads: name another file", f.write)
	}
	return p, nil
}

func (a *app) replay(ctx context.Context, stdin io.Reader, f *replayFlags) (err error) {
	p, err := f.plan()
	if err != nil {
		return err
	}
	var c *bus.Conn
	if f.read == "" || f.subject != "" {
		if c, err = a.connect(ctx); err != nil {
			return err
		}
		defer c.Close()
	}
	source, err := f.source(c, stdin, p)
	if err != nil {
		return err
	}
	sink, err := f.sink(ctx, c, a.stdout)
	if err != nil {
		return err
	}
	played, err := replay.Run(ctx, source, p.speed, sink)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	err = cmp.Or(err, sink.Close(closing))
	if err == nil || played.Messages > 0 {
		a.sayPlayed(f, played, sink)
	}
	if err != nil || f.read != "" {
		return err
	}
	return a.noteExpired(ctx, c, f.stream(), p.interval)
}

// stream is where the messages are from.
func (f *replayFlags) stream() string {
	if f.latency {
		return proto.StreamLatency
	}
	return proto.StreamEnriched
}

func (f *replayFlags) source(c *bus.Conn, stdin io.Reader, p plan) (source replay.Source, err error) {
	switch {
	case f.read == "-":
		source = replay.Lines("standard input", stdin, f.latency, p.interval)
	case f.read != "":
		source, err = replay.File(f.read, f.latency, p.interval)
	case f.latency:
		source = replay.Latencies(c, p.interval)
	default:
		source = replay.Events(c, p.interval, frameOnTheWay)
	}
	if f.recount {
		source = recount(source)
	}
	return source, err
}

func (f *replayFlags) sink(ctx context.Context, c *bus.Conn, stdout io.Writer) (replay.Sink, error) {
	switch {
	case f.subject != "":
		return replay.OpenSubject(ctx, c, f.subject)
	case f.write != "":
		return replay.Create(f.write, f.latency || f.recount)
	}
	return replay.Output(stdout), nil
}

// recount makes latency messages of a source's events.
func recount(events replay.Source) replay.Source {
	return func(ctx context.Context, play func(*replay.Item) error) error {
		counter := aggregator.NewRecount()
		var clock time.Time
		playAll := func(parts []bus.Part) error {
			for _, part := range parts {
				latency, err := proto.DecodeLatency(part.Data)
				if err != nil {
					return err
				}
				m := bus.Message{Subject: part.Subject, Data: part.Data, Time: clock}
				if err := play(&replay.Item{Message: m, Stream: proto.StreamLatency, Latency: latency}); err != nil {
					return err
				}
			}
			return nil
		}
		err := events(ctx, func(i *replay.Item) error {
			clock = i.LogTime()
			parts, err := counter.Add(i.Frame, clock.UnixNano())
			return cmp.Or(err, playAll(parts))
		})
		if err != nil {
			return err
		}
		parts, err := counter.Flush()
		return cmp.Or(err, playAll(parts))
	}
}

// sayPlayed says what went where nobody sees it.
func (a *app) sayPlayed(f *replayFlags, p replay.Played, sink replay.Sink) {
	what := "events"
	if f.latency || f.recount {
		what = "deltas of windows"
	}
	where := ""
	switch subject, ok := sink.(*replay.Subject); {
	case ok && subject.Stream() != "":
		where = fmt.Sprintf(" to %s, which stream %s stores", f.subject, subject.Stream())
	case ok:
		where = " to " + f.subject
	case f.write != "":
		where = " to " + f.write
	case p.Messages > 0:
		return
	}
	if p.Messages == 0 {
		fmt.Fprintf(a.stderr, "weir: there were no %s to play%s\n", what, where)
		return
	}
	fmt.Fprintf(a.stderr, "weir: played %d %s in %d messages%s\n", p.Events, what, p.Messages, where)
}

// noteExpired says if the stream no longer holds the start of the interval.
func (a *app) noteExpired(ctx context.Context, c *bus.Conn, stream string, interval query.Interval) error {
	info, err := c.StreamInfo(ctx, stream)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	if info.FirstSeq > 1 && (info.FirstTime.IsZero() || interval.From().Before(info.FirstTime)) {
		fmt.Fprintf(a.stderr, "weir: not complete: older than %s has expired\n", info.FirstTime.Format(time.TimeOnly))
	}
	return nil
}
