// Package promql answers PromQL over Weir's latencies with Prometheus's own
// engine. The gateway, the alerter and `weir query` use it.
//
// In goes a [Source] of deltas by window; the engine sees what Prometheus would
// have if it had scraped an exporter of the same data at the end of each window:
// counters, as native histograms and in the classic forms, that only rise. For
// rates over ranges shorter than two windows they rise evenly within each.
//
// Every bound is refused with its name and what to do ([LimitError]); mistakes
// in an expression have their line and column ([SyntaxError]).
package promql
