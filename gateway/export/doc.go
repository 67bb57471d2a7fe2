// Package export gives WEIR_LATENCY and WEIR_ENRICHED to other systems: the
// histograms to whoever scrapes /metrics/latency or takes remote write, and
// histograms and spans to an OTLP receiver. It is a subscriber of its own, and shares nothing with the
// page. Nothing it sends to can hold it up: the streams wait, nothing else does.
// docs/export.md says what is promised.
package export
