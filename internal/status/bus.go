package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
)

// RegisterBus adds the counters of a service's connection to its metrics.
func RegisterBus(r prometheus.Registerer, service string, c *bus.Conn) {
	for _, m := range []struct {
		name, help string
		value      func(bus.Stats) uint64
	}{
		{"nats_errors_total", "Asynchronous errors of the connection.", func(s bus.Stats) uint64 { return s.Errors }},
		{"nats_denied_total", "Publishes and subscriptions that the user may not make.", func(s bus.Stats) uint64 { return s.Denied }},
		{"nats_disconnects_total", "Times the connection was lost.", func(s bus.Stats) uint64 { return s.Disconnects }},
		{"publish_retries_total", "Publishes sent again because they were not answered or refused for now.", func(s bus.Stats) uint64 { return s.Retries }},
		{"publish_duplicates_total", "Publishes that turned out to be stored already.", func(s bus.Stats) uint64 { return s.Duplicates }},
		{"read_resets_total", "Readers that began a new consumer.", func(s bus.Stats) uint64 { return s.Resets }},
	} {
		opts := prometheus.CounterOpts{Namespace: "weir", Subsystem: service, Name: m.name, Help: m.help}
		r.MustRegister(prometheus.NewCounterFunc(opts, func() float64 { return float64(m.value(c.Stats())) }))
	}
}
