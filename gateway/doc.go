// Package gateway serves Weir's page, what the page shows as JSON, and
// Prometheus's HTTP API: internal/history reads WEIR_LATENCY once and keeps 24
// hours of it in memory, from which any number of viewers is answered. What
// exporters send is gateway/export's. Single requests come from WEIR_ENRICHED when asked for.
//
// In go the streams, as an ordinary subscriber sees them; out come answers over
// HTTP. `weir up` and `weir gateway` run it. Memory, time and the number of
// viewers are bounded; what a bound turned away is said in the answer and
// counted. A slow viewer loses frames, never anyone else. While NATS is away
// the page shows what is known and how old it is.
package gateway
