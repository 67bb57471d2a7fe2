package export

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the exporter says of itself. Items are data points or spans.
type metrics struct {
	undecodable prometheus.Counter

	sent, dropped, retries, expired *prometheus.CounterVec
	queued, success                 *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, t *table, counting func() bool) *metrics {
	const prefix = "weir_gateway_otlp_"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, append([]string{"signal"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, []string{"signal"})
	}
	m := &metrics{
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_gateway_export_undecodable_total", Help: "Messages that could not be read for the exporters.",
		}),
		sent:    counter("sent_total", "Data points and spans that the receiver has taken."),
		dropped: counter("dropped_total", "Data points and spans that the receiver has not taken, by reason.", "reason"),
		retries: counter("retries_total", "Requests that are sent again."),
		expired: counter("expired_messages_total", "Messages that left their stream while the receiver took nothing."),
		queued:  gauge("queued", "Data points or spans in the request that is being sent."),
		success: gauge("last_success_timestamp_seconds", "When the receiver last took a request."),
	}
	r.MustRegister(m.undecodable, m.sent, m.dropped, m.retries, m.expired, m.queued, m.success,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_gateway_export_counting", Help: "1 if what is stored now is counted, 0 if nobody asks for it."},
			func() float64 {
				if counting() {
					return 1
				}
				return 0
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_gateway_export_series", Help: "Series that /metrics/latency has."},
			func() float64 { n, _ := t.size(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_gateway_export_series_overflow_total", Help: "Deltas counted in an overflow series, since there were too many series.",
		}, func() float64 { _, n := t.size(); return float64(n) }))
	return m
}
