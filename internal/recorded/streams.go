package recorded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// early is how much earlier than their times samples may have been stored: the
// stream's clock may be behind the alerter's.
const early = 30 * time.Second

// Streams reads WEIR_RECORDED for each question.
type Streams struct{ Conn *bus.Conn }

// Querier implements [storage.Queryable].
func (s Streams) Querier(mint, maxt int64) (storage.Querier, error) {
	return &streamsQuerier{querier{mint: mint, maxt: maxt}, s.Conn, DefaultBytes}, nil
}

type streamsQuerier struct {
	querier
	conn *bus.Conn
	left int // bytes that further selectors of the query may take
}

// Select reads the series that match. Without the stream, in an install that no
// alerter of this version has worked in, there are none.
func (q *streamsQuerier) Select(ctx context.Context, ordered bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	of := querier{Memory: NewMemory(q.left), mint: q.mint, maxt: q.maxt}
	since := q.mint
	if hints != nil {
		since = hints.Start
	}
	var failed error
	err := Read(ctx, q.conn, ReadConfig{Since: time.UnixMilli(max(since, 0)).Add(-early)}, func(_ *bus.Message, r *proto.Recorded, samples []Sample, err error) bool {
		for i := range samples {
			if s := &samples[i]; labels.Selector(matchers).Matches(s.Labels) {
				_, full := of.Add(s.Labels, r.TimeNS/int64(time.Millisecond), s.F, s.H)
				if full == nil && of.begin > 0 { // it made room: the oldest are missing
					full = ErrFull
				}
				err = errors.Join(err, full)
			}
		}
		failed = err
		return err == nil
	})
	if err == nil || errors.Is(err, bus.ErrNoStream) {
		err = failed
	}
	if errors.Is(err, ErrFull) {
		err = fmt.Errorf("the query needs more than %d MiB of recorded series, the limit of all its selectors together: choose fewer series or a shorter time: %w", DefaultBytes>>20, err)
	}
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	q.left -= of.State().Bytes
	return of.Select(ctx, ordered, hints, matchers...)
}
