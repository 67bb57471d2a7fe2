// Package http1 turns the ordered segments of one TCP connection into HTTP/1.x
// exchanges. The agent's connection tracker calls it; one goroutine per Shared.
//
// It works in stream offsets: a Content-Length or a chunk header says where the
// next interesting byte is, so bodies need not be seen. Where captured bytes
// end too early it falls back, in this order, to the last bytes of a segment
// (the end of a chunked body), to the next turn that begins like a message,
// and to the end of the connection. Every request whose first line was seen is
// reported once: as an exchange, or through Sink.Lost when it can't be told
// which response is its own.
package http1
