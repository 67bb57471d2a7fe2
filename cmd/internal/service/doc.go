// Package service is what the main packages of all services share: settings
// from flags, environment and a file, logs, and the port with /healthz,
// /readyz and /metrics, and waiting for NATS.
package service
