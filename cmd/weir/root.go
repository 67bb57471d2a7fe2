package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/cmd/internal/service"
)

// app is what all subcommands share: where to write, and the global flags.
type app struct {
	stdout, stderr io.Writer
	started        bool // the command line was understood

	server  string
	creds   string
	context string
	color   string
}

const (
	groupHost  = "host"
	groupRead  = "read"
	groupParts = "parts"

	defaultServer = "nats://127.0.0.1:4222"
	defaultHTTP   = "127.0.0.1:7070"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "The latency of every HTTP request, as a stream",
		Long: `Weir measures every HTTP request between the workloads of a host, in the
kernel and without touching them, and keeps 24 hours of latency histograms in
NATS JetStream, where any program can subscribe to them.`,
		Example: `  sudo weir up --demo            # everything on this host, and a small shop to look at
  weir latency                   # who is slow, and is it working or waiting
  weir observe --follow          # requests as they happen
  weir map                       # who calls whom`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			file := ""
			if f := cmd.Flags().Lookup("config"); f != nil {
				file = f.Value.String()
			}
			given := cmd.Flags().Changed("server") || cmd.Flags().Changed("creds")
			if given && a.context != "" {
				return usagef("--context names the server and the user; give no --server or --creds with it")
			}
			if err := service.Settings(cmd.Flags(), file, os.LookupEnv); err != nil {
				return usageError{err}
			}
			if given {
				a.context = "" // from the environment: the command line has said otherwise
			}
			return a.checkColor()
		},
	}
	root.AddGroup(
		&cobra.Group{ID: groupHost, Title: "Measure:"},
		&cobra.Group{ID: groupRead, Title: "Look:"},
		&cobra.Group{ID: groupParts, Title: "Parts of a cluster install:"})
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", defaultServer, "where NATS is; several separated by commas")
	flags.StringVar(&a.creds, "creds", "", "credentials `file` of a NATS user")
	flags.StringVar(&a.context, "context", "", "`name` of a context of the nats command, instead of --server and --creds")
	flags.StringVar(&a.color, "color", "auto", "auto, always or never; NO_COLOR in the environment is never")
	root.AddCommand(
		a.upCommand(), a.doctorCommand(),
		a.latencyCommand(), a.observeCommand(), a.mapCommand(), a.ledgerCommand(),
		a.enricherCommand(), a.aggregatorCommand(), a.provisionCommand(), a.natsCommand(), a.shopCommand(), a.shopAloneCommand())
	return root
}

func (a *app) checkColor() error {
	switch a.color {
	case "auto", "always", "never":
		return nil
	}
	return usagef("--color %q is not auto, always or never", a.color)
}

// coloured reports whether standard output takes colours.
func (a *app) coloured() bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && service.IsTerminal(a.stdout)
}

// now is the time of a question, without the monotonic clock: it is compared
// with event times.
func now() time.Time { return time.Now().Round(0) }
