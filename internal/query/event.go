package query

import (
	"net/netip"
	"time"

	"github.com/weirstream/weir/proto"
)

// Event is an enriched event as people and filters see it: the names of its
// JSON fields are those of the filter's variables.
type Event struct {
	Time         time.Time `json:"time"` // when the exchange ended
	Side         string    `json:"side"`
	Protocol     string    `json:"protocol"`
	Operation    string    `json:"operation"`
	Method       string    `json:"method"`
	Path         string    `json:"path"` // a template, query dropped
	Status       uint32    `json:"status"`
	Error        string    `json:"error"`
	DurationMS   float64   `json:"duration_ms"`
	WaitMS       float64   `json:"wait_ms"`
	ProcessingMS float64   `json:"processing_ms"`
	TransferMS   float64   `json:"transfer_ms"`
	RequestSize  uint64    `json:"request_bytes"`
	ResponseSize uint64    `json:"response_bytes"`
	Source       End       `json:"source"`
	Destination  End       `json:"destination"`
	Process      Process   `json:"process"`
	Node         string    `json:"node"`
	Unresolved   bool      `json:"unresolved"` // an end could not be named in time
	Stale        bool      `json:"stale"`      // named while the Kubernetes API was away: by what was known
}

// End is one end of an event.
type End struct {
	Namespace string `json:"namespace" cel:"namespace"`
	Workload  string `json:"workload" cel:"workload"`
	Pod       string `json:"pod" cel:"pod"`
	Service   string `json:"service" cel:"service"` // that was called, or whose pod it is
	Address   string `json:"address" cel:"address"`
	Port      int    `json:"port" cel:"port"`

	kind string
}

// Process is the local process of an event.
type Process struct {
	PID  int    `json:"pid" cel:"pid"`
	Name string `json:"name" cel:"name"`
}

// NewEvent is the view of an event that a node saw.
func NewEvent(node string, e *proto.Event) *Event {
	return &Event{
		Time:         time.Unix(0, e.EndNS).UTC(),
		Side:         e.Side.String(),
		Protocol:     e.Protocol,
		Operation:    e.Operation(),
		Method:       e.Method,
		Path:         e.Route,
		Status:       e.Status,
		Error:        e.Error,
		DurationMS:   ms(e.DurationNS()),
		WaitMS:       ms(e.WaitNS),
		ProcessingMS: ms(e.ProcessingNS),
		TransferMS:   ms(e.TransferNS),
		RequestSize:  e.RequestBytes,
		ResponseSize: e.ResponseBytes,
		Source:       newEnd(e.Source, &e.From),
		Destination:  newEnd(e.Destination, &e.To),
		Process:      Process{PID: int(e.Process.PID), Name: e.Process.Name},
		Node:         node,
		Unresolved:   e.Flags&proto.FlagUnresolved != 0,
		Stale:        e.Flags&proto.FlagStale != 0,
	}
}

func newEnd(at netip.AddrPort, e *proto.Endpoint) End {
	return End{Namespace: e.Namespace, Workload: e.Workload, Pod: e.Pod, Service: e.Service, Address: address(at), Port: int(at.Port()), kind: e.Kind}
}

// Selected reports whether either end of the event is asked for.
func (e *Event) Selected(s Selection) bool {
	return (s.Side == "" || s.Side == e.Side) && (e.Source.selected(s) || e.Destination.selected(s))
}

func (e *End) selected(s Selection) bool {
	return s.selects(&proto.Endpoint{Namespace: e.Namespace, Workload: e.Workload, Kind: e.kind, Pod: e.Pod, Service: e.Service})
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }
