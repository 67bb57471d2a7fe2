// Package proto is what travels on NATS between Weir's parts and to its
// subscribers: the events, the frames that carry many of them, the latency
// messages, the commit records, and the subjects and streams they live on.
//
// It is the public Go API for subscribers: decode with [Frame.Decode],
// [DecodeLatency] and [DecodeCommit]. Decoders check every limit before they
// allocate, skip keys they do not know and refuse a higher major version.
// docs/wire.md describes the same formats for other languages.
package proto
