package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const fixtureNode = "n1"

// fixture is requests of one node, and what is known to be lost.
type fixture struct {
	now       time.Time
	watermark time.Time
	events    []proto.Event
	loss      []proto.Loss
}

func newFixture(now time.Time) *fixture { return &fixture{now: now, watermark: now} }

var columns = regexp.MustCompile(`\s{2,}`)

// line reads
//
//	AGO  SIDE  FROM  TO  OPERATION  STATUS  COUNT  DURATION  [WAIT]
//	AGO  lost  REASON  UNIT  COUNT
//
// separated by two spaces or more. FROM and TO are [NAMESPACE/]WORKLOAD, in a
// namespace with !KIND!POD!SERVICE behind it; 1.2.3.4 is an address outside.
func (f *fixture) line(text string) error {
	text, _, _ = strings.Cut(text, "#")
	c := columns.Split(strings.TrimSpace(text), -1)
	if len(c) < 5 {
		if len(c) == 1 && c[0] == "" {
			return nil
		}
		return fmt.Errorf("%d columns", len(c))
	}
	ago, err := time.ParseDuration(c[0])
	if err != nil {
		return err
	}
	end := f.now.Add(-ago).UnixNano()
	if c[1] == "lost" {
		n, err := strconv.ParseUint(c[4], 10, 64)
		f.loss = append(f.loss, proto.Loss{Node: fixtureNode, StartNS: end, Reason: c[2], Unit: c[3], Count: n})
		return err
	}
	return f.requests(end, c)
}

func (f *fixture) requests(end int64, c []string) error {
	status, err := strconv.ParseUint(c[5], 10, 32)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(c[6])
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(c[7])
	if err != nil {
		return err
	}
	var wait time.Duration
	if len(c) > 8 {
		if wait, err = time.ParseDuration(c[8]); err != nil {
			return err
		}
	}
	method, route, _ := strings.Cut(c[4], " ")
	e := proto.Event{
		Side: proto.ParseSide(c[1]), Protocol: "http", StartNS: end - int64(duration), EndNS: end,
		WaitNS: int64(wait), ProcessingNS: int64(duration - wait), RequestBytes: 80, ResponseBytes: 1200,
		Method: method, Route: route, Status: uint32(status),
		Source:      netip.MustParseAddrPort("10.0.0.1:40001"),
		Destination: netip.MustParseAddrPort("10.0.0.2:8080"),
		Process:     proto.Process{PID: 42, Name: "app"},
		From:        endpoint(c[2]), To: endpoint(c[3]),
	}
	if status >= 500 {
		e.Error = c[5]
	}
	for range count {
		f.events = append(f.events, e)
	}
	return nil
}

func endpoint(name string) proto.Endpoint {
	if _, err := netip.ParseAddr(name); err == nil {
		return proto.Endpoint{Namespace: proto.NamespaceExternal, Workload: name, Kind: "address"}
	}
	if namespace, workload, ok := strings.Cut(name, "/"); ok {
		e := proto.Endpoint{Namespace: namespace, Kind: "Deployment"}
		for i, part := range strings.Split(workload, "!") {
			*[]*string{&e.Workload, &e.Kind, &e.Pod, &e.Service}[i] = part
		}
		return e
	}
	return proto.Endpoint{Namespace: proto.NamespaceHost, Workload: name, Kind: "process"}
}

