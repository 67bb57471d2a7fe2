package query

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirstream/weir/proto"
)

// Kinds that single requests can be selected by besides those of workloads.
const (
	KindPod     = "Pod" // also the kind of a workload: a pod that nothing owns
	KindService = "Service"
)

// Selection is which workloads are asked for. The zero value is all of them.
type Selection struct {
	Namespace string // "" for every namespace
	Workload  string // "" for every workload
	Kind      string // "" for every kind; as in proto.Endpoint.Kind, any case
	Side      string // "server", "client", or "" for both
}

// Matches reports whether a workload is asked for.
func (s Selection) Matches(namespace, workload, kind string) bool {
	return (s.Namespace == "" || s.Namespace == namespace) &&
		(s.Workload == "" || s.Workload == workload) &&
		(s.Kind == "" || strings.EqualFold(s.Kind, kind))
}

// MatchesSide reports whether a side is asked for.
func (s Selection) MatchesSide(side proto.Side) bool {
	return s.Side == "" || s.Side == side.String()
}

// Subject matches the latency messages that may hold what is asked for. Tokens
// are not unique, so a message's names still have to be compared.
func (s Selection) Subject() string { return s.in(proto.SubjectsLatency) }

// in is [Selection.Subject] among the subjects of a stream.
func (s Selection) in(subjects string) string {
	token := func(name string) string {
		if name == "" {
			return "*"
		}
		return proto.Token(name)
	}
	return strings.TrimSuffix(subjects, ">") + token(s.Namespace) + "." + token(s.Workload)
}

// covers reports whether a workload's delta is asked for.
func (s Selection) covers(l *proto.Latency, p *proto.Point) bool {
	return s.Matches(l.Namespace, l.Workload, l.WorkloadKind) && s.MatchesSide(p.Side)
}

// Near returns at most three of the names that resemble one, best first: what
// a person may have meant.
func Near(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	wanted := strings.ToLower(name)
	var near []candidate
	for _, n := range names {
		lower := strings.ToLower(n)
		d := distance(wanted, lower)
		if strings.Contains(lower, wanted) {
			d = min(d, 1)
		}
		if d <= 1+len(wanted)/3 {
			near = append(near, candidate{n, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range near[:min(len(near), 3)] {
		out = append(out, c.name)
	}
	return out
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
