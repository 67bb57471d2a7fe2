package history

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxDetail     = 30 * time.Minute // of one answer in windows older than the cache's finest
	chunkWidth    = 10 * time.Minute
	maxChunks     = 12
	chunkBytes    = 64 << 20
	chunkTime     = 15 * time.Second
	afterwards    = 5 * time.Minute // how long deltas may come after the time they are of, if the coarser levels don't know
	chunksAtATime = 2
)

// details reads what the finest level no longer has from the stream, in chunks
// that all viewers share.
type details struct {
	bus   *bus.Conn
	cache *History
	slots chan struct{}

	mu     sync.Mutex
	chunks map[int64]*chunk
}

// chunk is ten minutes of the finest windows. level is set once done is closed.
type chunk struct {
	want  tally // what it has to hold
	done  chan struct{}
	level *level
	err   error
	used  time.Time
}

func newDetails(c *bus.Conn, cache *History) *details {
	return &details{bus: c, cache: cache, slots: make(chan struct{}, chunksAtATime), chunks: map[int64]*chunk{}}
}

// level is one that has all of an interval of at most maxDetail.
func (d *details) level(ctx context.Context, i query.Interval) (*level, error) {
	joined := newLevel(proto.WindowNS)
	for start := query.Floor(i.FromNS, int64(chunkWidth)); start < i.ToNS; start += int64(chunkWidth) {
		c := d.chunk(ctx, start)
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err != nil {
			return nil, c.err
		}
		for at, w := range c.level.windows {
			joined.windows[at] = w
		}
	}
	return joined, nil
}

// chunk starts reading one if it isn't there, or more has come for it since.
// What failed is forgotten.
func (d *details) chunk(ctx context.Context, start int64) *chunk {
	i := query.Interval{FromNS: start, ToNS: start + int64(chunkWidth)}
	want := d.cache.count(i)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.chunks[start]
	if c == nil || c.want != want {
		c = &chunk{want: want, done: make(chan struct{})}
		d.chunks[start] = c
		d.evict()
		go func() { // it ends after chunkTime at the latest, and others may wait for it
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), chunkTime)
			defer cancel()
			c.level, c.err = d.read(ctx, i, want)
			if c.err != nil || !want.known {
				d.mu.Lock()
				if d.chunks[start] == c {
					delete(d.chunks, start)
				}
				d.mu.Unlock()
			}
			close(c.done)
		}()
	}
	c.used = d.cache.now()
	return c
}

func (d *details) evict() {
	for len(d.chunks) > maxChunks {
		var oldest int64
		for start, c := range d.chunks {
			if o := d.chunks[oldest]; o == nil || c.used.Before(o.used) {
				oldest = start
			}
		}
		delete(d.chunks, oldest)
	}
}

// read reads a chunk: until it holds what the coarser levels know of, however
// late that came.
func (d *details) read(ctx context.Context, i query.Interval, want tally) (*level, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("read the past of %s: %d others are being read: try again", clock(i.FromNS), chunksAtATime)
	}
	l, got := newLevel(proto.WindowNS), tally{known: true}
	if got == want {
		return l, nil
	}
	for m, err := range d.bus.Messages(ctx, bus.ReadConfig{ // after its end the rest has expired
		Stream: proto.StreamLatency, Subjects: subjects, StartTime: i.From().Add(-query.Early), StopAtEnd: true,
	}) {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, fmt.Errorf("read the past of %s: it takes longer than %s: choose a longer interval, which has coarser windows", clock(i.FromNS), chunkTime)
		case err != nil:
			return nil, fmt.Errorf("read the past of %s: %w", clock(i.FromNS), err)
		}
		if !want.known && m.Time.After(i.To().Add(afterwards)) {
			break
		}
		if l.bytes > chunkBytes {
			return nil, fmt.Errorf("read the past of %s: more than %d MiB: choose a longer interval, which has coarser windows", clock(i.FromNS), chunkBytes>>20)
		}
		if d.take(l, m, i, &got); got == want {
			break
		}
	}
	l.packAll()
	return l, nil
}

// take takes a message into a level. What can't be read was counted before.
func (d *details) take(l *level, m *bus.Message, i query.Interval, got *tally) {
	if proto.IsCommit(m.Subject) {
		if commit, err := proto.DecodeCommit(m.Data); err == nil {
			for _, loss := range commit.Loss {
				if i.Contains(loss.StartNS) {
					l.lose(loss)
					got.lost += loss.Count
				}
			}
		}
		return
	}
	latency, err := proto.DecodeLatency(m.Data)
	if err != nil {
		return
	}
	for n := range latency.Points {
		p := &latency.Points[n]
		if !i.Contains(p.StartNS) {
			continue
		}
		d.cache.mu.Lock()
		id := d.cache.id(query.NewKey(latency, p))
		d.cache.mu.Unlock()
		l.add(id, p)
		got.requests += p.Hist.Count
	}
}
