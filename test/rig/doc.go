// Package rig runs the real weir binaries for tests: `weir up`, or every
// service as a process of its own, with streams in a folder of the test and
// on free ports. It kills, pauses and restarts them by pid, and asks
// `weir latency` what was counted.
//
// Tests that use it need root and a kernel that Weir supports; without
// WEIR_REQUIRE=all they skip. One rig runs at a time on a machine.
package rig
