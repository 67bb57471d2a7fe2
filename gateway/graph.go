package gateway

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxNodes = 150 // of a map: above it a namespace is one node
	maxEdges = 600
)

type graphAnswer struct {
	about
	Nodes   []*graphNode `json:"nodes"`
	Edges   []*graphEdge `json:"edges"`
	Grouped bool         `json:"grouped"` // nodes are namespaces
}

type graphNode struct {
	peer
	Seen bool `json:"seen"` // as a server: figures are its own
	figures
}

type graphEdge struct {
	From     peer     `json:"from"`
	To       peer     `json:"to"`
	Protocol string   `json:"protocol"`
	Side     string   `json:"side"`       // whose view the figures are
	Network  *float64 `json:"network_ms"` // mean, null if it isn't known
	figures
}

// graph is who calls whom, where what is asked for is at either end.
func graph(s *history.Span, of query.Selection) *graphAnswer {
	a := &graphAnswer{about: aboutOf(s), Nodes: []*graphNode{}, Edges: []*graphEdge{}}
	rows := s.Table(query.By{Peer: true}, 0, s.Len(), func(k *query.Key) bool { return of.MatchesSide(k.Side) }).Rows()
	edges := query.Join(rows, of)
	if len(ends(edges)) > maxNodes {
		a.Grouped = true
		rows = byNamespace(rows)
		edges = query.Join(rows, query.Selection{Namespace: of.Namespace})
	}
	seconds := a.Covered
	nodes := map[query.Workload]*graphNode{}
	own := query.NewTable(query.By{})
	for _, r := range rows {
		if r.Side == proto.SideServer {
			own.AddRow(&query.Row{Key: query.Key{Namespace: r.Namespace, Workload: r.Workload, Kind: r.Kind},
				Errors: r.Errors, Hist: r.Hist, Wait: r.Wait, WaitNS: r.WaitNS, ProcessingNS: r.ProcessingNS, TransferNS: r.TransferNS})
		}
	}
	for _, r := range own.Rows() {
		w := query.Workload{Namespace: r.Namespace, Name: r.Workload, Kind: r.Kind}
		nodes[w] = &graphNode{peer: peer{w.Namespace, w.Name, w.Kind}, Seen: true, figures: figuresOf(r, seconds)}
	}
	if of.Namespace != "" || of.Workload != "" { // only those that an edge leads to
		used := ends(edges)
		maps.DeleteFunc(nodes, func(w query.Workload, _ *graphNode) bool { return !used[w] })
	}
	slices.SortStableFunc(edges, func(a, b query.Edge) int {
		return cmp.Compare(b.Seen().Hist.Count, a.Seen().Hist.Count)
	})
	if len(edges) > maxEdges {
		a.LeftOut = len(edges) - maxEdges
		edges = edges[:maxEdges]
	}
	for i := range edges {
		e := &edges[i]
		for _, w := range []query.Workload{e.From, e.To} {
			if nodes[w] == nil {
				nodes[w] = &graphNode{peer: peer{w.Namespace, w.Name, w.Kind}}
			}
		}
		out := &graphEdge{
			From: peer{e.From.Namespace, e.From.Name, e.From.Kind}, To: peer{e.To.Namespace, e.To.Name, e.To.Kind},
			Protocol: e.Protocol, Side: e.Seen().Side.String(), figures: figuresOf(e.Seen(), seconds),
		}
		if mean, known := e.NetworkNS(); known {
			mean /= 1e6
			out.Network = &mean
		}
		a.Edges = append(a.Edges, out)
	}
	for _, n := range nodes {
		a.Nodes = append(a.Nodes, n)
	}
	slices.SortFunc(a.Nodes, func(a, b *graphNode) int { return a.compare(&b.peer) })
	slices.SortFunc(a.Edges, func(a, b *graphEdge) int {
		return cmp.Or(a.From.compare(&b.From), a.To.compare(&b.To), cmp.Compare(a.Protocol, b.Protocol))
	})
	return a
}

func (p *peer) compare(o *peer) int {
	return cmp.Or(cmp.Compare(p.Namespace, o.Namespace), cmp.Compare(p.Workload, o.Workload), cmp.Compare(p.Kind, o.Kind))
}

func ends(edges []query.Edge) map[query.Workload]bool {
	ends := map[query.Workload]bool{}
	for i := range edges {
		ends[edges[i].From], ends[edges[i].To] = true, true
	}
	return ends
}

// byNamespace merges the workloads of each namespace.
func byNamespace(rows []*query.Row) []*query.Row {
	t := query.NewTable(query.By{Peer: true})
	for _, r := range rows {
		r.Workload, r.Kind = "", "namespace"
		r.PeerWorkload, r.PeerKind = "", "namespace"
		t.AddRow(r)
	}
	return t.Rows()
}
