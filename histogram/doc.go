// Package histogram is the base-2 exponential histogram of OpenTelemetry, in
// the form Weir uses: values are durations recorded as integer nanoseconds,
// buckets are bounds in seconds, scale 5 unless the range is too wide.
// Recording in one or merging many gives the same histogram bit for bit.
//
// The relative error of a quantile is at most 1.08 % at scale 5. It converts
// without loss to an OTLP exponential histogram and to a Prometheus native
// histogram (bucket index + 1).
package histogram
