package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

// completeTimeout is how long a person who presses Tab waits.
const completeTimeout = 2 * time.Second

// completeWorkloads makes Tab offer the workloads that the stream knows.
func (a *app) completeWorkloads(cmd *cobra.Command) {
	complete := func(cmd *cobra.Command, _ []string, typed string, offer func(query.Workload) string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		c, err := a.connect(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer c.Close()
		namespace, _ := cmd.Flags().GetString("namespace")
		known, err := query.Workloads(ctx, c, query.Selection{Namespace: namespace})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		seen := map[string]bool{}
		for _, w := range known {
			if name := offer(w); strings.HasPrefix(name, typed) && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, typed, func(w query.Workload) string { return w.Name })
	}
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		_ = cmd.Flags().Set("namespace", "")
		return complete(cmd, args, typed, func(w query.Workload) string { return w.Namespace })
	})
	_ = cmd.RegisterFlagCompletionFunc("side", cobra.FixedCompletions(
		[]string{"server", "client"}, cobra.ShellCompDirectiveNoFileComp))
}
