package replay

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// rowVersion is that of rows; a file of a higher one is refused.
const rowVersion = 1

// maxMS bounds the parts of a latency that milliseconds tell to the nanosecond.
const maxMS = 1 << 51 / 1e6

// eventRow is an event in a file: the fields that `weir observe -o ndjson` has,
// and the rest of the event and of its message.
type eventRow struct {
	V            int32     `json:"v" parquet:"v"`
	Time         time.Time `json:"time" parquet:"time,timestamp(nanosecond)"`
	Side         string    `json:"side" parquet:"side,dict"`
	Protocol     string    `json:"protocol" parquet:"protocol,dict"`
	Operation    string    `json:"operation" parquet:"operation,dict"`
	Method       string    `json:"method" parquet:"method,dict"`
	Path         string    `json:"path" parquet:"path,dict"`
	Status       uint32    `json:"status" parquet:"status"`
	Error        string    `json:"error" parquet:"error,dict"`
	DurationMS   float64   `json:"duration_ms" parquet:"duration_ms"`
	WaitMS       float64   `json:"wait_ms" parquet:"wait_ms"`
	ProcessingMS float64   `json:"processing_ms" parquet:"processing_ms"`
	TransferMS   float64   `json:"transfer_ms" parquet:"transfer_ms"`
	RequestSize  uint64    `json:"request_bytes" parquet:"request_bytes"`
	ResponseSize uint64    `json:"response_bytes" parquet:"response_bytes"`
	Source       endRow    `json:"source" parquet:"source"`
	Destination  endRow    `json:"destination" parquet:"destination"`
	Process      process   `json:"process" parquet:"process"`
	Node         string    `json:"node" parquet:"node,dict"`
	Unresolved   bool      `json:"unresolved" parquet:"unresolved"`
	Stale        bool      `json:"stale" parquet:"stale"`

	Peer       string    `json:"peer,omitempty" parquet:"peer,dict"`
	ServerName string    `json:"server_name,omitempty" parquet:"server_name,dict"`
	NetNS      uint32    `json:"netns,omitempty" parquet:"netns"`
	TraceID    string    `json:"trace_id,omitempty" parquet:"trace_id"`
	SpanID     string    `json:"span_id,omitempty" parquet:"span_id"`
	Flags      uint32    `json:"flags,omitempty" parquet:"flags"`
	Cluster    string    `json:"cluster,omitempty" parquet:"cluster,dict"`
	Partition  uint32    `json:"partition" parquet:"partition"`
	Sequence   uint64    `json:"sequence" parquet:"sequence"`                         // of the message in WEIR_ENRICHED
	Stored     time.Time `json:"stored" parquet:"stored,timestamp(nanosecond)"`       // when it was stored there
	Watermark  time.Time `json:"watermark" parquet:"watermark,timestamp(nanosecond)"` // of its frame
}

type endRow struct {
	Namespace string `json:"namespace" parquet:"namespace,dict"`
	Workload  string `json:"workload" parquet:"workload,dict"`
	Pod       string `json:"pod" parquet:"pod,dict"`
	Service   string `json:"service" parquet:"service,dict"`
	Address   string `json:"address" parquet:"address,dict"`
	Port      uint16 `json:"port" parquet:"port"`
	Kind      string `json:"kind,omitempty" parquet:"kind,dict"`
	Node      string `json:"node,omitempty" parquet:"node,dict"`
	Zone      string `json:"zone,omitempty" parquet:"zone,dict"`
	Container string `json:"container,omitempty" parquet:"container,dict"`
}

type process struct {
	PID           uint32 `json:"pid" parquet:"pid"`
	Name          string `json:"name" parquet:"name,dict"`
	Unit          string `json:"unit,omitempty" parquet:"unit,dict"`
	Container     string `json:"container,omitempty" parquet:"container,dict"`
	ContainerName string `json:"container_name,omitempty" parquet:"container_name,dict"`
	PodUID        string `json:"pod_uid,omitempty" parquet:"pod_uid,dict"`
}

// newEventRows are the rows of an item, appended to rows.
func newEventRows(rows []eventRow, i *Item) []eventRow {
	f := i.Frame
	for k := range f.Events {
		e := &f.Events[k]
		row := eventRow{
			V: rowVersion, Time: utc(e.EndNS), Side: e.Side.String(), Protocol: e.Protocol, Operation: e.Operation(),
			Method: e.Method, Path: e.Route, Status: e.Status, Error: e.Error,
			DurationMS: ms(e.DurationNS()), WaitMS: ms(e.WaitNS), ProcessingMS: ms(e.ProcessingNS), TransferMS: ms(e.TransferNS),
			RequestSize: e.RequestBytes, ResponseSize: e.ResponseBytes,
			Source: newEndRow(e.Source, &e.From), Destination: newEndRow(e.Destination, &e.To),
			Process: process(e.Process), Node: f.Node, Unresolved: e.Flags&proto.FlagUnresolved != 0, Stale: e.Flags&proto.FlagStale != 0,
			ServerName: e.ServerName, NetNS: e.NetNS, TraceID: e.TraceID, SpanID: e.SpanID, Flags: e.Flags,
			Cluster: f.Cluster, Partition: f.Partition, Sequence: i.Sequence, Stored: i.Time.UTC(), Watermark: utc(f.WatermarkNS),
		}
		if e.Peer.IsValid() {
			row.Peer = e.Peer.String()
		}
		rows = append(rows, row)
	}
	return rows
}

