package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// lately is the time over which the rate of a stream is taken.
const lately = 10 * time.Minute

// Retention is how long a stream keeps what is written to it.
type Retention struct {
	Stream   string
	MaxAge   time.Duration
	MaxBytes int64
	// BytesPerHour is what was written lately. It takes the newest messages for
	// as large as all of them on average.
	BytesPerHour float64
}

// Full is after what time the stream is full at this rate, and begins to drop
// the oldest before their age does; 0 if never.
func (r *Retention) Full() time.Duration {
	if r.MaxBytes <= 0 || r.BytesPerHour <= 0 {
		return 0
	}
	hours := float64(r.MaxBytes) / r.BytesPerHour
	if hours > 24*365 {
		return 0
	}
	return time.Duration(hours * float64(time.Hour))
}

// Short reports whether the stream is full before the age it should keep.
func (r *Retention) Short() bool { full := r.Full(); return full > 0 && full < r.MaxAge }

// ReadRetention looks at the streams that carry events and latencies.
func ReadRetention(ctx context.Context, c *bus.Conn, now time.Time) ([]Retention, error) {
	var out []Retention
	for _, s := range []struct {
		name     string
		subjects []string
	}{
		{proto.StreamRaw, []string{proto.SubjectsRaw}},
		{proto.StreamEnriched, []string{proto.SubjectsEnriched}},
		{proto.StreamLatency, []string{proto.SubjectsLatency, proto.SubjectsCommit}},
		{proto.StreamRollup, []string{proto.SubjectsRollup, proto.SubjectRollupCommit}},
		{proto.StreamHistory, []string{proto.SubjectsHistory, proto.SubjectHistoryCommit}},
	} {
		info, err := c.StreamInfo(ctx, s.name)
		if errors.Is(err, bus.ErrNoStream) && (s.name == proto.StreamRollup || s.name == proto.StreamHistory) {
			continue // an install that was made before there were roll-ups
		}
		if err != nil {
			return nil, err
		}
		r := Retention{Stream: s.name, MaxAge: info.MaxAge, MaxBytes: info.MaxBytes}
		if info.Messages > 0 && now.Sub(info.LastTime) < lately {
			since := now.Add(-lately)
			first, err := firstAfter(ctx, c, s.name, s.subjects, since)
			if err != nil {
				return nil, fmt.Errorf("read the rate of %s: %w", s.name, err)
			}
			if info.FirstTime.After(since) {
				since = info.FirstTime
			}
			written := float64(info.Bytes) * float64(info.LastSeq+1-min(first, info.LastSeq)) / float64(info.Messages)
			r.BytesPerHour = written / max(now.Sub(since), time.Minute).Hours()
		}
		out = append(out, r)
	}
	return out, nil
}

// firstAfter is the sequence of the first message stored at a time or later.
func firstAfter(ctx context.Context, c *bus.Conn, stream string, subjects []string, at time.Time) (uint64, error) {
	m, err := c.FirstMessage(ctx, bus.ReadConfig{Stream: stream, Subjects: subjects, StartTime: at})
	if m == nil { // it was the newest, and expired just now
		return 1<<63 - 1, err
	}
	return m.Sequence, nil
}
