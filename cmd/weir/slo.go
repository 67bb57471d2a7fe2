package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/weirstream/weir/alert/slo"
)

func (a *app) sloCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "slo",
		GroupID: groupRead,
		Short:   "Service level objectives, as alerting rules",
		Long: `Turns service level objectives, written in OpenSLO v1, into rules of Prometheus
that alert on how fast they use up their error budget: a page if 2 % of it went
in an hour or 5 % in six, a ticket if 10 % went in a day or three.
docs/slo.md says what is understood.`,
		Example: `  weir slo check slo.yaml
  weir slo generate slo.yaml >rules.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.sloGenerateCommand(), a.sloCheckCommand())
	return cmd
}

func (a *app) sloGenerateCommand() *cobra.Command {
	format := "prometheus"
	cmd := &cobra.Command{
		Use:   "generate FILE…",
		Short: "Print the rules of OpenSLO files",
		Long: `Prints a rule file for weir alerter or a Prometheus. Each objective is a group:
recordings of the share of bad requests over 5 minutes to 3 days, and alerts on
them. What is skipped is said on standard error.`,
		Example: `  weir slo generate slo.yaml >rules.yaml
  weir slo generate slo/*.yaml -o json | jq '.[].name'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if !slices.Contains([]string{"prometheus", "json"}, format) {
				return usagef("-o %q is not prometheus or json", format)
			}
			files, err := readFiles(args)
			if err != nil {
				return err
			}
			groups, notes, err := slo.Compile(files...)
			a.notes(notes)
			if err != nil {
				return usageError{err}
			}
			return a.printRules(groups, format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "prometheus (a rule file), or json (an array of its groups)")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"prometheus", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) sloCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "Say what is wrong in OpenSLO files, or what they ask for",
		Long: `Prints the objectives of OpenSLO files, or all that is wrong in them with its
file, line and column; then the exit code is 2.`,
		Example: `  weir slo check slo.yaml
  weir slo check slo/*.yaml && git commit slo`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := readFiles(args)
			if err != nil {
				return err
			}
			objectives, notes, err := slo.Read(files...)
			a.notes(notes)
			if err != nil {
				return usageError{err}
			}
			t := table{coloured: a.coloured()}
			t.head("SLO", "SERVICE", "OBJECTIVE")
			for _, o := range objectives {
				t.add(text(o.SLO), text(o.Service), text(o.Text))
			}
			return t.write(a.stdout)
		},
	}
}

func readFiles(names []string) (files []slo.File, err error) {
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, usagef("read SLOs: %w", err)
		}
		files = append(files, slo.File{Name: name, Data: data})
	}
	return files, nil
}

func (a *app) notes(notes []string) {
	for _, n := range notes {
		fmt.Fprintf(a.stderr, "weir: %s\n", printable(n))
	}
}

func (a *app) printRules(groups []rulefmt.RuleGroup, format string) error {
	if format == "json" {
		var lines [][]byte
		for _, g := range groups {
			line, err := asJSON(g)
			if err != nil {
				return fmt.Errorf("write rules: %w", err)
			}
			lines = append(lines, line)
		}
		return writeArray(a.stdout, lines)
	}
	out, err := slo.Marshal(groups)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(out)
	return err
}

// asJSON writes a group with the keys that it has in a rule file: its type knows
// only YAML's.
func asJSON(g rulefmt.RuleGroup) ([]byte, error) {
	out, err := yaml.Marshal(g)
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := yaml.Unmarshal(out, &keys); err != nil {
		return nil, err
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // expressions compare
	err = encoder.Encode(keys)
	return bytes.TrimSpace(line.Bytes()), err
}
