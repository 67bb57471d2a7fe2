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
	plugin         bool // this is `kubectl weir`

	nats      service.NATS
	elsewhere bool   // the command line says where NATS is
	context   string // of the nats command
	kube      kubeFlags
	forward   *forward // to the cluster's NATS, nil if there is none
	color     string
}

const (
	groupHost  = "host"
	groupRead  = "read"
	groupParts = "parts"

	defaultHTTP = "127.0.0.1:7070"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "The latency of every HTTP request, as a stream",
		Long: `Weir measures every HTTP request between the workloads of a host, in the
kernel and without touching them, and keeps 24 hours of latency histograms in
NATS JetStream, where any program can subscribe to them.

After a table stands, on standard error, the address of the page that shows the
same, if a gateway says where that is.`,
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
				return usagef("--%s names the server and the user; give no --server or --creds with it", a.contextFlag())
			}
			a.elsewhere = given || a.context != ""
			if err := service.Settings(cmd.Flags(), file, a.lookupEnv); err != nil {
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
		&cobra.Group{ID: groupRead, Title: "Look:"})
	flags := root.PersistentFlags()
	a.nats.Add(flags)
	flags.StringVar(&a.context, a.contextFlag(), "", "`name` of a context of the nats command, instead of --server and --creds")
	flags.StringVar(&a.color, "color", "auto", "auto, always or never; NO_COLOR in the environment is never")
	root.AddCommand(a.doctorCommand(), a.latencyCommand(), a.topCommand(), a.observeCommand(), a.mapCommand(), a.queryCommand(), a.replayCommand(), a.alertsCommand(), a.sloCommand(), a.ledgerCommand())
	if a.plugin {
		a.makePlugin(root)
		return root
	}
	root.AddGroup(&cobra.Group{ID: groupParts, Title: "Parts of a cluster install:"})
	root.AddCommand(a.upCommand(),
		a.enricherCommand(), a.aggregatorCommand(), a.gatewayCommand(), a.alerterCommand(), a.provisionCommand(), a.natsCommand(), a.shopCommand(), a.shopAloneCommand())
	return root
}

// contextFlag names a context of the nats command.
func (a *app) contextFlag() string {
	if a.plugin {
		return "nats-context" // as in every kubectl command, --context is kubectl's
	}
	return "context"
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
// with event times. Addresses of the page hold milliseconds.
func now() time.Time { return time.Now().Truncate(time.Millisecond) }
