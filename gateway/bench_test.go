package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const benchSeries = 1000 // 50 workloads of 20 series

// messages are one commit of benchSeries series, each with n requests.
func messages(start time.Time, n int) (out []*proto.Latency) {
	for w := range 50 {
		l := delta(fmt.Sprint("workload", w), "", start)
		l.Points = nil
		for s := range benchSeries / 50 {
			p := delta("", fmt.Sprint("/route/", s), start).Points[0]
			for i := range n {
				p.Hist.Record(int64(1+(i*7919+w*104729+s)%1000) * 1e5)
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
	c := newCache(1<<30, func() time.Time { return now })
	all := messages(now.Add(-time.Minute), 30)
	for b.Loop() {
		for _, l := range all {
			c.mu.Lock()
			for i := range l.Points {
				c.add(l, &l.Points[i])
			}
			c.mu.Unlock()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSeries, "ns/delta")
}

// BenchmarkOpen is the answer to a viewer who opens all services of an interval
// of 1,000 series, and one service.
func BenchmarkOpen(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	c := newCache(1<<30, func() time.Time { return now })
	for i, l := range c.levels {
		for start := now.Add(-widths[i].keep + time.Duration(l.step)); start.Before(now); start = start.Add(time.Duration(l.step)) {
			for _, m := range messages(start, 30) {
				for n := range m.Points {
					l.add(c.id(query.NewKey(m, &m.Points[n])), &m.Points[n])
				}
			}
		}
	}
	for _, last := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour} {
		i := query.Interval{FromNS: now.Add(-last).UnixNano(), ToNS: now.UnixNano()}
		level, _ := c.pick(i)
		b.Run(fmt.Sprintf("services/last=%s", last), func(b *testing.B) {
			for b.Loop() {
				c.view(level, i, func(s *span) { marshal(services(s, query.Selection{Side: "server"})) })
			}
		})
		b.Run(fmt.Sprintf("service/last=%s", last), func(b *testing.B) {
			w := query.Workload{Namespace: "host", Name: "workload7", Kind: "process"}
			for b.Loop() {
				c.view(level, i, func(s *span) { marshal(service(s, w, proto.SideServer)) })
			}
		})
	}
	bytes := 0
	for _, l := range c.levels {
		bytes += l.bytes
	}
	b.Logf("%d MiB in memory", bytes>>20)
}
