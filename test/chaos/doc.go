// Package chaos kills and pauses Weir's processes at random moments while
// counted requests run, and compares what was counted. The seed is printed;
// WEIR_SEED repeats a run.
package chaos
