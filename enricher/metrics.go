package enricher

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	frames, events, undecodable, foreign, tooLarge, unresolved, stale, waited, heard prometheus.Counter
	lag                                                                              *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "weir", Subsystem: "enricher", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		frames:      counter("frames_total", "Frames enriched and stored."),
		events:      counter("events_total", "Events in these frames."),
		undecodable: counter("undecodable_total", "Frames left out because they could not be decoded: of a newer version, or broken."),
		foreign:     counter("foreign_total", "Messages left out because they are no frames of the agent whose lane they are on: somebody else put them there."),
		tooLarge:    counter("too_large_total", "Frames stored without names, with which they would have been too large."),
		unresolved:  counter("unresolved_total", "Events of which an end could not be named."),
		stale:       counter("stale_total", "Events named while the Kubernetes API was away or behind."),
		waited:      counter("waited_total", "Frames that waited for names."),
		heard:       counter("sightings_total", "Sockets that the enrichers of other partitions have told of."),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "weir", Subsystem: "enricher", Name: "lag_frames", Help: "Raw frames not yet read.",
		}, []string{"partition"}),
	}
	r.MustRegister(m.lag)
	return m
}
