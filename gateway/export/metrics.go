package export

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the exporter says of itself.
type metrics struct {
	undecodable prometheus.Counter
}

func newMetrics(r prometheus.Registerer, t *table) *metrics {
	m := &metrics{
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_gateway_export_undecodable_total", Help: "Messages that could not be read for the exporters.",
		}),
	}
	r.MustRegister(m.undecodable,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_gateway_export_series", Help: "Series that /metrics/latency has."},
			func() float64 { n, _ := t.size(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_gateway_export_series_overflow_total", Help: "Deltas counted in an overflow series, since there were too many series.",
		}, func() float64 { _, n := t.size(); return float64(n) }))
	return m
}
