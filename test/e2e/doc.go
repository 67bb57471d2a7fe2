// Package e2e sends counted requests to real servers while `weir up` runs, and
// compares what Weir says with what the senders know: every request counted
// once on each side, with its status, its latency and the right names.
package e2e