func newEndRow(at netip.AddrPort, e *proto.Endpoint) endRow {
	row := endRow{Namespace: e.Namespace, Workload: e.Workload, Pod: e.Pod, Service: e.Service, Port: at.Port(),
		Kind: e.Kind, Node: e.Node, Zone: e.Zone, Container: e.Container}
	if at.IsValid() {
		row.Address = at.Addr().String()
	}
	return row
}

// event is the event that a row was made of. What follows from other fields,
// operation, duration_ms, unresolved and stale, isn't read.
func (r *eventRow) event() (proto.Event, error) {
	e := proto.Event{
		Side: proto.ParseSide(r.Side), Protocol: r.Protocol, EndNS: r.Time.UnixNano(), StartNS: r.Time.UnixNano(),
		RequestBytes: r.RequestSize, ResponseBytes: r.ResponseSize,
		Method: r.Method, Route: r.Path, Status: r.Status, Error: r.Error, ServerName: r.ServerName,
		NetNS: r.NetNS, Process: proto.Process(r.Process), TraceID: r.TraceID, SpanID: r.SpanID, Flags: r.Flags,
		From: r.Source.endpoint(), To: r.Destination.endpoint(),
	}
	if e.Side == proto.SideUnknown {
		return e, fmt.Errorf("side %q is not server or client", r.Side)
	}
	for _, part := range []struct {
		name string
		ms   float64
		ns   *int64
	}{{"wait_ms", r.WaitMS, &e.WaitNS}, {"processing_ms", r.ProcessingMS, &e.ProcessingNS}, {"transfer_ms", r.TransferMS, &e.TransferNS}} {
		if !(part.ms >= 0 && part.ms <= maxMS) {
			return e, fmt.Errorf("%s %v is no duration", part.name, part.ms)
		}
		*part.ns = int64(math.Round(part.ms * 1e6))
		e.StartNS -= *part.ns
	}
	var errs [3]error
	e.Source, errs[0] = r.Source.addrPort("source")
	e.Destination, errs[1] = r.Destination.addrPort("destination")
	if r.Peer != "" {
		e.Peer, errs[2] = netip.ParseAddrPort(r.Peer)
	}
	return e, errors.Join(errs[:]...)
}

func (r *endRow) endpoint() proto.Endpoint {
	return proto.Endpoint{Namespace: r.Namespace, Workload: r.Workload, Kind: r.Kind, Pod: r.Pod,
		Service: r.Service, Node: r.Node, Zone: r.Zone, Container: r.Container}
}

func (r *endRow) addrPort(name string) (netip.AddrPort, error) {
	if r.Address == "" {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddr(r.Address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s.address %q is no address", name, r.Address)
	}
	return netip.AddrPortFrom(a, r.Port), nil
}

// frames makes items of consecutive rows: as many frames as there were, or more.
type frames struct {
	epoch proto.Epoch // a new life of every node: each playing counts anew
	nodes map[string]mark
	item  Item
	frame proto.Frame
}

type mark struct{ seq, events uint64 }

func (g *frames) add(r *eventRow, play func(*Item) error) error {
	e, err := r.event()
	if err != nil {
		return err
	}
	f := &g.frame
	if len(f.Events) > 0 && (len(f.Events) == proto.MaxFrameEvents || r.Node != f.Node || r.Cluster != f.Cluster ||
		r.Partition != f.Partition || r.Sequence != g.item.Sequence || !r.Watermark.Equal(utc(f.WatermarkNS))) {
		if err := g.flush(play); err != nil {
			return err
		}
	}
	if len(f.Events) == 0 {
		g.item = Item{Message: bus.Message{Sequence: r.Sequence, Time: r.Stored}, Stream: proto.StreamEnriched, Frame: f}
		f.Cluster, f.Node, f.Partition, f.Epoch, f.Enriched = r.Cluster, r.Node, r.Partition, g.epoch, true
		f.WatermarkNS = r.Watermark.UnixNano()
	}
	f.Events = append(f.Events, e)
	return nil
}

func (g *frames) flush(play func(*Item) error) error {
	f := &g.frame
	if len(f.Events) == 0 {
		return nil
	}
	m := g.nodes[f.Node]
	m.seq++
	f.Seq, f.Before = m.seq, m.events
	m.events += uint64(len(f.Events))
	g.nodes[f.Node] = m
	g.item.Epoch, g.item.Seq, g.item.Count = f.Epoch, f.Seq, uint64(len(f.Events))
	err := play(&g.item)
	f.Events = f.Events[:0]
	return err
}

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func ms(ns int64) float64 { return float64(ns) / 1e6 }
