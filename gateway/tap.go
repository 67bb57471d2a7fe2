package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	maxFollowers = 16 // viewers that follow single requests
	frameQueue   = 16 // frames that wait for one of them
)

// tap reads WEIR_ENRICHED while somebody follows it, once for all.
type tap struct {
	bus *bus.Conn
	log *slog.Logger

	mu        sync.Mutex
	followers map[*follower]bool
	wake      chan struct{}
}

// follower is one viewer. Frames that find no room are counted.
type follower struct {
	frames  chan *proto.Frame // shared: to read only
	failed  chan error
	skipped atomic.Uint64 // events
}

func newTap(c *bus.Conn, log *slog.Logger) *tap {
	return &tap{bus: c, log: log, followers: map[*follower]bool{}, wake: make(chan struct{}, 1)}
}

func (t *tap) join() (*follower, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.followers) >= maxFollowers {
		return nil, fmt.Errorf("%d viewers follow requests already, the limit: close one, or look at an interval", maxFollowers)
	}
	f := &follower{frames: make(chan *proto.Frame, frameQueue), failed: make(chan error, 1)}
	t.followers[f] = true
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return f, nil
}

func (t *tap) leave(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.followers, f)
}

func (t *tap) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.followers)
}

// run reads whenever somebody follows, until ctx ends.
func (t *tap) run(ctx context.Context) error {
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil
		}
		if t.count() == 0 {
			continue
		}
		if err := t.read(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("following_failed", "stream", proto.StreamEnriched, "error", err)
			t.fail(err)
		}
	}
}

// fail ends the following of all.
func (t *tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := range t.followers {
		select {
		case f.failed <- err:
		default:
		}
	}
}

// read gives new frames to all followers until there are none.
func (t *tap) read(ctx context.Context) error {
	info, err := t.bus.StreamInfo(ctx, proto.StreamEnriched)
	if err != nil {
		return err
	}
	for m, err := range t.bus.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamEnriched, Subjects: []string{proto.SubjectsEnriched}, StartSeq: info.LastSeq + 1,
	}) {
		if err != nil {
			return err
		}
		frame := new(proto.Frame) // it is shared, so its memory isn't used again
		if err := frame.Decode(m.Data); err != nil {
			t.log.Debug("frame_skipped", "stream", proto.StreamEnriched, "sequence", m.Sequence, "error", err)
			t.skip(m.Count)
			continue
		}
		if !t.give(frame) {
			return nil
		}
	}
	return nil
}

// give reports whether anybody follows.
func (t *tap) give(frame *proto.Frame) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(frame.Events) > 0 {
		for f := range t.followers {
			select {
			case f.frames <- frame:
			default:
				f.skipped.Add(uint64(len(frame.Events)))
			}
		}
	}
	return len(t.followers) > 0
}

// skip tells all followers of events that nobody can look at.
func (t *tap) skip(events uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := range t.followers {
		f.skipped.Add(events)
	}
}
