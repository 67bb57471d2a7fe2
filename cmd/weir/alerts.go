package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

type alertsFlags struct {
	all bool
	outputFlag
}

func (a *app) alertsCommand() *cobra.Command {
	f := &alertsFlags{}
	cmd := &cobra.Command{
		Use:     "alerts",
		GroupID: groupRead,
		Short:   "What fires now; silences; tests of rule files",
		Long: `A row for each alert that is pending or fires, as the alerter last said in
WEIR_ALERTS; silenced is what fires and is silenced. With --all also those that are
over since a quarter of an hour at most.`,
		Example: `  weir alerts
  weir alerts -o json
  weir alerts silence SlowPayment --for 2h
  weir alerts check rules.yaml
  weir alerts test rules_test.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.alerts(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "also what is over")
	f.add(cmd)
	cmd.AddCommand(a.alertsTestCommand(), a.alertsCheckCommand(), a.alertsSilenceCommand(), a.alertsSilencesCommand(), a.alertsUnsilenceCommand())
	return cmd
}

func (a *app) alerts(ctx context.Context, f *alertsFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	p := askPage(ctx, c)
	last, err := lastAlertRecord(ctx, c)
	if err != nil {
		return err
	}
	if last == nil {
		return errors.New("no alerter has evaluated rules of late: start one with `weir alerter --rules FILE` or `weir up --rules FILE`")
	}
	record, err := proto.DecodeAlertRecord(last.Data)
	if err != nil {
		return err
	}
	shown := slices.DeleteFunc(record.Alerts, func(x *proto.Alert) bool { return !f.all && x.State == proto.AlertResolved })
	if f.format != "table" {
		return a.printJSON(f.format, shown)
	}
	if age := time.Since(last.Time); age > 12*time.Minute {
		fmt.Fprintf(a.stderr, "this is %s old: no alerter is at work\n", age.Round(time.Second))
	}
	for _, key := range slices.Sorted(maps.Keys(record.Groups)) {
		if g := record.Groups[key]; g.Error != "" {
			fmt.Fprintf(a.stderr, "%s\n", printable(g.Error))
		}
	}
	if len(shown) == 0 {
		fmt.Fprintf(a.stderr, "nothing is pending or fires; %d groups of rules, evaluated as of %s\n", len(record.Groups), record.Time.Local().Format(time.TimeOnly))
		a.printPage(p, alertsState())
		return nil
	}
	var t table
	t.head("STATE", "SINCE", "SEVERITY", "ALERT", "LABELS", "VALUE", "SUMMARY")
	for _, x := range shown {
		since := x.FiredAt
		if since.IsZero() {
			since = x.ActiveAt
		}
		state := string(x.State)
		if x.State == alert.Firing && len(x.SilencedBy) > 0 {
			state = "silenced"
		}
		t.add(text(state), text(time.Since(since).Round(time.Second).String()), text(x.Labels["severity"]),
			text(x.Labels["alertname"]), text(ownLabels(x.Labels)),
			number(strconv.FormatFloat(float64(x.Value), 'g', 5, 64)), text(x.Annotations["summary"]))
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	a.printPage(p, alertsState())
	return nil
}

// lastAlertRecord is the newest that an alerter stored, nil if there is none. What
// others stored after it doesn't hide it: then all records are read.
func lastAlertRecord(ctx context.Context, c *bus.Conn) (*bus.Message, error) {
	newest, err := c.LastMessages(ctx, proto.StreamAlerts, proto.SubjectAlertCommit)
	if err != nil {
		return nil, err
	}
	if len(newest) > 0 {
		return &newest[0], nil
	}
	var last *bus.Message
	for m, err := range c.Messages(ctx, bus.ReadConfig{Stream: proto.StreamAlerts, Subjects: []string{proto.SubjectAlertCommit}, StopAtEnd: true}) {
		if err != nil {
			return nil, err
		}
		last = m
	}
	return last, nil
}

// ownLabels are those that have no column.
func ownLabels(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k != "alertname" && k != "severity" {
			out = append(out, k+"="+labels[k])
		}
	}
	return strings.Join(out, " ")
}

func (a *app) printJSON(format string, alerts []*proto.Alert) error {
	encoder := json.NewEncoder(a.stdout)
	if format == "ndjson" {
		for _, x := range alerts {
			if err := encoder.Encode(x); err != nil {
				return err
			}
		}
		return nil
	}
	if alerts == nil {
		alerts = []*proto.Alert{}
	}
	encoder.SetIndent("", "  ")
	return encoder.Encode(alerts)
}

func (a *app) alertsTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE…",
		Short: "Unit tests of rules, in the format of promtool test rules",
		Long: `Runs unit tests of rule files. The format is that of ` + "`promtool test rules`" + `: the same
files give the same results. No server is needed.`,
		Example: `  weir alerts test rules_test.yaml`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			failed := 0
			var wrong []error
			for _, file := range files {
				failures, err := alert.TestFile(cmd.Context(), file)
				switch {
				case cmd.Context().Err() != nil:
					return cmd.Context().Err()
				case err != nil:
					wrong = append(wrong, err)
					continue
				case len(failures) == 0:
					fmt.Fprintf(a.stdout, "%s: ok\n", file)
					continue
				}
				failed++
				fmt.Fprintf(a.stdout, "%s: FAILED\n", file)
				for _, f := range failures {
					fmt.Fprintf(a.stdout, "  %s\n", strings.ReplaceAll(f, "\n", "\n  "))
				}
			}
			if len(wrong) > 0 {
				return usageError{errors.Join(wrong...)}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d files failed", failed, len(files))
			}
			return nil
		},
	}
}

func (a *app) alertsCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE…",
		Short:   "Whether rule files have mistakes",
		Example: `  weir alerts check rules.yaml`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			groups, err := alert.LoadFiles(files, alert.DefaultInterval)
			if err != nil {
				return usageError{err}
			}
			for _, said := range alert.Twice(groups) {
				fmt.Fprintf(a.stderr, "weir: %s\n", said)
			}
			rules := 0
			for _, g := range groups {
				rules += len(g.Rules)
			}
			fmt.Fprintf(a.stdout, "%d groups, %d rules: ok\n", len(groups), rules)
			return nil
		},
	}
}
