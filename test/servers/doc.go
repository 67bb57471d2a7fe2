// Package servers starts real HTTP servers for tests: nginx, Apache, Go, Node,
// Python, and one that can only do one thing at a time. Each runs as a process
// of its own on 127.0.0.1 and ::1 and is stopped by its pid.
//
// All answer the same paths. The first element is free, so that a test can
// tell its own requests apart: /CASE/bytes/N, /CASE/chunked/N, /CASE/status/N,
// /CASE/sleep/MS and POST or PUT /CASE/upload. What a server can't do is in
// its [Kind].
package servers
