package gateway

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// badRequest is a mistake of who asks: what is wrong, where and what to do.
type badRequest struct{ error }

func badf(format string, args ...any) error { return badRequest{fmt.Errorf(format, args...)} }

const (
	defaultSpan = 5 * time.Minute
	leastSpan   = 10 * time.Second
)

// interval reads the time of a question: from and to, or last, which ends at to
// or else with the newest window that is complete.
func (g *gateway) interval(q url.Values) (query.Interval, error) {
	now := time.Now()
	to, err := timeOf(q, "to", now)
	if err != nil {
		return query.Interval{}, err
	}
	if !q.Has("to") {
		to = time.Unix(0, g.history.Complete())
	}
	if q.Has("from") {
		from, err := timeOf(q, "from", now)
		if err != nil {
			return query.Interval{}, err
		}
		if q.Has("last") {
			return query.Interval{}, badf("last=%s and from=%s both say where it begins: give one of them", q.Get("last"), q.Get("from"))
		}
		return checked(from, to)
	}
	last := defaultSpan
	if text := q.Get("last"); text != "" {
		if last, err = time.ParseDuration(text); err != nil || last < leastSpan {
			return query.Interval{}, badf("last=%s is not a duration of at least %s, such as 5m or 24h", text, leastSpan)
		}
	}
	return checked(to.Add(-last), to)
}

func checked(from, to time.Time) (query.Interval, error) {
	switch length := to.Sub(from); {
	case length <= 0:
		return query.Interval{}, badf("nothing lies between from=%s and to=%s: the start must be before the end", stamp(from), stamp(to))
	case length > history.Kept+time.Hour:
		return query.Interval{}, badf("%s from %s to %s is more than the %s that are kept", length.Round(time.Second), stamp(from), stamp(to), history.Kept)
	}
	return query.Between(from, to), nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// timeOf reads unix milliseconds or RFC 3339.
func timeOf(q url.Values, name string, now time.Time) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return now, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if ms, numeric := strconv.ParseInt(text, 10, 64); numeric == nil {
		t, err = time.UnixMilli(ms), nil
	}
	if err != nil || t.Year() < 2000 || t.Year() > 2200 {
		return time.Time{}, badf("%s=%s is neither a time such as %s nor unix milliseconds", name, text, stamp(now))
	}
	return t, nil
}

// workload reads which one is asked for.
func workload(q url.Values) (query.Workload, proto.Side, error) {
	w := query.Workload{Namespace: q.Get("namespace"), Name: q.Get("workload"), Kind: q.Get("kind")}
	if !q.Has("workload") {
		return w, 0, badf("workload= is missing: the name of one, with namespace= and kind=")
	}
	side, err := sideOf(q)
	if side == proto.SideUnknown {
		side = proto.SideServer
	}
	return w, side, err
}

func sideOf(q url.Values) (proto.Side, error) {
	text := q.Get("side")
	side := proto.ParseSide(text)
	if side == proto.SideUnknown && text != "" {
		return side, badf("side=%s is neither server nor client", text)
	}
	return side, nil
}

// selection reads which workloads are asked for; all of them if nothing is said.
func selection(q url.Values) (query.Selection, error) {
	_, err := sideOf(q)
	return query.Selection{Namespace: q.Get("namespace"), Workload: q.Get("workload"), Kind: q.Get("kind"), Side: q.Get("side")}, err
}

// count reads a number from 1 to most.
func count(q url.Values, name string, fallback, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, badf("%s=%s is not a number from 1 to %d", name, text, most)
	}
	return n, nil
}

// latencyBounds reads min_ms and max_ms: [least, most) in nanoseconds.
func latencyBounds(q url.Values) (least, most int64, err error) {
	most = 1<<63 - 1
	for name, to := range map[string]*int64{"min_ms": &least, "max_ms": &most} {
		if text := q.Get(name); text != "" {
			ms, err := strconv.ParseFloat(text, 64)
			if err != nil || ms < 0 || ms > 1e12 {
				return 0, 0, badf("%s=%s is not a number of milliseconds", name, text)
			}
			*to = int64(ms * 1e6)
		}
	}
	return least, most, nil
}
