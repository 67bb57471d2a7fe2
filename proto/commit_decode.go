package proto

import (
	"errors"
	"fmt"
	"math"
)

// DecodeCommit decodes a message of weir.commit.*. It refuses what is longer
// than MaxMessageBytes or of a higher version; it skips keys it doesn't know.
func DecodeCommit(b []byte) (*Commit, error) {
	c := new(Commit)
	r := newReader(b)
	for key := range r.fields {
		switch string(key) {
		case "v":
			c.V = r.version(LatencyVersion)
		case "cluster":
			c.Cluster = r.string()
		case "partition":
			c.Partition = r.uint32(math.MaxUint32)
		case "epoch":
			c.Epoch = r.uint()
		case "epoch_id":
			c.EpochID = r.string()
		case "seq":
			c.Seq = r.uint()
		case "position":
			c.Position = r.position()
		case "input_created_ns":
			c.InputCreatedNS = r.int()
		case "log_ns":
			c.LogNS = r.int()
		case "watermark_ns":
			c.WatermarkNS = r.int()
		case "idle":
			c.Idle = r.bool()
		case "messages":
			c.Messages = int(r.uint32(math.MaxInt32))
		case "events":
			c.Events = r.uint()
		case "duplicates":
			c.Duplicates = r.uint()
		case "nodes":
			c.Nodes = make(map[string]NodeMark)
			for node := range r.fields {
				c.Nodes[string(node)] = r.nodeMark()
				if len(c.Nodes) > maxNodes {
					r.fail(fmt.Errorf("more than %d nodes", maxNodes))
				}
			}
		case "loss":
			c.Loss = r.loss(nil)
		case "anew_after":
			c.AnewAfter = r.uint()
		case "since_ns":
			c.SinceNS = r.int()
		default:
			r.skip()
		}
	}
	if c.V == 0 {
		r.fail(errNoVersion)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode commit: %w", err)
	}
	return c, nil
}

func (r *reader) position() (p Position) {
	for key := range r.fields {
		switch string(key) {
		case "seq":
			p.Seq = r.uint()
		case "index":
			p.Index = r.uint32(MaxFrameEvents)
		default:
			r.skip()
		}
	}
	return p
}

func (r *reader) nodeMark() (m NodeMark) {
	for key := range r.fields {
		switch string(key) {
		case "epoch":
			m.Epoch = r.uint()
		case "epoch_id":
			m.EpochID = r.string()
		case "seq":
			m.Seq = r.uint()
		case "events":
			m.Events = r.uint()
		case "watermark_ns":
			m.WatermarkNS = r.int()
		case "seen_ns":
			m.SeenNS = r.int()
		default:
			r.skip()
		}
	}
	return m
}

// loss reads an array of losses onto losses.
func (r *reader) loss(losses []Loss) []Loss {
	for range r.array(maxLosses) {
		var l Loss
		for key := range r.fields {
			switch string(key) {
			case "node":
				l.Node = r.string()
			case "start_ns":
				l.StartNS = r.int()
			case "reason":
				l.Reason = r.string()
			case "unit":
				l.Unit = r.string()
			case "count":
				l.Count = r.uint()
			default:
				r.skip()
			}
		}
		if l.Reason == "" || l.Count == 0 {
			r.fail(errors.New("loss of nothing or for no reason"))
		}
		if r.err != nil {
			break
		}
		losses = append(losses, l)
	}
	return losses
}
