// Package shop is Weir's pipeline in one process, but for the kernel: a
// nats-server, the enricher and the aggregator, and in place of the agent a
// shop of services whose requests are made up: with a past, a queue that grows,
// errors, and names that attack whoever shows them. The page's tests look at it.
package shop
