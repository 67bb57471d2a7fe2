package recorded

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Kept is how long the stream keeps what was recorded.
const Kept = 4 * 24 * time.Hour

const (
	tryAgain    = 5 * time.Second
	forgetEvery = time.Minute
)

// Follower is a memory of all that the stream holds.
type Follower struct {
	*Memory
	bus         *bus.Conn
	log         *slog.Logger
	undecodable atomic.Uint64
	refused     atomic.Uint64
}

// NewFollower keeps at most so many bytes in memory.
func NewFollower(c *bus.Conn, limit int, log *slog.Logger) *Follower {
	return &Follower{Memory: NewMemory(limit), bus: c, log: log}
}

// Undecodable is how many messages could not be read.
func (f *Follower) Undecodable() uint64 { return f.undecodable.Load() }

// Refused is how many samples there was no room for.
func (f *Follower) Refused() uint64 { return f.refused.Load() }

// Run reads until ctx ends. When the stream isn't there yet, or goes away or is
// made anew, it begins again.
func (f *Follower) Run(ctx context.Context) error {
	said := ""
	for {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			f.log.Warn("recorded_series_not_read", "stream", proto.StreamRecorded, "error", err)
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *Follower) read(ctx context.Context) error {
	f.reset()
	var forgot time.Time
	return Read(ctx, f.bus, ReadConfig{Follow: true}, func(m *bus.Message, r *proto.Recorded, samples []Sample, err error) bool {
		if err != nil {
			f.undecodable.Add(1)
			f.log.Debug("message_skipped", "error", err)
			return true
		}
		for i := range samples {
			if _, err := f.Add(samples[i].Labels, r.TimeNS/int64(time.Millisecond), samples[i].F, samples[i].H); err != nil {
				f.refused.Add(1)
			}
		}
		if m.Time.Sub(forgot) > forgetEvery {
			forgot = m.Time
			f.Forget(time.Now().Add(-Kept).UnixMilli())
		}
		return true
	})
}

// ReadConfig says what to read.
type ReadConfig struct {
	Since  time.Time // messages stored at or after it; zero for all
	Follow bool      // go on for ever, else to the end
}

// Read calls take with what rules recorded, message by message, until it returns
// false or there is no more. For a message that can't be read it gets an error.
func Read(ctx context.Context, c *bus.Conn, cfg ReadConfig, take func(*bus.Message, *proto.Recorded, []Sample, error) bool) error {
	for m, err := range c.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamRecorded, Subjects: []string{proto.SubjectsRecorded}, StartTime: cfg.Since, StopAtEnd: !cfg.Follow,
	}) {
		if err != nil {
			return err
		}
		of, err := proto.DecodeRecorded(m.Data)
		var samples []Sample
		if err == nil {
			samples, err = Samples(of)
		}
		if err != nil {
			err = fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamRecorded, err)
		}
		if !take(m, of, samples, err) {
			return nil
		}
	}
	return nil
}
