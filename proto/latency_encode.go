package proto

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weirstream/weir/histogram"
)

// EncodeLatency encodes l in one message. The same l gives the same bytes. It
// fails if l would be larger than MaxMessageBytes, or its decoder refused it;
// [SplitLatency] makes as many messages as it takes.
func EncodeLatency(l *Latency) ([]byte, error) {
	messages, err := SplitLatency(l)
	if err != nil {
		return nil, err
	}
	if len(messages) > 1 {
		return nil, fmt.Errorf("encode latency of %s/%s: larger than %d bytes", l.Namespace, l.Workload, MaxMessageBytes)
	}
	return messages[0], nil
}

// SplitLatency encodes l in as few messages of at most MaxMessageBytes as its
// points need, at least one. Each has the same head and is complete in itself.
func SplitLatency(l *Latency) ([][]byte, error) {
	fail := func(err error) ([][]byte, error) {
		return nil, fmt.Errorf("encode latency of %s/%s: %w", l.Namespace, l.Workload, err)
	}
	for _, s := range []string{l.Cluster, l.Namespace, l.Workload, l.WorkloadKind} {
		if err := checkString(s); err != nil {
			return fail(err)
		}
	}
	head := appendLatencyHead(nil, l)
	const arrayHead = 3
	var messages [][]byte
	var points, next []byte // encoded points of the message being filled; the next one
	n := 0
	for i := range l.Points {
		p := &l.Points[i]
		if err := p.check(); err != nil {
			return fail(fmt.Errorf("point %d: %w", i, err))
		}
		next = appendPoint(next[:0], p)
		if size := len(head) + arrayHead + len(points) + len(next); size > MaxMessageBytes || n == maxPoints {
			if n == 0 {
				return fail(fmt.Errorf("point %d is larger than %d bytes", i, MaxMessageBytes))
			}
			messages = append(messages, slices.Concat(appendArray(slices.Clip(head), n), points))
			points, n = points[:0], 0
		}
		points = append(points, next...)
		n++
	}
	return append(messages, slices.Concat(appendArray(slices.Clip(head), n), points)), nil
}

func appendLatencyHead(b []byte, l *Latency) []byte {
	b = appendMap(b, 9)
	b = appendUint(appendString(b, "v"), LatencyVersion)
	b = appendString(appendString(b, "cluster"), l.Cluster)
	b = appendString(appendString(b, "namespace"), l.Namespace)
	b = appendString(appendString(b, "workload"), l.Workload)
	b = appendString(appendString(b, "workload_kind"), l.WorkloadKind)
	b = appendUint(appendString(b, "partition"), uint64(l.Partition))
	b = appendUint(appendString(b, "commit"), l.Commit)
	b = appendInt(appendString(b, "watermark_ns"), l.WatermarkNS)
	return appendString(b, "points")
}

func appendPoint(b []byte, p *Point) []byte {
	keys := 15
	for _, present := range []bool{p.Peer != nil, p.Lossy, len(p.Exemplars) > 0} {
		if present {
			keys++
		}
	}
	b = appendMap(b, keys)
	b = appendInt(appendString(b, "start_ns"), p.StartNS)
	b = appendInt(appendString(b, "window_ns"), p.WindowNS)
	b = appendString(appendString(b, "metric"), p.Metric)
	b = appendString(appendString(b, "side"), p.Side.String())
	b = appendAttrs(appendString(b, "attrs"), p.Attrs)
	if p.Peer != nil {
		b = appendPeer(appendString(b, "peer"), p.Peer)
	}
	b = appendUint(appendString(b, "errors"), p.Errors)
	b = appendHistogram(b, &p.Hist)
	b = appendParts(appendString(b, "parts"), &p.Parts)
	if p.Lossy {
		b = appendBool(appendString(b, "lossy"), true)
	}
	if len(p.Exemplars) > 0 {
		b = appendArray(appendString(b, "exemplars"), len(p.Exemplars))
		for i := range p.Exemplars {
			b = appendExemplar(b, &p.Exemplars[i])
		}
	}
	return b
}

// histogramKeys is how many keys appendHistogram adds to the map it is in.
const histogramKeys = 8

func appendHistogram(b []byte, h *histogram.Histogram) []byte {
	b = appendUint(appendString(b, "count"), h.Count)
	b = appendInt(appendString(b, "sum_ns"), h.SumNS)
	b = appendInt(appendString(b, "min_ns"), h.MinNS)
	b = appendInt(appendString(b, "max_ns"), h.MaxNS)
	b = appendInt(appendString(b, "scale"), int64(h.Scale))
	b = appendUint(appendString(b, "zero_count"), h.ZeroCount)
	b = appendInt(appendString(b, "offset"), int64(h.Offset))
	b = appendArray(appendString(b, "buckets"), len(h.Buckets))
	for _, n := range h.Buckets {
		b = appendUint(b, n)
	}
	return b
}

func appendParts(b []byte, p *Parts) []byte {
	wait := p.Wait != nil && p.Wait.Count > 0
	if wait {
		b = appendMap(b, 4)
	} else {
		b = appendMap(b, 3)
	}
	b = appendInt(appendString(b, "wait_ns"), p.WaitNS)
	b = appendInt(appendString(b, "processing_ns"), p.ProcessingNS)
	b = appendInt(appendString(b, "transfer_ns"), p.TransferNS)
	if wait {
		b = appendHistogram(appendMap(appendString(b, "wait"), histogramKeys), p.Wait)
	}
	return b
}

