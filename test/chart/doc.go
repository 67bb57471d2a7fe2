// Package chart renders charts/weir for tests, with the helm that
// test/cluster/build makes. Its own tests compare renderings with what an install
// needs, refuse values with mistakes, and put everything before a real API server.
package chart
