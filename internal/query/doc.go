// Package query reads Weir's streams for people: it merges the deltas of
// WEIR_LATENCY over an interval into rows, follows who calls whom, keeps the
// ledger of what was generated, delivered and lost, and filters enriched events.
//
// In go intervals, selections and filters; out come rows that know until when
// they are complete. The commands of cmd/weir and the page call it.
//
// An interval is a set of whole windows. Rows are exact for it once every
// partition's watermark is two seconds past its end; before that the result
// says until when it is complete. Loss is known by node, not by workload, so a
// row's loss is what could belong to it: all of the interval's.
package query