// publish writes what the three services would have.
func (f *fixture) publish(ctx context.Context, c *bus.Conn) error {
	raw, err := f.frame(ctx, c, proto.StreamRaw, proto.RawSubject(0, fixtureNode), 0)
	if err != nil {
		return err
	}
	enriched, err := f.frame(ctx, c, proto.StreamEnriched, proto.EnrichedSubject(0), raw)
	if err != nil {
		return err
	}
	lane, err := c.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		return err
	}
	seq := uint64(1)
	if last := lane.Last(); last != nil {
		before, err := proto.DecodeCommit(last.Data)
		if err != nil {
			return err
		}
		seq = before.Seq + 1
	}
	var parts []bus.Part
	for _, l := range f.latencies() {
		data, err := proto.EncodeLatency(l)
		if err != nil {
			return err
		}
		parts = append(parts, bus.Part{Subject: proto.LatencySubject(l.Namespace, l.Workload), Data: data})
	}
	commit := &proto.Commit{
		V: proto.LatencyVersion, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: seq,
		Position: proto.Position{Seq: enriched + 1}, LogNS: f.now.UnixNano(), WatermarkNS: f.watermark.UnixNano(),
		Messages: len(parts), Events: uint64(len(f.events)), Loss: f.loss,
		Nodes: map[string]proto.NodeMark{fixtureNode: {Epoch: 1, EpochID: "0123456789abcdef", Seq: 1, Events: uint64(len(f.events)),
			WatermarkNS: f.watermark.UnixNano(), SeenNS: f.now.UnixNano()}},
	}
	data, err := proto.EncodeCommit(commit)
	if err != nil {
		return err
	}
	_, err = lane.Commit(ctx, parts, data, 1, enriched, len(f.events))
	return err
}

func (f *fixture) frame(ctx context.Context, c *bus.Conn, stream, subject string, src uint64) (uint64, error) {
	lane, err := c.OpenLane(ctx, bus.LaneConfig{Stream: stream, Subject: subject, Input: src > 0})
	if err != nil {
		return 0, err
	}
	frame := proto.Frame{
		Node: fixtureNode, Agent: "v0.1.0", Epoch: proto.Epoch{Number: 1, ID: "0123456789abcdef"}, Seq: 1,
		WatermarkNS: f.watermark.UnixNano(), Enriched: src > 0, Events: f.events,
	}
	data, err := frame.Append(nil)
	if err != nil {
		return 0, err
	}
	return lane.Publish(ctx, data, 1, src, len(f.events))
}

// latencies are the deltas of one commit: a message a workload.
func (f *fixture) latencies() []*proto.Latency {
	var out []*proto.Latency
	find := func(e proto.Endpoint) *proto.Latency {
		for _, l := range out {
			if l.Namespace == e.Namespace && l.Workload == e.Workload && l.WorkloadKind == e.Kind {
				return l
			}
		}
		out = append(out, &proto.Latency{
			V: proto.LatencyVersion, Namespace: e.Namespace, Workload: e.Workload, WorkloadKind: e.Kind,
			Commit: 1, WatermarkNS: f.watermark.UnixNano(),
		})
		return out[len(out)-1]
	}
	for i := range f.events {
		e := &f.events[i]
		own, peer, metric := e.To, e.From, proto.MetricHTTPServer
		if e.Side == proto.SideClient {
			own, peer, metric = e.From, e.To, proto.MetricHTTPClient
		}
		l := find(own)
		l.Points = append(l.Points, point(e, peer, metric))
	}
	return out
}

// point is a delta of one event: deltas of a series may be as many as they like.
func point(e *proto.Event, peer proto.Endpoint, metric string) proto.Point {
	p := proto.Point{
		StartNS: e.EndNS - e.EndNS%proto.WindowNS, WindowNS: proto.WindowNS, Metric: metric, Side: e.Side,
		Attrs: map[string]string{
			proto.AttrMethod: e.Method, proto.AttrRoute: e.Route, proto.AttrStatus: strconv.Itoa(int(e.Status))},
		Peer:  &proto.Peer{Namespace: peer.Namespace, Workload: peer.Workload, WorkloadKind: peer.Kind, Service: peer.Service},
		Parts: proto.Parts{WaitNS: e.WaitNS, ProcessingNS: e.ProcessingNS, TransferNS: e.TransferNS},
	}
	p.Hist.Record(e.DurationNS())
	if e.Side == proto.SideServer {
		p.Parts.Wait = new(histogram.Histogram)
		p.Parts.Wait.Record(e.WaitNS)
	}
	if e.Error != "" {
		p.Errors = 1
		p.Attrs[proto.AttrErrorType] = e.Error
	}
	return p
}
