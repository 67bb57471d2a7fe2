package query

import (
	"cmp"
	"context"
	"slices"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// alike is how much the counts of two views of one edge may differ, as a part
// of the larger, to be of the same exchanges.
const alike = 0.03

// Edge is one workload calling another. A call between two watched workloads
// is seen from both sides.
type Edge struct {
	From, To Workload
	Protocol string
	Server   *Row // as the server saw it, nil if it didn't
	Client   *Row // as the client felt it, nil if it isn't watched
}

// Seen is the server's view, or the client's if there is no other.
func (e *Edge) Seen() *Row {
	if e.Server != nil {
		return e.Server
	}
	return e.Client
}

// NetworkNS is the mean time of an exchange outside of the server: the client's
// mean latency less the server's. It is known only if both saw the same
// exchanges, or nearly: those are counted where and when they ended, so some
// at the ends of the interval are on one side only.
func (e *Edge) NetworkNS() (mean float64, known bool) {
	if e.Server == nil || e.Client == nil {
		return 0, false
	}
	server, client := &e.Server.Hist, &e.Client.Hist
	apart := max(server.Count, client.Count) - min(server.Count, client.Count)
	if min(server.Count, client.Count) == 0 || float64(apart) > alike*float64(max(server.Count, client.Count)) {
		return 0, false
	}
	mean = float64(client.SumNS)/float64(client.Count) - float64(server.SumNS)/float64(server.Count)
	return mean, mean >= 0 // less than nothing is the noise of what is on one side only
}

type edgeKey struct {
	from, to Workload
	protocol string
}

// Edges reads who calls whom. What both sides saw is one edge. A workload is
// selected at either end.
func Edges(ctx context.Context, c *bus.Conn, o Options) ([]Edge, *Result, error) {
	o.By = By{Peer: true}
	wanted := o.Selection
	o.Selection = Selection{Side: wanted.Side}
	result, err := Latency(ctx, c, o)
	if err != nil {
		return nil, nil, err
	}
	return Join(result.Rows, wanted), result, nil
}

// Join makes edges of rows by peer. What both sides saw is one edge. A workload
// is selected at either end.
func Join(rows []*Row, wanted Selection) []Edge {
	byEnds := map[edgeKey]*Edge{}
	for _, row := range rows {
		own := Workload{row.Namespace, row.Workload, row.Kind}
		peer := Workload{row.PeerNamespace, row.PeerWorkload, row.PeerKind}
		if !wanted.Matches(own.Namespace, own.Name, own.Kind) && !wanted.Matches(peer.Namespace, peer.Name, peer.Kind) {
			continue
		}
		key := edgeKey{peer, own, row.Protocol}
		if row.Side == proto.SideClient {
			key.from, key.to = own, peer
		}
		e := byEnds[key]
		if e == nil {
			e = &Edge{From: key.from, To: key.to, Protocol: key.protocol}
			byEnds[key] = e
		}
		if row.Side == proto.SideClient {
			e.Client = row
		} else {
			e.Server = row
		}
	}
	edges := make([]Edge, 0, len(byEnds))
	for _, e := range byEnds {
		edges = append(edges, *e)
	}
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(a.From.compare(b.From), a.To.compare(b.To), cmp.Compare(a.Protocol, b.Protocol))
	})
	return edges
}
