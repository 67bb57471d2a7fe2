// Package export holds tests of what the gateway gives to other systems, with
// the systems themselves: a Prometheus that scrapes it and takes OTLP from it.
// test/cluster/build makes the Prometheus; without it they skip, and fail when
// WEIR_REQUIRE=all is set.
package export
