package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus/natsserver"
)

// natsCommand runs the server of `weir up` alone. It is hidden: an install of
// services in processes of their own has a real NATS cluster; tests have this.
func (a *app) natsCommand() *cobra.Command {
	var config natsserver.Config
	var level string
	cmd := &cobra.Command{
		Use:    "nats",
		Short:  "The embedded nats-server alone",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := service.Logger(a.stderr, level)
			if err != nil {
				return usageError{err}
			}
			server, err := natsserver.Start(cmd.Context(), config, log)
			if err != nil {
				return err
			}
			defer server.Stop()
			fmt.Fprintf(a.stdout, "nats-server %s, data in %s\n", server.URL(), config.Dir)
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().StringVar(&config.Dir, "data-dir", defaultDataDir, "`folder` of the streams")
	cmd.Flags().StringVar(&config.Addr, "nats", defaultNATS, "`address` to listen at")
	cmd.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}
