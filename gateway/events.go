package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	defaultEvents = 200
	maxEvents     = 1000             // of one answer
	searchTime    = 10 * time.Second // for them
	burst         = 100              // events a second that one viewer is shown, at most
	flushEvery    = 500 * time.Millisecond
)

// lookback is how the past is searched: the newest first, in growing steps, so
// that what is frequent is found at once and what is rare is found at all.
var lookback = []time.Duration{5 * time.Second, 30 * time.Second, 3 * time.Minute, 20 * time.Minute, history.Kept}

// eventQuery is what a viewer wants to see.
type eventQuery struct {
	query.EventOptions
	limit int
}

func eventsWanted(q url.Values) (eventQuery, error) {
	e := eventQuery{}
	var err error
	if e.Selection, err = selection(q); err != nil {
		return e, err
	}
	if e.limit, err = count(q, "limit", defaultEvents, maxEvents); err != nil {
		return e, err
	}
	if text := q.Get("filter"); text != "" {
		if len(text) > 4096 {
			return e, badf("filter= has %d bytes, at most 4096 are allowed", len(text))
		}
		e.Filter, err = query.NewFilter(text)
	}
	return e, err
}

// searchEnd says how far a search came.
type searchEnd struct {
	Until   int64  `json:"until"` // unix milliseconds: it looked at what ended since
	Shown   int    `json:"shown"`
	Full    bool   `json:"full"`    // there may be more
	Missing string `json:"missing"` // why it ended early, "" if it didn't
}

// pastEvents sends events of an interval, the newest first.
func (g *gateway) pastEvents(ctx context.Context, s *stream, i query.Interval, e eventQuery) error {
	select {
	case g.searches <- struct{}{}:
		defer func() { <-g.searches }()
	case <-time.After(queueTime):
		return fmt.Errorf("%d searches run already, the limit: try again", cap(g.searches))
	case <-ctx.Done():
		return ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	end := searchEnd{Until: i.ToNS / 1e6}
	for _, back := range lookback {
		part := query.Interval{FromNS: max(i.FromNS, i.ToNS-int64(back)), ToNS: end.Until * 1e6}
		if part.FromNS >= part.ToNS {
			break
		}
		found := newNewest(e.limit-end.Shown, func(e *query.Event) int64 { return e.Time.UnixNano() })
		e.Interval = part
		err := query.Events(limited, g.bus, e.EventOptions, func(e *query.Event) error { found.add(e); return nil })
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			end.Missing = fmt.Sprintf("looked for %s, the limit: choose a shorter interval", searchTime)
			break
		}
		if err != nil {
			return err
		}
		events := found.sorted()
		end.Shown += len(events)
		end.Until = part.FromNS / 1e6
		if err := s.send("events", events); err != nil {
			return err
		}
		if end.Full = end.Shown >= e.limit; end.Full {
			break
		}
	}
	return s.send("end", end)
}

// newest keeps the latest of what is added, however much that is.
type newest[T any] struct {
	size int
	at   func(T) int64 // when it was
	kept []T
}

func newNewest[T any](size int, at func(T) int64) *newest[T] {
	return &newest[T]{size: size, at: at, kept: []T{}}
}

func (n *newest[T]) add(e T) {
	if n.kept = append(n.kept, e); len(n.kept) >= 2*n.size {
		n.sorted()
	}
}

// sorted are the newest, newest first.
func (n *newest[T]) sorted() []T {
	slices.SortStableFunc(n.kept, func(a, b T) int { return cmp.Compare(n.at(b), n.at(a)) })
	clear(n.kept[min(len(n.kept), n.size):])
	n.kept = n.kept[:min(len(n.kept), n.size)]
	return n.kept
}

// liveEvents is a batch of what happened just now.
type liveEvents struct {
	Events  []*query.Event `json:"events"`
	Matched uint64         `json:"matched"` // since the last batch, shown or not
	Skipped uint64         `json:"skipped"` // not looked at: this viewer was too slow
}

// passing is an event that may be shown. Most are not: what they look like is
// worked out for those that are.
type passing struct {
	*proto.Event
	node string
}

// follow sends events as they happen, until the viewer goes. It shows at most
// burst a second and says how many there were.
func (g *gateway) follow(ctx context.Context, s *stream, e eventQuery) error {
	v, err := g.tap.join()
	if err != nil {
		return err
	}
	defer g.tap.leave(v)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	choose := e.Chooser()
	room := newNewest(int(burst*flushEvery/time.Second), func(e passing) int64 { return e.EndNS })
	var batch liveEvents
	for {
		select {
		case f := <-v.frames:
			for i := range f.Events {
				wanted, err := choose(f, &f.Events[i])
				if err != nil {
					return badRequest{err}
				}
				if wanted {
					batch.Matched++
					room.add(passing{&f.Events[i], f.Node})
				}
			}
		case <-tick.C:
			batch.Skipped = v.skipped.Swap(0)
			batch.Events = []*query.Event{} // not null
			for _, e := range room.sorted() {
				batch.Events = append(batch.Events, query.NewEvent(e.node, e.Event))
			}
			if len(batch.Events) == 0 && batch.Skipped == 0 {
				if err := s.beat(); err != nil {
					return err
				}
				continue
			}
			if err := s.send("live", batch); err != nil {
				return err
			}
			room, batch = newNewest(room.size, room.at), liveEvents{}
		case err := <-v.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// events answers /api/events with server-sent events: those of an interval, or
// without to= those that happen from now on.
func (g *gateway) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	e, err := eventsWanted(q)
	if err != nil {
		fail(w, err)
		return
	}
	live := !q.Has("to") && !q.Has("from") && !q.Has("last")
	var i query.Interval
	if !live {
		if i, err = g.eventInterval(q); err != nil {
			fail(w, err)
			return
		}
	}
	if !g.bus.Connected() {
		fail(w, errAway)
		return
	}
	s := newStream(w, r)
	if live {
		err = g.follow(r.Context(), s, e)
	} else {
		err = g.pastEvents(r.Context(), s, i, e)
	}
	if err != nil && r.Context().Err() == nil {
		_ = s.send("failed", problemOf(err)) // the viewer may be gone, too
	}
}

// eventInterval is an interval that ends now unless it is said otherwise:
// single events don't wait for windows.
func (g *gateway) eventInterval(q url.Values) (query.Interval, error) {
	if !q.Has("to") {
		q.Set("to", time.Now().UTC().Format(time.RFC3339Nano))
	}
	return g.interval(q)
}

// checkFilter answers /api/filter: whether a filter can be understood, and
// where not. A mistake is an answer here: it is asked while somebody types.
func checkFilter(r *http.Request) (any, error) {
	_, err := eventsWanted(r.URL.Query())
	var mistake *query.FilterError
	if errors.As(err, &mistake) {
		return problemOf(err), nil
	}
	return problem{}, err
}

// problem is what an error looks like as JSON.
type problem struct {
	Error  string `json:"error,omitempty"`
	Column *int   `json:"column,omitempty"` // of a filter's mistake, from 0
}

func problemOf(err error) problem {
	var f *query.FilterError
	if errors.As(err, &f) {
		p := problem{Error: f.Reason}
		if f.Column >= 0 {
			p.Column = &f.Column
		}
		return p
	}
	return problem{Error: err.Error()}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // a NaN: a bug, which must not look like an answer
		b, _ = json.Marshal(problem{Error: cmp.Or(err.Error(), "encode answer")})
	}
	return b
}
