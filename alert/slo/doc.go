// Package slo turns service level objectives, written in OpenSLO v1, into rules
// of Prometheus: recordings of the share of bad requests over several windows,
// and alerts on how fast that uses up the error budget.
//
// In go YAML files ([Read]), out come objectives and, of those, rule groups
// ([Compile], [Marshal]) that `weir alerter` evaluates and a Prometheus too.
// cmd/weir calls it. Nothing is asked of a server here: mistakes in files, with
// their line and column, are all that can go wrong.
//
// docs/slo.md says what is understood and what the rules mean.
package slo
