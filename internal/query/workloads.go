package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Workload is a workload that the last 24 hours know.
type Workload struct {
	Namespace string
	Name      string
	Kind      string
}

func (w Workload) compare(o Workload) int {
	return cmp.Or(cmp.Compare(w.Namespace, o.Namespace), cmp.Compare(w.Name, o.Name), cmp.Compare(w.Kind, o.Kind))
}

// Workloads lists the workloads that a selection's namespace and kind hold.
func Workloads(ctx context.Context, c *bus.Conn, s Selection) ([]Workload, error) {
	s.Workload = ""
	last, err := c.LastMessages(ctx, proto.StreamLatency, s.Subject())
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	var out []Workload
	for _, m := range last {
		latency, err := proto.DecodeLatency(m.Data)
		if err != nil {
			return nil, fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamLatency, err)
		}
		if s.Matches(latency.Namespace, latency.Workload, latency.WorkloadKind) {
			out = append(out, Workload{latency.Namespace, latency.Workload, latency.WorkloadKind})
		}
	}
	slices.SortFunc(out, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	return out, nil
}
