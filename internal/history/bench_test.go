package history

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const benchSeries = 1000 // 50 workloads of 20 series

// messages are one commit of benchSeries series, each with n requests, others at another time.
func messages(start time.Time, n int) (out []*proto.Latency) {
	for w := range 50 {
		l := delta(fmt.Sprint("workload", w), "", start)
		l.Points = nil
		for s := range benchSeries / 50 {
			p := delta("", fmt.Sprint("/route/", s), start).Points[0]
			for i := range n {
				p.Hist.Record(int64(1+(i*7919+w*104729+s+int(start.UnixNano()%1000)*31)%1000) * 1e5)
			}
			wait := p.Hist
			p.Parts.Wait = wait.Clone()
			l.Points = append(l.Points, p)
		}
		out = append(out, l)
	}
	return out
}

// BenchmarkTake is what a delta of one series costs on its way into the cache:
// 24 hours of 1,000 series are 8.64 million.
func BenchmarkTake(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	c := empty(1<<30, now)
	all := messages(now.Add(-time.Minute), 30)
	for b.Loop() {
		for _, l := range all {
			c.mu.Lock()
			c.add(l, allLevels)
			c.mu.Unlock()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSeries, "ns/delta")
}

// BenchmarkOpen is the sums of all services over an interval of 1,000 series, and
// of one service.
func BenchmarkOpen(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	c := filled(50, 20, now)
	for _, last := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour} {
		i := query.Interval{FromNS: now.Add(-last).UnixNano(), ToNS: now.UnixNano()}
		for what, wanted := range map[string]func(*query.Key) bool{
			"services": nil,
			"service":  func(k *query.Key) bool { return k.Workload == "workload7" },
		} {
			b.Run(fmt.Sprintf("%s/last=%s", what, last), func(b *testing.B) {
				for b.Loop() {
					err := c.Show(b.Context(), i, func(s *Span) {
						if n := len(s.Table(query.By{}, 0, s.Len(), wanted).Rows()); s.Missing != "" || n == 0 {
							b.Fatal(n, s.Missing)
						}
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Logf("%d MiB in memory", c.State().Bytes>>20)
}

// BenchmarkJoin is a history that starts when the streams hold 24 hours of 1,000
// series: until it has read all of it, and until it can show 24 hours. The minutes
// are in WEIR_ROLLUP, and an aggregator has summed them into WEIR_HISTORY.
func BenchmarkJoin(b *testing.B) {
	server := bustest.Start(b)
	c := bustest.Connect(b, server.URL)
	bustest.Provision(b, c, 1, 1)
	open := func(stream, subject string) *bus.Lane {
		lane, err := c.OpenLane(b.Context(), bus.LaneConfig{Stream: stream, Subject: subject, Input: true})
		if err != nil {
			b.Fatal(err)
		}
		return lane
	}
	record := func(seq, position uint64, created, at time.Time) []byte {
		data, err := proto.EncodeCommit(&proto.Commit{
			V: 1, Epoch: 1, EpochID: "a", Seq: seq, Position: proto.Position{Seq: position},
			InputCreatedNS: created.UnixNano(), LogNS: time.Now().UnixNano(), WatermarkNS: at.UnixNano(), Idle: true,
		})
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	now := time.Now()
	counted := open(proto.StreamLatency, proto.CommitSubject(0))
	if _, err := counted.Publish(b.Context(), record(1, 1, now, now), 1, 1, 0); err != nil {
		b.Fatal(err)
	}
	input, err := c.StreamInfo(b.Context(), proto.StreamLatency)
	if err != nil {
		b.Fatal(err)
	}
	rollup := open(proto.StreamRollup, proto.SubjectRollupCommit)
	const minutes = 24 * 60
	for n := range uint64(minutes) {
		at := now.Add(time.Duration(n) * time.Minute).Add(-Kept).Truncate(time.Minute)
		var parts []bus.Part
		for _, l := range messages(at, 60) {
			l.V = 1
			for i := range l.Points {
				l.Points[i].WindowNS = proto.RollupNS
			}
			data, err := proto.SplitLatency(l)
			if err != nil {
				b.Fatal(err)
			}
			parts = append(parts, bus.Part{Subject: proto.Minutes.Subject(l.Namespace, l.Workload), Data: data[0]})
		}
		position := uint64(0) // all but the last are older than what is followed
		if n == minutes-1 {
			position = input.LastSeq + 1
		}
		if _, err := rollup.Commit(b.Context(), parts, record(n+1, position, input.Created, at), n+1, n+1, 0); err != nil {
			b.Fatal(err)
		}
	}
	stored, err := c.StreamInfo(b.Context(), proto.StreamRollup)
	if err != nil {
		b.Fatal(err)
	}
	rollUp(b, server.URL)
	var shown time.Duration
	for b.Loop() {
		started := time.Now()
		of24h := query.Interval{FromNS: started.Add(-Kept).UnixNano(), ToNS: started.UnixNano()}
		ctx, cancel := context.WithCancel(b.Context())
		h := New(Config{Bus: c, Bytes: 1 << 30}, slog.New(slog.DiscardHandler))
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		for h.State().Loaded < 1 {
			changed, _ := h.Changed()
			h.view(coarsest.first, of24h, func(s *Span) {
				if s.Missing == "" && of24h.FromNS > 0 {
					shown += time.Since(started)
					of24h = query.Interval{}
				}
			})
			select {
			case <-changed:
			case <-time.After(time.Minute):
				b.Fatal("nothing is read")
			}
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/minutes/benchSeries, "ns/point")
	b.ReportMetric(float64(stored.Bytes)/1e6, "MB-stored")
	b.ReportMetric(float64(shown.Milliseconds())/float64(b.N), "ms-to-24h")

	// Up to the last half hour: all was stored just now, so that a part of it
	// can't be found by its time.
	options := query.Options{Interval: query.Interval{FromNS: now.Add(-Kept).UnixNano(), ToNS: query.Floor(now.UnixNano(), proto.HistoryNS)}, Now: now}
	started := time.Now()
	result, err := query.Latency(b.Context(), c, options)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("weir latency --since 24h: %d rows of %d requests in %v", len(result.Rows), requests(result.Rows), time.Since(started))
}

func requests(rows []*query.Row) (n uint64) {
	for _, r := range rows {
		n += r.Hist.Count
	}
	return n
}

// rollUp lets an aggregator sum the minutes, all but the last half hour.
func rollUp(b *testing.B, url string) {
	c := bustest.Connect(b, url)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() {
		done <- aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: "bench"}, slog.New(slog.DiscardHandler))
	}()
	bustest.Eventually(b, func() bool {
		info, err := c.StreamInfo(ctx, proto.StreamRollup)
		if err != nil {
			return false
		}
		last, err := query.LastRollup(ctx, c, proto.HalfHours)
		return err == nil && last != nil && last.Record.Position.Seq > info.LastSeq-40*51
	}, "the minutes aren't summed")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
