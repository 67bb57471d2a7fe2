package agent

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/bpf"
)

// stats are the loop's own counters; it alone writes them.
type stats struct {
	records, undecodable, exchanges, leftOut uint64
}

// snapshot is what scrapes see, copied with every frame.
type snapshot struct {
	mu      sync.Mutex
	stats   stats
	kernel  bpf.Counters
	conns   int
	evicted uint64
	gaps    uint64
}

func (l *loop) publishStats() {
	p := &l.published
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats, p.kernel = l.stats, l.ringLoss.last
	p.conns, p.evicted, p.gaps = len(l.tracker.conns), l.tracker.evicted, l.tracker.gaps
}

func (l *loop) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	if err := r.Register((*collector)(l)); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// collector exposes the agent's own cost and losses.
type collector loop

func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(name, help string, v uint64, labels ...string) {
		var names []string
		var values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("weir_agent_"+name, help, names, nil), prometheus.CounterValue, float64(v), values...)
	}
	gauge := func(name, help string, v int) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("weir_agent_"+name, help, nil, nil), prometheus.GaugeValue, float64(v))
	}
	p := &c.published
	p.mu.Lock()
	s, k, conns, evicted, gaps := p.stats, p.kernel, p.conns, p.evicted, p.gaps
	p.mu.Unlock()
	counter("records_total", "Kernel records read from the ring.", s.records)
	counter("records_undecodable_total", "Kernel records that could not be decoded.", s.undecodable)
	counter("exchanges_total", "Exchanges found.", s.exchanges)
	counter("left_out_exchanges_total", "Exchanges found and not published, because their process or pod is left out.", s.leftOut)
	counter("left_out_connections_total", "Connections that the kernel programs leave out, because their pod is left out.", k.LeftOut)
	gauge("left_out_pods", "Pods of this node that are left out.", c.leftOut.len())
	counter("kernel_records_total", "Records the kernel programs tried to send.", k.Records)
	counter("kernel_lost_total", "Records the kernel programs could not send.", k.LostRing, "reason", "ring_full")
	counter("kernel_lost_total", "Records the kernel programs could not send.", k.LostStorage, "reason", "storage_full")
	counter("kernel_unreadable_total", "Segments whose bytes could not be loaded.", k.Unreadable)
	gauge("connections", "Connections tracked.", conns)
	counter("connections_evicted_total", "Connections dropped to stay within the bound.", evicted)
	counter("segment_gaps_total", "Segments given up waiting for.", gaps)

	sp := c.spool.snapshot()
	counter("frames_total", "Frames stored in WEIR_RAW.", sp.frames)
	counter("events_total", "Events stored in WEIR_RAW.", sp.events)
	counter("bytes_total", "Bytes of frames stored in WEIR_RAW.", sp.bytes)
	counter("spool_dropped_events_total", "Events dropped because the spool was full.", sp.droppedEvents)
	gauge("spool_bytes", "Encoded events that wait for NATS.", sp.waiting)

	programs, err := c.capture.Stats()
	if err != nil {
		return // unloaded already: the scrape came while stopping
	}
	for _, p := range programs {
		counter("program_runs_total", "Runs of a BPF program; only while kernel.bpf_stats_enabled is 1.", p.RunCount, "program", p.Name)
		counter("program_nanoseconds_total", "Time spent in a BPF program, ns; only while kernel.bpf_stats_enabled is 1.", p.RunNS, "program", p.Name)
	}
}
