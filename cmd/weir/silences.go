package main

import (
	"context"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/silence"
)

func (a *app) alertsSilenceCommand() *cobra.Command {
	var lasts, author, comment string
	cmd := &cobra.Command{
		Use:   "silence MATCHER…",
		Short: "Webhooks hear nothing of some alerts for a while",
		Long: `Until a silence ends, Weir's webhooks hear nothing of alerts that begin to fire and
match all of its matchers. They are stored in WEIR_ALERTS all the same, and told
when it ends if they fire still. Alertmanagers get the same silence.

Matchers are those of amtool: LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEXP (of the whole
value), LABEL!~REGEXP; the first may be an alert's name alone. Prints the silence's ID.`,
		Example: `  weir alerts silence SlowPayment --for 2h --comment "the bank is down"
  weir alerts silence severity=ticket 'workload=~"shop-.*"' --for 1d`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, matchers []string) error {
			d, err := model.ParseDuration(lasts)
			if err != nil {
				return usagef("--for %q: %w; such as 30m, 2h or 1d", lasts, err)
			}
			if author == "" {
				if u, err := user.Current(); err == nil {
					author = u.Username
				}
			}
			s, err := silence.New(matchers, time.Duration(d), author, comment, now())
			if err != nil {
				return usageError{err}
			}
			return a.silence(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&lasts, "for", "", "how `long`: 30m, 2h, 1d; a year at most")
	cmd.Flags().StringVar(&author, "author", "", "who says so (default your user name)")
	cmd.Flags().StringVar(&comment, "comment", "", "why")
	return cmd
}

func (a *app) silence(ctx context.Context, s *silence.Silence) error {
	a.kube.user = operator
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := s.Store(ctx, c); err != nil {
		return fmt.Errorf("store silence: %w", err)
	}
	_, err = fmt.Fprintln(a.stdout, s.ID)
	return err
}

func (a *app) alertsUnsilenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unsilence ID",
		Short:   "End a silence",
		Example: `  weir alerts unsilence 3f0c55aa`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.kube.user = operator
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			return silence.End(cmd.Context(), c, args[0], now())
		},
	}
}

func (a *app) alertsSilencesCommand() *cobra.Command {
	var o outputFlag
	cmd := &cobra.Command{
		Use:   "silences",
		Short: "Which silences there are",
		Example: `  weir alerts silences
  weir alerts silences -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.silences(cmd.Context(), o.format)
		},
	}
	o.add(cmd)
	return cmd
}

func (a *app) silences(ctx context.Context, format string) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	all, unreadable, err := silence.All(ctx, c)
	if err != nil {
		return err
	}
	if unreadable != nil {
		fmt.Fprintln(a.stderr, printable(unreadable.Error()))
	}
	at := now()
	var active []*silence.Silence
	for _, s := range all {
		if s.EndsAt.After(at) {
			active = append(active, s)
		}
	}
	if format != "table" {
		return writeJSON(a.stdout, format, active)
	}
	if len(active) == 0 {
		fmt.Fprintln(a.stderr, "there are no silences")
		return nil
	}
	var t table
	t.head("ID", "ENDS IN", "BY", "MATCHERS", "COMMENT")
	for _, s := range active {
		t.add(text(s.ID), text(s.EndsAt.Sub(at).Round(time.Second).String()), text(s.Author), text(strings.Join(s.Matchers, " ")), text(s.Comment))
	}
	return t.write(a.stdout)
}
