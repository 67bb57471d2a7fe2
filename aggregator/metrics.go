package aggregator

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	commits, messages, events                         prometheus.Counter
	duplicates, gaps, expired, undecodable, forgotten prometheus.Counter
	foreign                                           prometheus.Counter
	late, clamped                                     prometheus.Counter
	rollups                                           *prometheus.CounterVec
	lag, watermark, rollupLag                         *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "weir", Subsystem: "aggregator", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help, label string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "weir", Subsystem: "aggregator", Name: name, Help: help}, []string{label})
		r.MustRegister(g)
		return g
	}
	rollups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "weir", Subsystem: "aggregator", Name: "rollup_commits_total", Help: "Atomic batches of sums stored.",
	}, []string{"stream"})
	r.MustRegister(rollups)
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
		rollups:     rollups,
		rollupLag:   gauge("rollup_lag_messages", "Messages not yet rolled up into a stream by this process.", "stream"),
		lag:         gauge("lag_frames", "Enriched frames not yet read.", "partition"),
		watermark:   gauge("watermark_seconds", "Watermark, unix time.", "partition"),
	}
}
