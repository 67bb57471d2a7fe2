package history

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// What was packed and unpacked is what it was, and any order of deltas gives
// the same cell.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var u unpacker
	for n := range 200 {
		row := &query.Row{Errors: r.Uint64N(10), WaitNS: r.Int64N(1e12), ProcessingNS: r.Int64N(1e12), TransferNS: -1}
		for range n {
			row.Hist.Record(r.Int64N(1 << r.IntN(62)))
			row.Wait.Record(r.Int64N(1 << r.IntN(40)))
		}
		got := u.unpack(pack(nil, row))
		if len(u.b) > 0 || got.Errors != row.Errors || got.WaitNS != row.WaitNS || got.TransferNS != -1 ||
			!got.Hist.Equal(&row.Hist) || !got.Wait.Equal(&row.Wait) {
			t.Fatalf("%d values: %+v became %+v, %d bytes left", n, row, got, len(u.b))
		}
	}
}

func TestLevelSumsDeltas(t *testing.T) {
	l := newLevel(int64(time.Minute))
	var u unpacker
	var want histogram.Histogram
	for i := range 50 {
		p := &proto.Point{StartNS: int64(i%6) * proto.WindowNS, WindowNS: proto.WindowNS, Errors: 1}
		p.Hist.Record(int64(i+1) * 1e6)
		want.Merge(&p.Hist)
		l.add(7, p)
		if i == 10 {
			l.add(8, p) // stays where it is while 7 moves
		}
		if i%7 == 0 { // late ones come to windows that are packed
			l.packAll()
		}
	}
	l.packAll()
	w := l.windows[0]
	got := u.unpack(w.cell(w.cells[7]))
	if len(l.windows) != 1 || got.Errors != 50 || !got.Hist.Equal(&want) {
		t.Errorf("%d windows, %d errors, %d values", len(l.windows), got.Errors, got.Hist.Count)
	}
	if got := u.unpack(w.cell(w.cells[8])); got.Errors != 1 || got.Hist.MaxNS != 11*1e6 {
		t.Errorf("another series has %+v", got)
	}
	if w.dead > len(w.packed)/2+100 {
		t.Errorf("%d of %d bytes are of no row", w.dead, len(w.packed))
	}
	if bytes := cap(w.packed) + len(w.cells)*cellOverhead; l.bytes != bytes || w.bytes != bytes {
		t.Errorf("%d bytes are counted, there are %d", l.bytes, bytes)
	}
	if l.dropOldest(); l.bytes != 0 || len(l.windows) != 0 {
		t.Errorf("%d bytes of nothing", l.bytes)
	}
}

// Rows are packed in the order of their series, and so are those that move together.
func TestPackedInOrder(t *testing.T) {
	l := newLevel(int64(time.Minute))
	check := func() {
		t.Helper()
		l.packAll()
		w := l.windows[0]
		for id := range uint32(99) {
			if w.cells[id].from >= w.cells[id+1].from {
				t.Fatalf("series %d is at %d, the next at %d", id, w.cells[id].from, w.cells[id+1].from)
			}
		}
	}
	add := func(id uint32) {
		p := &proto.Point{WindowNS: proto.WindowNS}
		p.Hist.Record(1e6)
		l.add(id, p)
	}
	for id := range uint32(300) {
		add(299 - id)
	}
	check()
	for range 3 { // the others leave more than half behind, and then again
		for id := range uint32(200) {
			add(100 + id)
		}
		check()
	}
}

// empty is a history that nobody fills.
func empty(bytes int, now time.Time) *History {
	return New(Config{Bytes: bytes, Now: func() time.Time { return now }}, slog.New(slog.DiscardHandler))
}

// delta is a message of one workload with a point.
func delta(workload, route string, start time.Time) *proto.Latency {
	p := proto.Point{
		StartNS: query.Floor(start.UnixNano(), proto.WindowNS), WindowNS: proto.WindowNS,
		Metric: proto.MetricHTTPServer, Side: proto.SideServer,
		Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: route, proto.AttrStatus: "200"},
		Peer:  &proto.Peer{Namespace: "host", Workload: "caller"},
	}
	p.Hist.Record(5e6)
	return &proto.Latency{V: 1, Namespace: "host", Workload: workload, WorkloadKind: "process", Points: []proto.Point{p}}
}

// Over its bound the cache forgets the oldest of the finest windows, says from
// when on it is whole, and keeps counting everything in the others.
func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := empty(250_000, now)
	for ago := 50 * time.Minute; ago > 0; ago -= 10 * time.Second {
		for _, w := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			l := delta(w, "/", now.Add(-ago))
			c.mu.Lock()
			c.add(l, allLevels)
			c.trim()
			c.mu.Unlock()
		}
	}
	c.historyRead(allLevels)
	bytes := 0
	for _, l := range c.levels {
		bytes += l.bytes
	}
	if bytes > c.limit {
		t.Errorf("%d bytes, the bound is %d", bytes, c.limit)
	}
	if c.since[0] == 0 || c.since[2] != 0 {
		t.Errorf("windows were dropped before %v", c.since)
	}
	all := query.Interval{FromNS: now.Add(-time.Hour).UnixNano(), ToNS: now.UnixNano()}
	c.view(0, all, func(s *Span) {
		if s.Missing == "" {
			t.Error("windows were dropped, and nothing is missing")
		}
	})
	c.view(2, all, func(s *Span) {
		var n uint64
		for _, r := range s.Table(query.By{}, 0, len(s.windows), nil).Rows() {
			n += r.Hist.Count
		}
		if n != 8*300 || s.Missing != "" {
			t.Errorf("%d of %d values, missing: %q", n, 8*300, s.Missing)
		}
	})
	if level, _ := c.pick(query.Interval{FromNS: now.Add(-40 * time.Minute).UnixNano(), ToNS: now.UnixNano()}); level != 1 {
		t.Errorf("40 minutes are shown from level %d", level)
	}
}

// Names without end merge: what tells apart the most goes first.
func TestSeriesAreBounded(t *testing.T) {
	c := empty(1<<30, time.Now())
	c.series = make([]query.Key, maxSeries-1)
	first := c.id(query.Key{Workload: "w", Operation: "GET /1", Status: "200", PeerWorkload: "p"})
	second := c.id(query.Key{Workload: "w", Operation: "GET /2", Status: "200", PeerWorkload: "p"})
	third := c.id(query.Key{Workload: "w", Operation: "GET /3", Status: "500", PeerWorkload: "q"})
	if first != maxSeries-1 || c.series[second] != (query.Key{Workload: "w"}) || third != second {
		t.Errorf("series %d, %d %+v, %d", first, second, c.series[second], third)
	}
}
