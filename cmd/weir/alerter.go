package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/alert/rules"
	"github.com/weirstream/weir/alert/slo"
	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
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

Rule files are looked at every 15 s. One with a mistake changes nothing: the rules
stay as they were, and the log says where the mistake is. Rules on Weir's own loss
and lag are always there.`,
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

// webhookFile is what --webhooks names.
type webhookFile struct {
	Webhooks []struct {
		Name       string            `yaml:"name"`
		URL        string            `yaml:"url"`
		Preset     string            `yaml:"preset"`
		Template   string            `yaml:"template"`
		Severities []string          `yaml:"severities"`
		Headers    map[string]string `yaml:"headers"`
		RoutingKey string            `yaml:"routing_key"` // of the preset pagerduty
	} `yaml:"webhooks"`
}

// presets are bodies that some receivers want. {{json …}} writes a value as JSON.
var presets = map[string]string{
	"json": `{{json .}}`,
	"slack": `{"text": {{json (printf "%s *%s* %s\n%s" (icon .Status) .Labels.alertname .Status (or .Annotations.summary .Annotations.description))}}` +
		`{{with .Page}}, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": {{json (printf "%s *%s* %s\n%s\n<%s|See it on the page>" (icon $.Status) $.Labels.alertname $.Status (or $.Annotations.summary $.Annotations.description) .)}}}}]{{end}}}`,
	"pagerduty": `{"routing_key": {{json routingKey}}, "event_action": "{{if eq .Status "firing"}}trigger{{else}}resolve{{end}}", "dedup_key": {{json .Fingerprint}}, ` +
		`"payload": {"summary": {{json (or .Annotations.summary .Labels.alertname)}}, "source": "weir", "severity": {{json (or .Labels.pagerduty_severity "error")}}, "custom_details": {{json .Labels}}}` +
		`{{with .Page}}, "links": [{"href": {{json .}}, "text": "See it on the page"}]{{end}}}`,
}

func readWebhooks(file string) ([]*alert.Webhook, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f webhookFile
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var out []*alert.Webhook
	names := map[string]bool{}
	for i, w := range f.Webhooks {
		wrong := func(format string, args ...any) error {
			return fmt.Errorf("%s: webhook %d: %s", file, i+1, fmt.Sprintf(format, args...))
		}
		u, err := url.Parse(w.URL)
		switch {
		case w.Name == "" || names[proto.Token(w.Name)]:
			return nil, wrong("name %q is empty, or as good as another's (letters, digits and - count): the stream remembers by it what was told", w.Name)
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return nil, wrong("url %q is not an http or https address", w.URL)
		case w.Preset != "" && w.Template != "":
			return nil, wrong("preset and template contradict each other: give one of them")
		case w.Preset == "pagerduty" && w.RoutingKey == "":
			return nil, wrong("the preset pagerduty needs a routing_key")
		}
		names[proto.Token(w.Name)] = true
		text := w.Template
		if text == "" {
			preset, known := presets[cmp.Or(w.Preset, "json")]
			if !known {
				return nil, wrong("preset %q is not json, slack or pagerduty", w.Preset)
			}
			text = preset
		}
		body, err := template.New(w.Name).Option("missingkey=zero").Funcs(template.FuncMap{
			"json": func(v any) (string, error) {
				b, err := json.Marshal(v)
				return string(b), err
			},
			"icon": func(status string) string {
				if status == "firing" {
					return ":red_circle:"
				}
				return ":large_green_circle:"
			},
			"routingKey": func() string { return w.RoutingKey },
		}).Parse(text)
		if err != nil {
			return nil, wrong("template: %s", strings.TrimPrefix(err.Error(), "template: "))
		}
		if err := alert.TryWebhook(body); err != nil {
			return nil, wrong("template: %s", strings.TrimPrefix(err.Error(), "template: "))
		}
		out = append(out, &alert.Webhook{Name: w.Name, URL: u, Header: w.Headers, Severities: w.Severities, Body: body})
	}
	return out, nil
}
