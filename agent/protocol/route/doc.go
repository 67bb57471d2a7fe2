// Package route turns request paths into templates of few distinct values:
// /users/123 becomes /users/{id}. The agent calls it for every exchange before
// publishing, with a key per workload; the number of operations a key may have
// is bounded, the rest is "{other}".
//
// It also keeps secrets out of what is published: a path segment that looks
// generated rather than written by a person (tokens, hashes, long numbers,
// addresses) never gets through.
package route
