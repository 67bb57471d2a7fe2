// Package aggregator sums enriched events into histograms: WEIR_ENRICHED →
// WEIR_LATENCY, partition by partition.
//
// A window's histogram is the sum of its deltas. Each commit stores, in one
// atomic batch, the deltas of everything read since the last commit and a
// record of how far that was. The record is the only state: whatever happens,
// reading goes on from the last one, and numbers of frames decide what is new.
package aggregator
