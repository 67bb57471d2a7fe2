// Package recorded keeps in memory what rules record, as Prometheus's storage:
// the alerter's rules, the gateway and `weir query` look at the same series.
//
// The alerter writes them to WEIR_RECORDED; a [Follower] reads that for as long
// as it runs, [Streams] for each question. Of each series the first sample of a
// time counts, and none that is older than the last. Memory is bounded in bytes:
// the oldest samples go first.
package recorded
