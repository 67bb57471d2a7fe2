package agent

import (
	"strconv"

	"github.com/weirstream/weir/agent/protocol"
	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/proto"
)

const (
	protocolHTTP = "http"
	// lossNS is how long lost records wait for turn numbers to say which
	// exchanges they were, before they are told as records.
	lossNS = int64(5e9)
)

// exchange turns what a parser found into an event of the next frame.
func (l *loop) exchange(c *conn, x *protocol.Exchange) {
	if c.leftOut() {
		l.stats.leftOut++
		return
	}
	e := l.batch.next()
	e.Protocol = protocolHTTP
	e.Side, e.Source, e.Destination = proto.SideServer, c.tuple.remote, c.tuple.local
	if x.RequestDir == protocol.Out {
		e.Side, e.Source, e.Destination = proto.SideClient, c.tuple.local, c.tuple.remote
		e.ServerName = c.name
	}
	e.Peer = c.peer
	e.NetNS = c.tuple.netns
	if c.process != nil {
		e.Process = c.process.Process
	}

	// The end is placed on the wall clock and the start before it, so that a
	// step of the wall clock in between changes no duration.
	e.EndNS = l.clock.wall(x.End)
	e.StartNS = e.EndNS - max(x.End-x.Start, 0)
	split(e, x)

	e.RequestBytes, e.ResponseBytes = x.RequestBytes, x.ResponseBytes
	e.Method, e.Status = x.Method, x.Status
	e.Route = l.route(c, x)
	e.TraceID, e.SpanID = x.TraceID, x.SpanID
	e.Error = x.Error
	if e.Error == "" && (x.Status >= 500 || (x.Status >= 400 && e.Side == proto.SideClient)) {
		e.Error = statusText(x.Status)
	}
	flag := func(on bool, f uint32) {
		if on {
			e.Flags |= f
		}
	}
	flag(x.Truncated, proto.FlagTruncated)
	flag(x.Joined, proto.FlagJoined)
	flag(c.guess, proto.FlagProcGuess)
	l.stats.exchanges++
	if l.batch.added(e) {
		l.flush(bootTime())
	}
}

// split divides the duration into wait, processing and transfer.
func split(e *proto.Event, x *protocol.Exchange) {
	first := x.FirstByte
	if first == 0 {
		first = x.End // no response: all of it is waiting or processing
	}
	first = min(max(first, x.Start), x.End)
	e.TransferNS = max(x.End-first, 0)
	e.ProcessingNS = max(first-x.Start, 0)
	if e.Side != proto.SideServer {
		return
	}
	switch {
	case x.Read != 0:
		// An early response may come before the request is read.
		e.WaitNS = min(max(x.Read-x.Start, 0), e.ProcessingNS)
	case x.FirstByte == 0:
		e.WaitNS = e.ProcessingNS // never read, never answered
	default:
		e.Flags |= proto.FlagNoWait
	}
	e.ProcessingNS -= e.WaitNS
}

// route is the template of the path. The next exchange of a connection is
// often like the one before.
func (l *loop) route(c *conn, x *protocol.Exchange) string {
	last, workload := &c.last, l.workload(c)
	if last.path != x.Path || last.method != x.Method || last.workload != workload || last.route == "" {
		last.workload, last.method, last.path = workload, x.Method, x.Path
		last.route = l.routes.Template(workload, x.Method, x.Path)
	}
	return last.route
}

// workload is what the bound on operations applies to.
func (l *loop) workload(c *conn) string {
	switch p := c.process; {
	case p == nil:
		return ""
	case p.Container != "":
		return p.Container
	case p.Unit != "":
		return p.Unit
	default:
		return p.Name
	}
}

// statusText is a status code as error.type has it, without allocating for
// those below 600.
func statusText(code uint32) string {
	if code >= 400 && code < 600 {
		return statusTexts[(code-400)*3 : (code-400)*3+3]
	}
	return strconv.FormatUint(uint64(code), 10)
}

var statusTexts = func() string {
	b := make([]byte, 0, 600)
	for code := 400; code < 600; code++ {
		b = strconv.AppendInt(b, int64(code), 10)
	}
	return string(b)
}()

// ringLoss keeps account of records that found no room in the ring: turn
// numbers tell of some which exchanges they were, the rest is told as records.
type ringLoss struct {
	last  bpf.Counters
	open  uint64 // lost records not told of yet
	since int64
}

// losses reads the kernel's counters and tells what is new in them; the last
// time it doesn't wait for turn numbers.
func (l *loop) losses(now int64, last bool) {
	c, err := l.capture.Counters()
	if err != nil {
		l.log.Error("counters_unreadable", "error", err)
		return
	}
	r := &l.ringLoss
	if n := c.LostRing - r.last.LostRing; n > 0 {
		if r.open == 0 {
			r.since = now
		}
		r.open += n
	}
	told := min(l.tracker.missing, r.open)
	r.open -= told
	l.tracker.missing = 0
	if r.open > 0 && (last || now-r.since > lossNS) {
		l.batch.lost(proto.LossRing, proto.UnitRecords, r.open)
		r.open = 0
	}
	if n := c.LostStorage - r.last.LostStorage; n > 0 {
		l.batch.lost(proto.LossStorage, proto.UnitRecords, n)
	}
	r.last = c
	c.LostRing -= r.open
	if err := l.capture.Beat(c); err != nil {
		l.log.Error("handover_not_prepared", "error", err)
	}
}
