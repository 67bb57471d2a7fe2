// Package rules holds tests of rule files with promtool: of those that come with
// Weir, of what `weir slo generate` prints, and of rules as Sloth and Pyrra write
// them. test/cluster/build makes promtool; without it they skip, and fail when
// WEIR_REQUIRE=all is set.
package rules
