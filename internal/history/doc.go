// Package history keeps in memory what WEIR_LATENCY has held of late, so that any
// interval and any PromQL question is answered at once.
//
// It reads the stream and its roll-ups as any subscriber would. Recent windows
// are there first, then half hours of all that is kept, then minutes. Memory is
// bounded; what is missing of an interval is said with the reason. The gateway
// answers from it, and the alerter evaluates rules over it.
package history
