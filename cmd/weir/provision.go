package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

func (a *app) provisionCommand() *cobra.Command {
	layout := bus.Layout{}
	var wait time.Duration
	var retire bool
	cmd := &cobra.Command{
		Use:     "provision",
		GroupID: groupParts,
		Short:   "Create the streams of an install",
		Long: `Creates the streams and buckets that don't exist yet, and changes nothing if one
exists with a configuration that promises something else. The number of
partitions is for life: it bounds how many replicas can share the work.`,
		Example: `  weir provision --server nats://nats:4222 --partitions 8 --replicas 3`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if retire {
				return a.retire(cmd.Context(), wait)
			}
			return a.provision(cmd.Context(), layout, wait)
		},
	}
	cmd.Flags().IntVar(&layout.Partitions, "partitions", 1, "power of two from 1 to 64")
	cmd.Flags().IntVar(&layout.Replicas, "replicas", 1, "copies of each stream: 1, 3 or 5")
	cmd.Flags().Int64Var(&layout.RawBytes, "raw-bytes", 0, "bound of WEIR_RAW on disk (default 1 GiB)")
	cmd.Flags().Int64Var(&layout.EnrichedBytes, "enriched-bytes", 0, "bound of WEIR_ENRICHED on disk (default 2 GiB)")
	cmd.Flags().Int64Var(&layout.LatencyBytes, "latency-bytes", 0, "bound of WEIR_LATENCY on disk (default 3 GiB)")
	cmd.Flags().Int64Var(&layout.RollupBytes, "rollup-bytes", 0, "bound of WEIR_ROLLUP on disk (default 1 GiB)")
	cmd.Flags().Int64Var(&layout.HistoryBytes, "history-bytes", 0, "bound of WEIR_HISTORY on disk (default 256 MiB)")
	cmd.Flags().BoolVar(&retire, "retire", false, "before an install is deleted: have its agents leave nothing in the kernel")
	service.WaitFlag(cmd.Flags(), &wait)
	cmd.Flags().String("config", "", "YAML `file` of these settings")
	return cmd
}

func (a *app) provision(ctx context.Context, layout bus.Layout, wait time.Duration) error {
	c, err := a.provisioner(ctx, wait)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Provision(ctx, layout); err != nil {
		return err
	}
	var denied *bus.DeniedError
	err = c.SetValue(ctx, proto.BucketLeftOut, proto.KeyRetired, nil)
	if errors.As(err, &denied) { // a NATS of others, whose permissions are older
		fmt.Fprintf(a.stderr, "weir: %s; it is needed only after `weir provision --retire`\n", err)
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "streams are ready at %s\n", c.URL())
	return err
}

// retireTime is how long agents have to hear of it: they ask every second.
const retireTime = 3 * time.Second

// retire never fails for want of NATS: a broken install is deleted too.
func (a *app) retire(ctx context.Context, wait time.Duration) error {
	c, err := a.provisioner(ctx, wait)
	if err == nil {
		defer c.Close()
		err = c.SetValue(ctx, proto.BucketLeftOut, proto.KeyRetired, []byte{1})
	}
	if err != nil {
		_, err = fmt.Fprintf(a.stderr, "weir: agents could not be told (%s): they leave programs that do nothing and their memory, until the nodes start again\n", err)
		return err
	}
	select {
	case <-time.After(retireTime):
	case <-ctx.Done():
	}
	_, err = fmt.Fprintln(a.stdout, "agents leave nothing behind when they end, until `weir provision` runs again")
	return err
}

func (a *app) provisioner(ctx context.Context, wait time.Duration) (*bus.Conn, error) {
	options, err := a.busOptions()
	if err != nil {
		return nil, err
	}
	log, err := service.Logger(a.stderr, "warn")
	if err != nil {
		return nil, err
	}
	return service.Connect(ctx, options, wait, log)
}
