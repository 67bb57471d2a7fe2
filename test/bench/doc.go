// Package bench measures every figure that Weir has a target for and prints
// them in a table: what is measured, the target, the figure, and how far it is
// from the target (1.00 is at it, less is better).
//
// It runs shortly with the tests, so that it can't rot. WEIR_BENCH=full (make
// bench) takes its time and writes the table into docs/performance.md.
package bench
