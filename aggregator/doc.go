// Package aggregator sums enriched events into histograms: WEIR_ENRICHED →
// WEIR_LATENCY, partition by partition.
//
// It then sums WEIR_LATENCY into minutes, WEIR_ROLLUP, so that a long past is
// read in a sixth of the messages or fewer.
//
// A window's histogram is the sum of its deltas. Each commit stores, in one
// atomic batch, the deltas of everything read since the last commit and a
// record of how far that was. The record is the only state: whatever happens,
// reading goes on from the last one, and numbers of frames decide what is new.
package aggregator
