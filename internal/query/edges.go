package query

import (
	"cmp"
	"context"
	"slices"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Edge is one workload calling another, as seen from one side.
type Edge struct {
	FromNamespace, FromWorkload string
	ToNamespace, ToWorkload     string
	Row                         *Row
}

type edgeKey struct{ fromNamespace, from, toNamespace, to, protocol string }

// Edges reads who calls whom. A call between two watched workloads is seen
// from both sides; it is shown once, as the server saw it, unless the
// selection asks for a side. A workload is selected at either end.
func Edges(ctx context.Context, c *bus.Conn, o Options) ([]Edge, *Result, error) {
	o.By = By{Peer: true}
	wanted := o.Selection
	o.Selection = Selection{Side: wanted.Side}
	result, err := Latency(ctx, c, o)
	if err != nil {
		return nil, nil, err
	}
	edges := map[edgeKey]Edge{}
	for _, row := range result.Rows {
		e := newEdge(row)
		if !wanted.Matches(row.Namespace, row.Workload, row.Kind) &&
			!wanted.Matches(row.PeerNamespace, row.PeerWorkload, row.PeerKind) {
			continue
		}
		key := edgeKey{e.FromNamespace, e.FromWorkload, e.ToNamespace, e.ToWorkload, row.Protocol}
		if known, ok := edges[key]; ok && known.Row.Side == proto.SideServer {
			continue
		}
		edges[key] = e
	}
	sorted := make([]Edge, 0, len(edges))
	for _, e := range edges {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b Edge) int {
		return cmp.Or(
			cmp.Compare(a.FromNamespace, b.FromNamespace), cmp.Compare(a.FromWorkload, b.FromWorkload),
			cmp.Compare(a.ToNamespace, b.ToNamespace), cmp.Compare(a.ToWorkload, b.ToWorkload),
			a.Row.compare(b.Row.Key))
	})
	return sorted, result, nil
}

func newEdge(r *Row) Edge {
	if r.Side == proto.SideClient {
		return Edge{r.Namespace, r.Workload, r.PeerNamespace, r.PeerWorkload, r}
	}
	return Edge{r.PeerNamespace, r.PeerWorkload, r.Namespace, r.Workload, r}
}
