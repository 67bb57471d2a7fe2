// Package bus is the only code that knows NATS and JetStream. It connects,
// provisions the streams, publishes through fenced lanes ([Lane]), reads a
// stream in order ([Reader]) and decides which replica works on what ([Lease]).
//
// Every part is built so that a crash or a partition at any time loses and
// doubles nothing: a lane has one publish in flight and repeats the same bytes
// until they are answered, a reader goes on after the last message it gave,
// and a lease is for liveness only, since the fence is what keeps rivals apart.
package bus
