package alert

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	evaluations, failures prometheus.Counter
	duration              prometheus.Histogram
	last, late            prometheus.Gauge
	reloadFailed          prometheus.Gauge
	notRecorded           prometheus.Gauge
	alerts                *prometheus.GaugeVec
	changes               *prometheus.CounterVec
	sent                  *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "weir", Subsystem: "alerter", Name: name, Help: help}
	}
	m := &metrics{
		evaluations: prometheus.NewCounter(prometheus.CounterOpts(opts("evaluations_total", "Evaluations of rule groups."))),
		failures:    prometheus.NewCounter(prometheus.CounterOpts(opts("evaluation_failures_total", "Evaluations of rule groups in which a rule failed."))),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "weir", Subsystem: "alerter", Name: "evaluation_duration_seconds", Help: "How long evaluating a rule group took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8), NativeHistogramBucketFactor: 1.1,
		}),
		last:         prometheus.NewGauge(prometheus.GaugeOpts(opts("last_evaluation_seconds", "Time as of which rules were evaluated last, unix time."))),
		late:         prometheus.NewGauge(prometheus.GaugeOpts(opts("late_seconds", "How much later than it should the last round was evaluated."))),
		reloadFailed: prometheus.NewGauge(prometheus.GaugeOpts(opts("reload_failed", "1 if the rule files have mistakes, so that the rules are those from before."))),
		notRecorded:  prometheus.NewGauge(prometheus.GaugeOpts(opts("not_recorded", "1 if what rules record isn't stored: alerts are told all the same."))),
		alerts:       prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("alerts", "Alerts by state.")), []string{"state"}),
		changes:      prometheus.NewCounterVec(prometheus.CounterOpts(opts("changes_total", "Changes of alerts stored in WEIR_ALERTS, by the state after it.")), []string{"state"}),
		sent:         prometheus.NewCounterVec(prometheus.CounterOpts(opts("sent_total", "What was sent to sinks, by sink and result.")), []string{"sink", "result"}),
	}
	r.MustRegister(m.evaluations, m.failures, m.duration, m.last, m.late, m.reloadFailed, m.notRecorded, m.alerts, m.changes, m.sent)
	return m
}
