// Package gateway serves Weir's page, and what the page shows as JSON: it reads
// WEIR_LATENCY once, keeps 24 hours of it in memory, and answers any number of
// viewers from there. Single requests come from WEIR_ENRICHED when asked for.
//
// In go the streams, as an ordinary subscriber sees them; out come answers over
// HTTP. `weir up` and `weir gateway` run it. Memory, time and the number of
// viewers are bounded; what a bound turned away is said in the answer and
// counted. A slow viewer loses frames, never anyone else. While NATS is away
// the page shows what is known and how old it is.
package gateway
