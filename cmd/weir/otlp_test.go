package main

import (
	"maps"
	"testing"

	"github.com/spf13/pflag"
)

// OpenTelemetry's variables are read as its SDKs read them: each header is
// percent-encoded by itself, and a preference for low memory is delta.
func TestOpenTelemetryVariables(t *testing.T) {
	flags := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
	var f otlpFlags
	f.add(flags)
	variables := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":                       "http://collector:4318",
		"OTEL_EXPORTER_OTLP_HEADERS":                        `authorization=Basic%20a%2Cb%3D, x-quoted="1"`,
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "LowMemory",
		"OTEL_EXPORTER_OTLP_TIMEOUT":                        "1500",
	}
	c, err := f.config(flags, func(name string) (string, bool) { v, ok := variables[name]; return v, ok })
	want := map[string]string{"authorization": "Basic a,b=", "x-quoted": `"1"`}
	if err != nil || !maps.Equal(c.Headers, want) || !c.Delta || c.Timeout.Milliseconds() != 1500 || c.Metrics != "http://collector:4318/v1/metrics" {
		t.Errorf("%+v %v, want headers %v, deltas, 1.5 s", c, err, want)
	}
}
