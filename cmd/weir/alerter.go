package main

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/alert/rules"
	"github.com/weirstream/weir/alert/slo"
	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
)

// alertFlags say what rules there are and who is told.
type alertFlags struct {
	rules, slos, alertmanagers []string
	webhooks                   string
	external                   map[string]string
	resend                     time.Duration
}

// add adds them; those that few need are for files and the environment, and not
// in --help.
func (f *alertFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.rules, "rules", nil, "Prometheus rule `files`, or patterns of them")
	flags.StringSliceVar(&f.slos, "slo", nil, "OpenSLO `files`; docs/alerting.md has more settings")
	hidden := pflag.NewFlagSet("alerts", pflag.ContinueOnError)
	hidden.StringSliceVar(&f.alertmanagers, "alertmanager", nil, "`addresses` of Alertmanagers such as http://alertmanager:9093")
	hidden.DurationVar(&f.resend, "alertmanager-resend", alert.DefaultResend, "how often Alertmanagers are told again of what fires; after four times this without it is over for them")
	hidden.StringVar(&f.webhooks, "webhooks", "", "YAML `file` of webhooks that are told of changes")
	hidden.StringToStringVar(&f.external, "external-labels", nil, "`labels` of all alerts, such as cluster=eu")
	hidden.VisitAll(func(h *pflag.Flag) { h.Hidden = true })
	flags.AddFlagSet(hidden)
}

// more is the rules that don't come from rule files: Weir's own, and those of
// objectives.
func (f *alertFlags) more() ([]*alert.Group, error) {
	groups, err := alert.Parse("", rules.Weir, alert.DefaultInterval)
	if err != nil || len(f.slos) == 0 {
		return groups, err
	}
	files, err := readFiles(f.slos)
	if err != nil {
		return nil, err
	}
	objectives, err := slo.Load(files...)
	return append(groups, objectives...), err
}

// config is what the flags say, with the files read once: mistakes are said now.
func (f *alertFlags) config(pageURL string) (alert.Config, error) {
	cfg := alert.Config{Rules: f.rules, More: f.more, ExternalLabels: f.external, Resend: f.resend}
	if f.resend < time.Second {
		return cfg, usagef("--alertmanager-resend %s is too short: give at least 1s", f.resend)
	}
	if _, err := alert.LoadFiles(f.rules, alert.DefaultInterval); err != nil {
		return cfg, usageError{err}
	}
	if _, err := f.more(); err != nil {
		return cfg, usageError{err}
	}
	for _, text := range f.alertmanagers {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return cfg, usagef("--alertmanager %q is not an address such as http://alertmanager:9093", text)
		}
		cfg.Alertmanagers = append(cfg.Alertmanagers, u)
	}
	if pageURL != "" {
		u, err := parsePage(pageURL)
		if err != nil {
			return cfg, usagef("--page-url %w", err)
		}
		cfg.Page = u
	}
	var err error
	if f.webhooks != "" {
		cfg.Webhooks, err = readWebhooks(f.webhooks)
	}
	return cfg, err
}

func (a *app) alerterCommand() *cobra.Command {
	f := &serviceFlags{}
	alerts := &alertFlags{}
	var interval time.Duration
	var pageURL string
	cmd := &cobra.Command{
		Use:     "alerter",
		GroupID: groupParts,
		Short:   "Prometheus rules over WEIR_LATENCY → WEIR_ALERTS, Alertmanager, webhooks",
		Long: `Evaluates Prometheus rule files over the stream. What begins to fire and what is
over goes into WEIR_ALERTS, as CloudEvents on weir.alert.<severity>.<name>, to
Alertmanagers and to webhooks. Of several replicas one works; whoever goes on
makes up for the rounds that nobody evaluated, of an hour at most, and says
nothing twice.

Rule files are looked at every 15 s, and at SIGHUP. One with a mistake changes
nothing: the rules stay as they were, and the log says where the mistake is. Rules
on Weir's own loss and lag are always there.`,
		Example: `  weir alerter --rules '/etc/weir/rules/*.yaml' --alertmanager http://alertmanager:9093
  weir alerter --slo objectives.yaml --webhooks webhooks.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := alerts.config(pageURL)
			if err != nil {
				return err
			}
			if interval < 10*time.Second {
				return usagef("--interval %s is too short: windows are 10s", interval)
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			cfg.Reload = hangup
			return a.serve(cmd.Context(), f, func(ctx context.Context, c *bus.Conn, log *slog.Logger) error {
				cfg.Bus, cfg.Holder, cfg.HTTP, cfg.Registry, cfg.Interval = c, f.name, f.http, service.Metrics(), interval
				return alert.Run(ctx, cfg, log)
			})
		},
	}
	f.add(cmd, "127.0.0.1:7074", "")
	alerts.add(cmd.Flags())
	cmd.Flags().DurationVar(&interval, "interval", alert.DefaultInterval, "how often rules are evaluated whose group doesn't say")
	cmd.Flags().StringVar(&pageURL, "page-url", "", "`address` by which people reach the page, for the links in alerts")
	return cmd
}
