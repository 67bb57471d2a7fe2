package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// spool keeps frames until they are stored in WEIR_RAW. Frames get their
// numbers when they are first sent, so a frame that is dropped before leaves
// no gap: its events and its own losses are told by the next one.
type spool struct {
	mu      sync.Mutex
	queue   []sealed
	bytes   int
	limit   int
	leftOut *leftOut
	dropped []proto.Loss // to be told by the next frame
	wake    chan struct{}
	closed  bool

	stats spoolStats
}

type spoolStats struct {
	frames, events, bytes, droppedEvents uint64
	waiting                              int // bytes
}

// bodyBytes is what an encoded event usually takes at most: less copying while
// a frame is encoded, and little waste.
const bodyBytes = 48

// sealed is a frame whose events are encoded and whose head is not.
type sealed struct {
	head  proto.Frame // without events
	count int         // of them
	body  []byte
	early bool // it may hold events that are to be left out
}

func newSpool(limit int, out *leftOut) *spool {
	return &spool{limit: limit, leftOut: out, wake: make(chan struct{}, 1)}
}

// put adds a frame. Over the limit the oldest frames go, but for the first,
// which may be in flight. A frame is early if it was begun before the pods to
// leave out were known.
func (s *spool) put(f *proto.Frame, early bool) error {
	body, err := f.AppendEvents(make([]byte, 0, bodyBytes*(len(f.Events)+1)))
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	q := sealed{count: len(f.Events), body: body, early: early, head: proto.Frame{
		Cluster: f.Cluster, Node: f.Node, Agent: f.Agent, WatermarkNS: f.WatermarkNS,
	}}
	q.head.Loss = append([]proto.Loss(nil), f.Loss...)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, q)
	s.bytes += len(body)
	for s.bytes > s.limit && len(s.queue) > 2 {
		old := s.queue[1]
		s.queue = append(s.queue[:1], s.queue[2:]...)
		s.bytes -= len(old.body)
		s.drop(&old)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

func (s *spool) drop(old *sealed) {
	if n := uint64(old.count); n > 0 {
		s.stats.droppedEvents += n
		s.dropped = addLoss(s.dropped, proto.Loss{
			Node: old.head.Node, StartNS: old.head.WatermarkNS, Reason: proto.LossSpool, Unit: proto.UnitExchanges, Count: n,
		})
	}
	for _, l := range old.head.Loss {
		s.dropped = addLoss(s.dropped, l)
	}
}

// addLoss adds to the figure of the same reason, so that an hour without NATS
// doesn't make an hour's list. The first start stays.
func addLoss(list []proto.Loss, l proto.Loss) []proto.Loss {
	for i := range list {
		if list[i].Reason == l.Reason && list[i].Unit == l.Unit && list[i].Node == l.Node {
			list[i].Count += l.Count
			return list
		}
	}
	return append(list, l)
}

// first waits for the oldest frame and leaves it in the queue. It is nil when
// the spool is closed and empty.
func (s *spool) first(ctx context.Context) (*sealed, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			q := &s.queue[0]
			for _, l := range s.dropped {
				q.head.Loss = addLoss(q.head.Loss, l)
			}
			s.dropped = nil
			out := *q
			s.mu.Unlock()
			return &out, nil
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return nil, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sent removes the first frame: events of it were sent, in a message of bytes.
func (s *spool) sent(events, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= len(s.queue[0].body)
	s.stats.frames++
	s.stats.events += uint64(events)
	s.stats.bytes += uint64(bytes)
	s.queue[0] = sealed{}
	s.queue = s.queue[1:]
}

// close says that no frame follows.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *spool) snapshot() spoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.waiting = s.bytes
	return st
}

// publish sends frames in order, one at a time, until the spool is closed and
// empty or ctx ends.
func (s *spool) publish(ctx context.Context, lane *bus.Lane, partition uint32) error {
	var seq, before uint64
	var msg []byte
	for {
		q, err := s.first(ctx)
		if q == nil {
			return err
		}
		seq++
		q.head.Epoch, q.head.Seq, q.head.Before, q.head.Partition = lane.Epoch(), seq, before, partition
		if q.early {
			if err := s.narrow(q); err != nil {
				return fmt.Errorf("leave out events of a frame: %w", err)
			}
		}
		if msg, err = q.head.AppendHead(msg[:0], q.count); err != nil {
			return fmt.Errorf("encode frame: %w", err)
		}
		msg = append(msg, q.body...)
		if _, err := lane.Publish(ctx, msg, seq, 0, q.count); err != nil {
			return fmt.Errorf("publish frame %d of epoch %s: %w", seq, lane.Epoch(), err)
		}
		before += uint64(q.count)
		s.sent(q.count, len(msg))
	}
}

// narrow leaves out what the tracker would have, had it known.
func (s *spool) narrow(q *sealed) error {
	msg, err := q.head.AppendHead(nil, q.count)
	if err != nil {
		return err
	}
	var f proto.Frame
	if err := f.Decode(append(msg, q.body...)); err != nil {
		return err
	}
	f.Events = slices.DeleteFunc(f.Events, func(e proto.Event) bool { return s.leftOut.hasPod(e.Process.PodUID) })
	q.count = len(f.Events)
	q.body, err = f.AppendEvents(q.body[:0])
	return err
}
