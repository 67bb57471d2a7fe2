package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/internal/bus"
)

// serviceFlags are those of a service that runs in a process of its own.
type serviceFlags struct {
	http, name, level string
	wait              time.Duration
}

// add adds them. what is served at http besides.
func (f *serviceFlags) add(cmd *cobra.Command, http, what string) {
	host, _ := os.Hostname()
	cmd.Flags().StringVar(&f.http, "http", http, "`address` of "+what+"/healthz, /readyz and /metrics")
	cmd.Flags().StringVar(&f.name, "name", fmt.Sprintf("%s-%d", host, os.Getpid()), "`name` of this replica, unique among those that run")
	cmd.Flags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	service.WaitFlag(cmd.Flags(), &f.wait)
	cmd.Flags().String("config", "", "YAML `file` of these settings")
	cmd.Flags().Lookup("name").DefValue = "host and process id"
}

// serve connects a service and runs it.
func (a *app) serve(ctx context.Context, f *serviceFlags, run func(context.Context, *bus.Conn, *slog.Logger) error) error {
	log, err := service.Logger(a.stderr, f.level)
	if err != nil {
		return usageError{err}
	}
	if err := service.CheckHTTP(f.http); err != nil {
		return err
	}
	options, err := a.busOptions()
	if err != nil {
		return err
	}
	options.Name = "weir " + f.name
	c, err := service.Connect(ctx, options, f.wait, log)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := service.Streams(ctx, c, f.wait, log); err != nil {
		return err
	}
	return run(ctx, c, log)
}

func (a *app) enricherCommand() *cobra.Command {
	f := &serviceFlags{}
	k := &kubernetesFlags{}
	cmd := &cobra.Command{
		Use:     "enricher",
		GroupID: groupParts,
		Short:   "WEIR_RAW → WEIR_ENRICHED: who is at each end",
		Long: `Names the workloads at both ends of every exchange. Replicas share the partitions.

With --kubernetes or --kubeconfig the names are those of pods, workloads and
services, as the Kubernetes API has them; without, those of plain hosts.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := k.config()
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), f, func(ctx context.Context, c *bus.Conn, log *slog.Logger) error {
				return enricher.Run(ctx, enricher.Config{
					Bus: c, Holder: f.name, HTTP: f.http, Registry: service.Metrics(), Kubernetes: cluster,
				}, log)
			})
		},
	}
	f.add(cmd, "127.0.0.1:7072", "")
	k.add(cmd)
	return cmd
}

// kubernetesFlags say where the Kubernetes API is, if there is one.
type kubernetesFlags struct {
	inPod            bool
	kubeconfig, name string
	optOut           string
}

func (k *kubernetesFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&k.inPod, "kubernetes", false, "names from the Kubernetes API, with the pod's service account")
	cmd.Flags().StringVar(&k.kubeconfig, "kubeconfig", "", "names from the Kubernetes API that this `file` tells of")
	cmd.Flags().StringVar(&k.name, "kube-context", "", "`name` of a context of --kubeconfig, instead of its current one")
	cmd.Flags().StringVar(&k.optOut, "opt-out-namespaces", "", "label `selector` of namespaces whose pods agents leave out, such as env=dev")
}

func (k *kubernetesFlags) config() (*kube.Config, error) {
	switch {
	case k.name != "" && k.kubeconfig == "":
		return nil, usagef("--kube-context names a context of a kubeconfig: give --kubeconfig FILE, too")
	case k.optOut != "" && k.kubeconfig == "" && !k.inPod:
		return nil, usagef("--opt-out-namespaces selects namespaces of a cluster: give --kubernetes or --kubeconfig FILE, too")
	case k.kubeconfig != "" || k.inPod:
		return &kube.Config{Kubeconfig: k.kubeconfig, Context: k.name, OptOut: k.optOut}, nil
	}
	return nil, nil
}

func (a *app) aggregatorCommand() *cobra.Command {
	f := &serviceFlags{}
	cmd := &cobra.Command{
		Use:     "aggregator",
		GroupID: groupParts,
		Short:   "WEIR_ENRICHED → WEIR_LATENCY: histograms",
		Long:    "Counts every exchange once, in histograms of ten seconds. Replicas share the partitions.",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), f, func(ctx context.Context, c *bus.Conn, log *slog.Logger) error {
				return aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: f.name, HTTP: f.http, Registry: service.Metrics()}, log)
			})
		},
	}
	f.add(cmd, "127.0.0.1:7073", "")
	return cmd
}
