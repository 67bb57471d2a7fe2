// Package alertmanager holds tests of what an Alertmanager's receivers hear of
// `weir alerter`, with the real one: alerters are killed, two of them run, the
// Alertmanager is away, alerts are silenced. test/cluster/build makes the
// Alertmanager; without it they skip, and fail when WEIR_REQUIRE=all is set.
package alertmanager
