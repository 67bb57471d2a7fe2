// Package agent turns what the kernel saw into raw events on WEIR_RAW:
// records from the ring → connections → exchanges → frames → the node's lane.
// [Run] is called by weir-agent and by `weir up`; one agent runs per host.
//
// One goroutine owns every connection, so nothing of it is locked; a second
// one publishes frames and keeps them while NATS is away. What is lost (a
// full ring, too many connections, a full spool) is counted in the frames.
package agent
