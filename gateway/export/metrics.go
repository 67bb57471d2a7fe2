package export

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the exporter says of itself.
type metrics struct {
	undecodable prometheus.Counter
	expired     *prometheus.CounterVec
	otlp        *exits // by signal
	remoteWrite *exits
}

// exits count what is sent.
type exits struct {
	sent, dropped, retries *prometheus.CounterVec
	queued, success        *prometheus.GaugeVec
}

// newExits makes those of one protocol; items is what it sends.
func newExits(r prometheus.Registerer, prefix, items string, labels ...string) *exits {
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, append(slices.Clone(labels), more...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
	}
	x := &exits{
		sent:    counter("sent_total", items+" that the receiver has taken."),
		dropped: counter("dropped_total", items+" that the receiver has not taken, by reason.", "reason"),
		retries: counter("retries_total", "Requests that are sent again."),
		queued:  gauge("queued", items+" in the request that is being sent."),
		success: gauge("last_success_timestamp_seconds", "When the receiver last took a request."),
	}
	r.MustRegister(x.sent, x.dropped, x.retries, x.queued, x.success)
	return x
}

// of are those of a signal.
func (x *exits) of(s signal) *exits {
	l := prometheus.Labels{"signal": s.name}
	return &exits{
		sent: x.sent.MustCurryWith(l), dropped: x.dropped.MustCurryWith(l), retries: x.retries.MustCurryWith(l),
		queued: x.queued.MustCurryWith(l), success: x.success.MustCurryWith(l),
	}
}

func newMetrics(r prometheus.Registerer, t *table, counting func() bool) *metrics {
	m := &metrics{
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_gateway_export_undecodable_total", Help: "Messages that could not be read for the exporters.",
		}),
		expired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_gateway_otlp_expired_messages_total", Help: "Messages that left their stream while the receiver took nothing.",
		}, []string{"signal"}),
		otlp:        newExits(r, "weir_gateway_otlp_", "Data points and spans", "signal"),
		remoteWrite: newExits(r, "weir_gateway_remote_write_", "Series"),
	}
	r.MustRegister(m.undecodable, m.expired,
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