func appendPeer(b []byte, p *Peer) []byte {
	b = appendMap(b, 4)
	b = appendString(appendString(b, "namespace"), p.Namespace)
	b = appendString(appendString(b, "workload"), p.Workload)
	b = appendString(appendString(b, "workload_kind"), p.WorkloadKind)
	return appendString(appendString(b, "service"), p.Service)
}

func appendExemplar(b []byte, e *Exemplar) []byte {
	b = appendMap(b, 5)
	b = appendInt(appendString(b, "value_ns"), e.ValueNS)
	b = appendInt(appendString(b, "time_ns"), e.TimeNS)
	b = appendString(appendString(b, "trace_id"), e.TraceID)
	b = appendString(appendString(b, "span_id"), e.SpanID)
	return appendAttrs(appendString(b, "attrs"), e.Attrs)
}

func appendAttrs(b []byte, attrs map[string]string) []byte {
	b = appendMap(b, len(attrs))
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		b = appendString(appendString(b, key), attrs[key])
	}
	return b
}

// EncodeCommit encodes a commit record. The same c gives the same bytes.
func EncodeCommit(c *Commit) ([]byte, error) {
	if len(c.Nodes) > maxNodes {
		return nil, fmt.Errorf("encode commit %d: %d nodes, at most %d are allowed", c.Seq, len(c.Nodes), maxNodes)
	}
	for _, s := range append(slices.Collect(maps.Keys(c.Nodes)), c.Cluster, c.EpochID) {
		if err := checkString(s); err != nil {
			return nil, fmt.Errorf("encode commit %d: %w", c.Seq, err)
		}
	}
	keys := 16
	if c.AnewAfter != 0 {
		keys++
	}
	if c.SinceNS != 0 {
		keys++
	}
	b := appendMap(nil, keys)
	b = appendUint(appendString(b, "v"), LatencyVersion)
	b = appendString(appendString(b, "cluster"), c.Cluster)
	b = appendUint(appendString(b, "partition"), uint64(c.Partition))
	b = appendUint(appendString(b, "epoch"), c.Epoch)
	b = appendString(appendString(b, "epoch_id"), c.EpochID)
	b = appendUint(appendString(b, "seq"), c.Seq)
	b = appendMap(appendString(b, "position"), 2)
	b = appendUint(appendString(b, "seq"), c.Position.Seq)
	b = appendUint(appendString(b, "index"), uint64(c.Position.Index))
	b = appendInt(appendString(b, "input_created_ns"), c.InputCreatedNS)
	b = appendInt(appendString(b, "log_ns"), c.LogNS)
	b = appendInt(appendString(b, "watermark_ns"), c.WatermarkNS)
	b = appendBool(appendString(b, "idle"), c.Idle)
	b = appendUint(appendString(b, "messages"), uint64(c.Messages))
	b = appendUint(appendString(b, "events"), c.Events)
	b = appendUint(appendString(b, "duplicates"), c.Duplicates)
	b = appendMap(appendString(b, "nodes"), len(c.Nodes))
	for _, node := range slices.Sorted(maps.Keys(c.Nodes)) {
		b = appendNodeMark(appendString(b, node), c.Nodes[node])
	}
	b, err := appendLoss(appendString(b, "loss"), c.Loss)
	if err != nil {
		return nil, fmt.Errorf("encode commit %d: %w", c.Seq, err)
	}
	if c.AnewAfter != 0 {
		b = appendUint(appendString(b, "anew_after"), c.AnewAfter)
	}
	if c.SinceNS != 0 {
		b = appendInt(appendString(b, "since_ns"), c.SinceNS)
	}
	if len(b) > MaxMessageBytes {
		return nil, fmt.Errorf("encode commit %d: %d bytes, at most %d are allowed", c.Seq, len(b), MaxMessageBytes)
	}
	return b, nil
}

func appendNodeMark(b []byte, m NodeMark) []byte {
	b = appendMap(b, 6)
	b = appendUint(appendString(b, "epoch"), m.Epoch)
	b = appendString(appendString(b, "epoch_id"), m.EpochID)
	b = appendUint(appendString(b, "seq"), m.Seq)
	b = appendUint(appendString(b, "events"), m.Events)
	b = appendInt(appendString(b, "watermark_ns"), m.WatermarkNS)
	return appendInt(appendString(b, "seen_ns"), m.SeenNS)
}

func appendLoss(b []byte, losses []Loss) ([]byte, error) {
	if len(losses) > maxLosses {
		return b, fmt.Errorf("%d losses, at most %d are allowed", len(losses), maxLosses)
	}
	b = appendArray(b, len(losses))
	for _, l := range losses {
		if l.Reason == "" || l.Count == 0 {
			return b, fmt.Errorf("loss of nothing or for no reason: %+v", l)
		}
		for _, s := range []string{l.Node, l.Reason, l.Unit} {
			if err := checkString(s); err != nil {
				return b, fmt.Errorf("loss: %w", err)
			}
		}
		b = appendMap(b, 5)
		b = appendString(appendString(b, "node"), l.Node)
		b = appendInt(appendString(b, "start_ns"), l.StartNS)
		b = appendString(appendString(b, "reason"), l.Reason)
		b = appendString(appendString(b, "unit"), l.Unit)
		b = appendUint(appendString(b, "count"), l.Count)
	}
	return b, nil
}
