// Package demo is a small shop to look at: five services, each a process of its
// own, that call each other over HTTP on loopback, and a load generator that
// counts what it sends. One service has a single worker and too much to do, so
// requests wait in its socket. `weir up --demo` runs it with [Run]; [Child] is
// one of its processes.
//
//	load → frontend → catalogue → stock
//	                → cart → stock
//	                → payment (overloaded)
//
// All processes end with the one that started them, however that ends: they
// read a pipe whose other end only the parent holds.
package demo
