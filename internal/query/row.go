package query

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/proto"
)

// By is what rows are told apart by, beyond workload, side and protocol.
type By struct {
	Operation bool
	Peer      bool
	Status    bool
	ErrorType bool
}

// ByAll tells apart all that a [Key] can.
var ByAll = By{Operation: true, Peer: true, Status: true, ErrorType: true}

// Key tells rows apart. Fields that are not grouped by are empty.
type Key struct {
	Namespace string
	Workload  string
	Kind      string
	Side      proto.Side
	Protocol  string
	Operation string // method and route
	Status    string // protocol status code, or error.type where there was none
	ErrorType string // error.type; empty if the request succeeded

	PeerNamespace string
	PeerWorkload  string
	PeerKind      string
}

// Row is what is known of one key in an interval.
type Row struct {
	Key
	Errors uint64
	Hist   histogram.Histogram // of the whole latency
	Wait   histogram.Histogram // of the wait; server side only

	WaitNS       int64 // sums of the three parts, nanoseconds
	ProcessingNS int64
	TransferNS   int64
}

// Table collects deltas into rows. The sum of all deltas with equal window and
// series is the window, so the order doesn't matter.
type Table struct {
	by   By
	rows map[Key]*Row
}

// NewTable is an empty table.
func NewTable(by By) *Table { return &Table{by: by, rows: map[Key]*Row{}} }

// Add adds a delta of a workload.
func (t *Table) Add(workload *proto.Latency, p *proto.Point) {
	t.row(NewKey(workload, p).By(t.by)).AddPoint(p)
}

// AddRow adds what is known of a key that tells apart at least as much.
func (t *Table) AddRow(r *Row) { t.row(r.Key.By(t.by)).AddRow(r) }

// Merge adds all rows of a table with the same grouping.
func (t *Table) Merge(other *Table) {
	for key, o := range other.rows {
		t.row(key).AddRow(o)
	}
}

// Rows are the rows in the order of their keys.
func (t *Table) Rows() []*Row {
	rows := make([]*Row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *Row) int { return a.compare(b.Key) })
	return rows
}

func (t *Table) row(key Key) *Row {
	r := t.rows[key]
	if r == nil {
		r = &Row{Key: key}
		t.rows[key] = r
	}
	return r
}

// AddPoint adds a delta; the key stays.
func (r *Row) AddPoint(p *proto.Point) {
	r.Errors += p.Errors
	r.Hist.Merge(&p.Hist)
	if p.Parts.Wait != nil {
		r.Wait.Merge(p.Parts.Wait)
	}
	r.WaitNS += p.Parts.WaitNS
	r.ProcessingNS += p.Parts.ProcessingNS
	r.TransferNS += p.Parts.TransferNS
}

// AddRow adds all that o holds; the key stays.
func (r *Row) AddRow(o *Row) {
	r.Errors += o.Errors
	r.Hist.Merge(&o.Hist)
	r.Wait.Merge(&o.Wait)
	r.WaitNS += o.WaitNS
	r.ProcessingNS += o.ProcessingNS
	r.TransferNS += o.TransferNS
}

// NewKey tells a workload's point apart as far as can be. Its texts are valid
// UTF-8, as JSON, protobuf and PromQL demand: names of processes and paths may be of
// any bytes.
func NewKey(workload *proto.Latency, p *proto.Point) Key {
	k := Key{
		Namespace: workload.Namespace,
		Workload:  workload.Workload,
		Kind:      workload.WorkloadKind,
		Side:      p.Side,
		Protocol:  protocolOf(p.Metric),
		Operation: strings.TrimSuffix(p.Attrs[proto.AttrMethod]+" "+p.Attrs[proto.AttrRoute], " "),
		Status:    cmp.Or(p.Attrs[proto.AttrStatus], p.Attrs[proto.AttrErrorType]),
		ErrorType: p.Attrs[proto.AttrErrorType],
	}
	if p.Peer != nil {
		k.PeerNamespace, k.PeerWorkload, k.PeerKind = p.Peer.Namespace, p.Peer.Workload, p.Peer.WorkloadKind
	}
	for _, s := range []*string{&k.Namespace, &k.Workload, &k.Kind, &k.Protocol, &k.Operation, &k.Status, &k.ErrorType, &k.PeerNamespace, &k.PeerWorkload, &k.PeerKind} {
		if !utf8.ValidString(*s) {
			*s = strings.ToValidUTF8(*s, "\uFFFD")
		}
	}
	return k
}

// By is the key without what is not grouped by.
func (k Key) By(by By) Key {
	if !by.Operation {
		k.Operation = ""
	}
	if !by.Status {
		k.Status = ""
	}
	if !by.ErrorType {
		k.ErrorType = ""
	}
	if !by.Peer {
		k.PeerNamespace, k.PeerWorkload, k.PeerKind = "", "", ""
	}
	return k
}

// protocolOf is the first part of a metric's name: "http" of
// "http.server.request.duration".
func protocolOf(metric string) string {
	protocol, _, _ := strings.Cut(metric, ".")
	return protocol
}

func (k *Key) compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Namespace, o.Namespace),
		cmp.Compare(k.Workload, o.Workload),
		cmp.Compare(k.Kind, o.Kind),
		cmp.Compare(k.Side, o.Side),
		cmp.Compare(k.Protocol, o.Protocol),
		cmp.Compare(k.Operation, o.Operation),
		cmp.Compare(k.PeerNamespace, o.PeerNamespace),
		cmp.Compare(k.PeerWorkload, o.PeerWorkload),
		cmp.Compare(k.PeerKind, o.PeerKind),
		cmp.Compare(k.Status, o.Status),
		cmp.Compare(k.ErrorType, o.ErrorType),
	)
}

// Rate is requests a second over a time.
func (r *Row) Rate(over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	return float64(r.Hist.Count) / over.Seconds()
}
