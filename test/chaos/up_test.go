package chaos

import (
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
	"github.com/weirstream/weir/test/servers"
)

const kills = 20

// outage is a time in which requests may be missed, unix nanoseconds: from a
// second before the kill until it captures again.
type outage struct{ from, to int64 }

// TestKillUp kills the whole `weir up` twenty times under load. Nothing may be
// counted twice, and only requests that were open or ended in an outage may be
// missing, in every window.
func TestKillUp(t *testing.T) {
	machine.Need(t)
	r := random(t)
	up := machine.Up(t)
	nginx := servers.Start(t, servers.Nginx())
	stop := background(t, nginx.Addr(), 800, false)
	var outages []outage
	for range kills {
		time.Sleep(between(r, 300*time.Millisecond, 3*time.Second))
		from := time.Now().Add(-time.Second).UnixNano()
		up.Kill()
		time.Sleep(between(r, 0, 300*time.Millisecond))
		up.Start()
		up.Ready()
		outages = append(outages, outage{from, time.Now().UnixNano()})
	}
	time.Sleep(2 * time.Second) // some that must be counted
	result := stop()
	up.Streams().Settle(settle)
	for _, side := range []string{"server", "client"} {
		t.Run(side, func(t *testing.T) { compare(t, up.Streams().For(t), side, result.Stamps, outages) })
	}
}

// compare looks at every window alone, then at all.
func compare(t *testing.T, streams rig.Streams, side string, stamps []load.Stamp, outages []outage) {
	const window = int64(10 * time.Second)
	first, last := stamps[0].End, stamps[0].End
	for _, s := range stamps {
		first, last = min(first, s.End), max(last, s.End)
	}
	var counted, least uint64
	for start := first - first%window; start <= last; start += window {
		time.Sleep(time.Until(time.Unix(0, start+window))) // no query goes beyond now
		from, to := stamp(start), stamp(start+window)
		rows := streams.LatencyOf("--from", from, "--to", to)
		got := rig.Count(rig.Case(rows, name, side))
		low, high := bounds(stamps, outages, start, start+window)
		t.Logf("%s: %d counted, of at least %d and at most %d", from, got, low, high)
		if got < low || got > high {
			t.Errorf("%s: %d counted, want %d to %d", from, got, low, high)
		}
		counted, least = counted+got, least+low
	}
	if sent := uint64(len(stamps)); counted > sent {
		t.Errorf("%d counted, only %d sent", counted, sent)
	}
	if least == 0 {
		t.Error("outages cover everything: nothing was shown")
	}
	t.Logf("%d of %d counted, %d had to be", counted, len(stamps), least)
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// bounds are how many requests must, and can, be counted in [start, end). The
// client's clock stops a little after the last byte arrived, so requests that
// end near an edge may be on its other side.
func bounds(stamps []load.Stamp, outages []outage, start, end int64) (low, high uint64) {
	const edge = int64(20 * time.Millisecond)
	for _, s := range stamps {
		if s.End < start-edge || s.End >= end+edge {
			continue
		}
		high++
		if s.End >= start+edge && s.End < end-edge && !missable(s, outages) {
			low++
		}
	}
	return low, high
}

func missable(s load.Stamp, outages []outage) bool {
	for _, o := range outages {
		if s.Start < o.to && s.End > o.from {
			return true
		}
	}
	return false
}
