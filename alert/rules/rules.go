// Package rules holds the alerting rules on Weir itself: whether requests are
// lost, how far behind the numbers are, and whether anything is counted.
// weir_test.yaml has their unit tests, in promtool's format.
package rules

import _ "embed"

// Weir is a rule file of Prometheus.
//
//go:embed weir.yaml
var Weir []byte
