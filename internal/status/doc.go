// Package status serves what operators ask of every service, on one port:
// /healthz (the process lives), /readyz (it does its work) and /metrics.
package status
