// Package api answers over NATS what the commands do, for programs without
// msgpack: requests and answers are JSON, on weir.api.latency, weir.api.map and
// weir.api.events (docs/wire.md).
//
// It reads the streams as an ordinary subscriber of events does. `weir up` and
// `weir gateway` run it; any number may, each request goes to one of them.
// Questions are bounded in rows, bytes, time and number; a mistake is answered
// with the field and what is wrong with it.
package api
