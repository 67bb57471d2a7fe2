package replay

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// sum is all that deltas of a window of a series add up to.
type sum struct {
	Errors     uint64
	Hist, Wait histogram.Histogram
	Parts      [3]int64
}

// sums adds up what a stream, or a replay, holds.
type sums map[string]*sum

func (s sums) add(l *proto.Latency) {
	for i := range l.Points {
		p := &l.Points[i]
		peer := proto.Peer{}
		if p.Peer != nil {
			peer = *p.Peer
		}
		key := fmt.Sprintln(l.Cluster, l.Namespace, l.Workload, l.WorkloadKind, p.StartNS, p.WindowNS, p.Metric, p.Side, p.Attrs, peer)
		to := s[key]
		if to == nil {
			to = &sum{}
			s[key] = to
		}
		to.Errors += p.Errors
		to.Hist.Merge(&p.Hist)
		if p.Parts.Wait != nil {
			to.Wait.Merge(p.Parts.Wait)
		}
		for k, part := range []int64{p.Parts.WaitNS, p.Parts.ProcessingNS, p.Parts.TransferNS} {
			to.Parts[k] += part
		}
	}
}

func (s sums) count() (n uint64) {
	for _, one := range s {
		n += one.Hist.Count
	}
	return n
}

// equal is about every field of every histogram.
func (s sums) equal(t *testing.T, what string, want sums) {
	t.Helper()
	if len(s) != len(want) || s.count() != want.count() {
		t.Errorf("%s: %d events in %d windows of series, want %d in %d", what, s.count(), len(s), want.count(), len(want))
	}
	for key, one := range want {
		if got := s[key]; got == nil || !reflect.DeepEqual(got, one) {
			t.Fatalf("%s: a window differs from the original: %s got  %+v\nwant %+v", what, key, got, one)
		}
	}
}

// streams is a server with Weir's streams.
func streams(t *testing.T) *bus.Conn {
	t.Helper()
	c := bustest.Connect(t, bustest.Start(t).URL)
	bustest.Provision(t, c, 1, 1)
	return c
}

// record fills WEIR_ENRICHED: three nodes for a minute, with a restart, late
// events and clocks that are ahead. It returns when the first event ended.
func record(t *testing.T, c *bus.Conn, perFrame int) (first time.Time, events int) {
	t.Helper()
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	first = time.Now().Add(-2 * time.Minute).Truncate(10 * time.Second)
	loads := make([]*bustest.Load, 3)
	for i := range 180 {
		n := i % len(loads)
		if loads[n] == nil || i == 100 {
			loads[n] = bustest.NewLoad(fmt.Sprint("node", n), proto.Epoch{Number: uint64(i + 1), ID: fmt.Sprintf("%016x", i)}, uint64(i))
		}
		end := first.Add(time.Duration(i+3) * time.Second / 3)
		switch {
		case i%50 == 49: // ahead of the stream's clock
			end = time.Now().Add(45 * time.Second)
		case i%20 == 19:
			end = end.Add(-20 * time.Second)
		}
		f := loads[n].Next(perFrame, max(end.UnixNano(), first.Add(time.Second).UnixNano()))
		f.WatermarkNS = first.Add(time.Duration(i) * time.Second / 3).UnixNano()
		bustest.Enrich(f)
		data, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Publish(t.Context(), data, uint64(i+1), uint64(i+1), len(f.Events)); err != nil {
			t.Fatal(err)
		}
		events += len(f.Events)
	}
	return first, events
}

// count runs an aggregator until it has counted all of WEIR_ENRICHED, and
// returns what WEIR_LATENCY then holds.
func count(t *testing.T, c *bus.Conn, every time.Duration) sums {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: "test", CommitEvery: every}, slog.New(slog.DiscardHandler))
	}()
	info, err := c.StreamInfo(t.Context(), proto.StreamEnriched)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.CommitSubject(0))
		return err == nil && len(last) == 1 && last[0].Src >= info.LastSeq
	}, "message %d isn't counted", info.LastSeq)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	out := sums{}
	for _, m := range bustest.ReadAll(t, c, proto.StreamLatency, proto.SubjectsLatency) {
		l, err := proto.DecodeLatency(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		out.add(l)
	}
	return out
}

// within are the sums of the windows of an interval.
func (s sums) within(t *testing.T, c *bus.Conn, interval query.Interval) sums {
	t.Helper()
	out := sums{}
	played, err := Run(t.Context(), Latencies(c, interval), 0, sinkFunc(func(i *Item) error { out.add(i.Latency); return nil }))
	if err != nil || played.Messages == 0 {
		t.Fatal(played, err)
	}
	return out
}

type sinkFunc func(*Item) error

func (f sinkFunc) Write(_ context.Context, i *Item) error { return f(i) }
func (f sinkFunc) Close(context.Context) error            { return nil }

