// Package replay plays the past: enriched events or latency messages of an
// interval, at the speed they were recorded or another, from JetStream or from a
// file, to a file, a pipe, or a subject that any subscriber can read.
//
// A [Source] gives items in the order they were stored, one at a time; [Run]
// paces them and hands each to the sinks. Nothing is collected: memory is that
// of one message, and of a row group where the file is Parquet.
//
// From JetStream to a subject the bytes of messages stay what they were. A file
// holds rows, exactly those of the interval, from which messages are made anew.
package replay
