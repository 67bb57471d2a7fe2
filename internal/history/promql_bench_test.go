package history

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// BenchmarkPromQL is questions to a cache with 24 hours of services. Others may
// use the machine too: what counts is the processor time of a question.
func BenchmarkPromQL(b *testing.B) {
	const p99 = "histogram_quantile(0.99, sum by (workload) (rate(http_server_request_duration_seconds[%s])))"
	now := time.Unix(1_800_000_000, 0)
	for _, size := range []struct{ workloads, series int }{{100, 1}, {50, 20}} {
		c := filled(size.workloads, size.series, now)
		engine := promql.New(c, 1)
		of := fmt.Sprintf("series=%d", size.workloads*size.series)
		instant := func(name, expr string) {
			b.Run(of+"/"+name, func(b *testing.B) {
				defer cpu(b)()
				for b.Loop() {
					r, err := engine.Instant(b.Context(), expr, now)
					check(b, r, err, size.workloads)
				}
			})
		}
		course := func(name, expr string, long, step time.Duration) {
			b.Run(of+"/"+name, func(b *testing.B) {
				defer cpu(b)()
				for b.Loop() {
					r, err := engine.Range(b.Context(), expr, now.Add(-long), now, step)
					check(b, r, err, size.workloads)
				}
			})
		}
		instant("p99-5m", fmt.Sprintf(p99, "5m"))
		instant("p99-1h", fmt.Sprintf(p99, "1h"))
		instant("p99-24h", fmt.Sprintf(p99, "24h"))
		instant("p99-1h-classic", "histogram_quantile(0.99, sum by (le, workload) (rate(http_server_request_duration_seconds_bucket[1h])))")
		course("p99-1h-by-1m", fmt.Sprintf(p99, "5m"), time.Hour, time.Minute)
		course("p99-24h-by-5m", fmt.Sprintf(p99, "10m"), 24*time.Hour, 5*time.Minute)
		course("rate-24h-by-5m", "sum by (workload) (rate(http_server_request_duration_seconds_count[10m]))", 24*time.Hour, 5*time.Minute)
	}
}

// cpu reports what a benchmark took of all processors, the collector's part too.
func cpu(b *testing.B) (end func()) {
	b.ReportAllocs()
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/1e6/float64(b.N), "cpu-ms/op") }
}

func check(b *testing.B, r *promql.Result, err error, series int) {
	if err != nil {
		b.Fatal(err)
	}
	if all, err := promql.Elements(r.Value, 64<<20); err != nil || len(all) != series {
		b.Fatal(err, len(all))
	}
}

// filled is a cache with all levels full of a request in each window of each series.
func filled(workloads, series int, now time.Time) *History {
	c := empty(1<<30, now)
	for i := range c.loaded {
		c.loaded[i] = 0
	}
	var all [][]*proto.Latency // so that windows are not all alike
	for n := range 32 {
		all = append(all, messages(now.Add(time.Duration(n)), 30))
	}
	for i, l := range c.levels {
		for start := now.Add(-c.keep(i) + time.Duration(l.step)); start.Before(now); start = start.Add(time.Duration(l.step)) {
			now := all[start.UnixNano()/l.step%int64(len(all))]
			for w := range workloads {
				m := *now[w%len(now)]
				m.Workload = fmt.Sprint("workload", w)
				for n := range series {
					p := m.Points[n]
					p.StartNS = start.UnixNano()
					l.add(c.id(query.NewKey(&m, &p)), &p)
				}
			}
		}
		l.packAll()
	}
	return c
}