// play runs a source into a sink and closes it.
func play(t *testing.T, source Source, sink Sink) Played {
	t.Helper()
	played, err := Run(t.Context(), source, 0, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return played
}

// recount counts a source's events without a stream.
func recount(t *testing.T, source Source) sums {
	t.Helper()
	counter, out := aggregator.NewRecount(), sums{}
	add := func(parts []bus.Part, err error) error {
		for _, p := range parts {
			l, derr := proto.DecodeLatency(p.Data)
			if derr != nil {
				return derr
			}
			out.add(l)
		}
		return err
	}
	play(t, source, sinkFunc(func(i *Item) error { return add(counter.Add(i.Frame, i.LogTime().UnixNano())) }))
	if err := add(counter.Flush()); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHistogramsAreIdentical counts a recorded stream again and again: through
// an aggregator into a second JetStream with batches of other sizes, out of
// files, and without a stream. Every field of every histogram is the same.
func TestHistogramsAreIdentical(t *testing.T) {
	c := streams(t)
	first, events := record(t, c, 40)
	all := query.Between(first, time.Now().Add(2*time.Minute))
	want := count(t, c, time.Minute)
	if int(want.count()) != events {
		t.Fatalf("%d events are counted of %d", want.count(), events)
	}
	dir := t.TempDir()
	for _, name := range []string{"events.ndjson", "events.parquet"} {
		sink, err := Create(filepath.Join(dir, name), false)
		if err != nil {
			t.Fatal(err)
		}
		if played := play(t, Events(c, all, 0), sink); int(played.Events) != events {
			t.Fatalf("%s: %d events of %d", name, played.Events, events)
		}
	}
	file := func(name string) Source {
		source, err := File(filepath.Join(dir, name), false, all)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	for name, from := range map[string]struct {
		source Source
		every  time.Duration
	}{
		"stream, small batches": {Events(c, all, 0), time.Millisecond},
		"stream, large batches": {Events(c, all, 0), 2 * time.Second},
		"NDJSON":                {file("events.ndjson"), 20 * time.Millisecond},
		"Parquet":               {file("events.parquet"), 200 * time.Millisecond},
	} {
		second := streams(t)
		sink, err := OpenSubject(t.Context(), second, proto.EnrichedSubject(0))
		if err != nil {
			t.Fatal(err)
		}
		if sink.Stream() != proto.StreamEnriched {
			t.Fatalf("stream %q stores the replay", sink.Stream())
		}
		play(t, from.source, sink)
		count(t, second, from.every).equal(t, name, want)
		recount(t, from.source).equal(t, name+", recounted", want)
	}

	// A part: whole windows.
	part := query.Between(first.Add(10*time.Second), first.Add(40*time.Second))
	wantPart := want.within(t, c, part)
	recount(t, Events(c, part, 0)).equal(t, "part", wantPart)
	if wantPart.count() == 0 || wantPart.count() == want.count() {
		t.Errorf("a part of the interval has %d events of %d: the test shows nothing", wantPart.count(), want.count())
	}
}

// TestBytesStayTheSame: what a subscriber of a replay gets are the messages of
// the stream, and those of a file of latency messages the same points.
func TestBytesStayTheSame(t *testing.T) {
	c := streams(t)
	first, _ := record(t, c, 10)
	all := query.Between(first, time.Now().Add(2*time.Minute))
	want := count(t, c, 50*time.Millisecond)

	second := streams(t)
	sink, err := OpenSubject(t.Context(), second, proto.EnrichedSubject(0))
	if err != nil {
		t.Fatal(err)
	}
	play(t, Events(c, all, 0), sink)
	original := bustest.ReadAll(t, c, proto.StreamEnriched, proto.SubjectsEnriched)
	replayed := bustest.ReadAll(t, second, proto.StreamEnriched, proto.SubjectsEnriched)
	if len(original) != len(replayed) {
		t.Fatalf("%d messages of %d", len(replayed), len(original))
	}
	for i, m := range replayed {
		o := original[i]
		if string(m.Data) != string(o.Data) || m.Epoch != o.Epoch || m.Seq != o.Seq || m.Src != o.Src || m.Count != o.Count || !m.Original.Equal(o.Time) {
			t.Fatalf("message %d is replayed as %+v", i+1, m)
		}
	}
	for _, name := range []string{"l.ndjson", "l.parquet"} {
		name := filepath.Join(t.TempDir(), name)
		sink, err := Create(name, true)
		if err != nil {
			t.Fatal(err)
		}
		play(t, Latencies(c, all), sink)
		source, err := File(name, true, all)
		if err != nil {
			t.Fatal(err)
		}
		got := sums{}
		play(t, source, sinkFunc(func(i *Item) error {
			messages, err := i.encode()
			for _, m := range messages {
				l, derr := proto.DecodeLatency(m)
				if derr != nil {
					return derr
				}
				got.add(l)
			}
			return err
		}))
		got.equal(t, name, want)
	}
}
