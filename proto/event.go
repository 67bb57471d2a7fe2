package proto

import "net/netip"

// Side says at which end of the connection an exchange was seen.
type Side uint8

const (
	SideUnknown Side = iota
	SideServer
	SideClient
)

func (s Side) String() string {
	switch s {
	case SideServer:
		return "server"
	case SideClient:
		return "client"
	}
	return "unknown"
}

// Process is the local process of an exchange: the one that read the request
// (server) or that connected or read the response (client).
type Process struct {
	PID       uint32 // in the host's pid namespace; 0 if unknown
	Name      string // the thread group leader's comm, at most 15 bytes; any bytes
	Unit      string // systemd unit of its cgroup ("nginx.service"), or ""
	Container string // container id of its cgroup, or ""
	// ContainerName is what the container's runtime calls it, or "": where
	// Kubernetes names the containers the enricher has better names.
	ContainerName string `json:",omitempty"`
	PodUID        string // Kubernetes pod UID of its cgroup, or ""
}

// Endpoint is what the enricher knows of one end of an exchange.
// The zero value means nothing is known but the address.
type Endpoint struct {
	Namespace string // Kubernetes namespace, "host" on a plain host, "external" outside
	Workload  string // name of the owner of the owner, systemd unit, container or process name
	Kind      string // Deployment, StatefulSet, …; unit, container, process on a host; address, domain outside
	Pod       string
	Service   string
	Node      string
	Zone      string
	Container string // container name
}

// Exchange flags.
const (
	FlagTruncated  uint32 = 1 << iota // the head was longer than what was captured
	FlagJoined                        // the connection was open before capture began
	FlagNoWait                        // the end of the wait was not seen: WaitNS is 0 because unknown
	FlagProcGuess                     // the process is the task that ran at egress, a guess
	FlagUnresolved                    // enricher: an end could not be named in time
	FlagStale                         // enricher: names may be old, its source was away
)

// Event is one exchange, seen at one socket. As the agent publishes it (raw)
// From and To are empty; the enricher fills them (enriched).
//
// The source is the client's end, the destination the server's, whichever
// side saw it. Times are wall clock, unix nanoseconds; the end is the event
// time. Durations are nanoseconds. WaitNS + ProcessingNS + TransferNS equal
// EndNS − StartNS.
type Event struct {
	Side     Side
	Protocol string // "http"
	StartNS  int64  // first byte of the request arrived (server) or left (client)
	EndNS    int64  // last byte of the response left (server) or was read by the process (client; arrived, if no read was seen)

	WaitNS       int64 // arrival → first read by the server's process; server side only
	ProcessingNS int64 // first read → first byte of the response (client: start → first byte)
	TransferNS   int64 // first → last byte of the response

	RequestBytes  uint64 // on the wire above TCP, head and body
	ResponseBytes uint64

	Method string // request method or verb; "_OTHER" if it is not a known one
	Route  string // path as a template, query dropped: "/users/{id}"; "{other}" over the bound
	Status uint32 // protocol status code, 0 if there was none
	Error  string // OpenTelemetry error.type: "", "no_response", "500", …

	Source      netip.AddrPort // as the local socket has it
	Destination netip.AddrPort
	Peer        netip.AddrPort // the real remote address where NAT hides it behind Destination; zero if none

	// ServerName is the domain name that the client had Destination from, or "".
	ServerName string `json:",omitempty"`

	NetNS   uint32 // inode of the socket's network namespace
	Process Process
	TraceID string // W3C trace context of the request, 32 hex digits, or ""
	SpanID  string // 16 hex digits, or ""
	Flags   uint32

	From Endpoint // who Source is; enriched only
	To   Endpoint // who Destination is; enriched only
}

// DurationNS is the latency of the exchange in nanoseconds.
func (e *Event) DurationNS() int64 { return e.EndNS - e.StartNS }

// Operation is what `weir latency` groups by: method and route.
func (e *Event) Operation() string {
	if e.Route == "" {
		return e.Method
	}
	return e.Method + " " + e.Route
}

// Epoch is one life of a writer: a number one above the last, and a random id.
type Epoch struct {
	Number uint64
	ID     string // 16 hex digits
}

// Loss reasons and units. Loss is additive: each figure is reported once.
const (
	UnitExchanges = "exchanges"
	UnitRecords   = "records"

	LossRing    = "ring_full"    // a kernel record found no room
	LossStorage = "storage_full" // no socket storage for a connection
	LossTracked = "conn_limit"   // a tracked connection was evicted with open requests
	LossParse   = "unparsed"     // a request was seen but its end could not be found
	LossSpool   = "spool_full"   // a frame left the agent's spool unsent
	LossRestart = "restart"      // an agent ended: under way then, or between it and the next
	LossExpired = "expired"      // a frame left the stream before the aggregator read it
	LossEvent   = "event_limit"  // an event did not fit into a frame
)

// Loss is what is known to have happened and was not delivered.
type Loss struct {
	Node    string `msgpack:"node"`
	StartNS int64  `msgpack:"start_ns"` // when it was noticed, unix nanoseconds
	Reason  string `msgpack:"reason"`
	Unit    string `msgpack:"unit"`
	Count   uint64 `msgpack:"count"`
}

// Limits. A writer keeps them, a reader refuses what is above them.
const (
	MaxFrameEvents  = 1024
	MaxFrameBytes   = 256 << 10 // a frame closes here
	MaxMessageBytes = 512 << 10 // no message is larger
	MaxStringBytes  = 1024      // of any string in a frame or message
	MaxBatchMsgs    = 1000      // messages of an atomic batch
	MaxBatchBytes   = 8 << 20
)

// Frame is many events of one node in one message, raw or enriched.
// Frames of an epoch are numbered 1, 2, …; Before is the number of events
// published in earlier frames of the epoch, so that a gap tells what it lost.
type Frame struct {
	Cluster     string
	Node        string
	Agent       string `json:",omitempty"` // version of the agent that wrote it, "" if it doesn't say
	Partition   uint32
	Epoch       Epoch
	Seq         uint64
	Before      uint64
	WatermarkNS int64 // no event that ended before this will follow; unix nanoseconds
	Enriched    bool  // From and To are present
	Loss        []Loss
	Events      []Event

	enc *encoder // memory of Append
	dec *decoder // memory of Decode
}
