package aggregator

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	commits, messages, events                         prometheus.Counter
	duplicates, gaps, expired, undecodable, forgotten prometheus.Counter
	foreign                                           prometheus.Counter
	late, clamped                                     prometheus.Counter
	rollups                                           prometheus.Counter
	rollupLag                                         prometheus.Gauge
	lag, watermark                                    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "weir", Subsystem: "aggregator", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "weir", Subsystem: "aggregator", Name: name, Help: help}, []string{"partition"})
		r.MustRegister(g)
		return g
	}
	rollupLag := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "weir", Subsystem: "aggregator", Name: "rollup_lag_messages", Help: "Messages of WEIR_LATENCY not yet rolled up by this process.",
	})
	r.MustRegister(rollupLag)
	return &metrics{
		commits:     counter("commits_total", "Atomic batches stored."),
		messages:    counter("messages_total", "Latency messages stored."),
		events:      counter("events_total", "Events counted by what was stored."),
		duplicates:  counter("duplicate_frames_total", "Frames skipped because they had been counted."),
		gaps:        counter("gaps_total", "Gaps in frame numbers."),
		expired:     counter("expired_events_total", "Events in frames that left the stream unread."),
		undecodable: counter("undecodable_total", "Frames skipped because they could not be decoded."),
		foreign:     counter("foreign_total", "Messages skipped because no enricher put them on the lane that they are on."),
		forgotten:   counter("forgotten_nodes_total", "Nodes forgotten because there were too many."),
		late:        counter("late_events_total", "Events whose window had been committed: they are deltas of a later commit."),
		clamped:     counter("clamped_events_total", "Events more than 30 s ahead of the log's clock."),
		rollups:     counter("rollup_commits_total", "Atomic batches of minutes stored in WEIR_ROLLUP."),
		rollupLag:   rollupLag,
		lag:         gauge("lag_frames", "Enriched frames not yet read."),
		watermark:   gauge("watermark_seconds", "Watermark, unix time."),
	}
}
