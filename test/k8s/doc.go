// Package k8s installs the chart on a real cluster, the two nodes of
// test/cluster, and compares what Weir counts of pods' requests, and what it
// calls them, with what was sent and with what the API says: while nothing
// happens, while everything of Weir is deleted, drained, upgraded and rolled
// back, while pods are replaced and their addresses reused, and while the API
// server is away. And a rule of the chart's values fires once, whichever replica of
// the alerter is there.
//
// The first test starts the cluster and installs; the end of the run stops it,
// unless WEIR_CLUSTER_KEEP=1 asks to leave it for a look (then the next run uses
// it). Its binaries take minutes to build for the first time; run
// test/cluster/build before.
package k8s
