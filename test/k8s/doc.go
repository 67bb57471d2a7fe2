// Package k8s runs Weir on a real cluster: the two nodes of test/cluster,
// where the demo shop and load generators are pods, and what Weir counts and
// calls them is compared with what was sent and with what the API says.
//
// The first test starts the cluster, and the end of the run stops it, unless
// WEIR_CLUSTER_KEEP=1 asks to leave it for a look. Its binaries take minutes
// to build for the first time; run test/cluster/build before.
package k8s
