package enricher

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/weirstream/weir/enricher/kube"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	leftOutLease = "enricher.left-out"
	// lookAgain is how often the one who writes asks itself whether it still
	// should, and how long it waits after it could not.
	lookAgain = time.Second
	// readAgain is how often it looks whether the bucket still says what it wrote.
	readAgain = 30 * time.Second
)

var errStale = errors.New("the Kubernetes API is away")

// leaveOut tells the agents which pods of their nodes are not to be measured,
// in a bucket with a key for each node. Agents can't ask the API themselves:
// they have no token. Of several enrichers the holder of a lease writes, and
// only while it hears the API, until ctx ends.
func leaveOut(ctx context.Context, cfg Config, cluster *kube.Cluster, log *slog.Logger) error {
	var last string
	for ctx.Err() == nil {
		err := writeLeftOut(ctx, cfg, cluster)
		if text := errorText(err); text != last && ctx.Err() == nil && !errors.Is(err, errStale) {
			last = text
			if err != nil {
				log.Error("left_out_not_written", "error", err, "effect", "agents go on with the pods that they know to leave out")
			}
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
	}
	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// writeLeftOut is one turn of the lease.
func writeLeftOut(ctx context.Context, cfg Config, cluster *kube.Cluster) error {
	if cluster.Stale() {
		return errStale
	}
	lease, err := cfg.Bus.Acquire(ctx, bus.LeaseConfig{Key: leftOutLease, Holder: cfg.Holder})
	if err != nil {
		return err
	}
	defer lease.Release()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	var table *bus.Table
	var read time.Time
	for changed := true; ; {
		if cluster.Stale() {
			return errStale
		}
		if time.Since(read) > readAgain {
			if table, err = cfg.Bus.OpenTable(ctx, proto.BucketLeftOut); err != nil {
				return err
			}
			read, changed = time.Now(), true
		}
		if changed {
			if err := putLeftOut(ctx, table, cluster.Index.LeftOut()); err != nil {
				return err
			}
		}
		select {
		case <-cluster.Index.LeftOutChanged():
			changed = true
		case <-tick.C:
			changed = false
		case <-lease.Lost():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// putLeftOut makes the bucket say what the index says.
func putLeftOut(ctx context.Context, table *bus.Table, nodes map[string][]string) error {
	keep := map[string]bool{}
	for node, pods := range nodes {
		data, err := proto.EncodeLeftOut(&proto.LeftOut{Node: node, Pods: pods})
		if err != nil {
			return err
		}
		key := proto.LeftOutKey(node)
		keep[key] = true
		if err := table.Put(ctx, key, data); err != nil {
			return err
		}
	}
	for _, key := range table.Keys() {
		if keep[key] {
			continue
		}
		if err := table.Put(ctx, key, nil); err != nil {
			return err
		}
	}
	return nil
}
