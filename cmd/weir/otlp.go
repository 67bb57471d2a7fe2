package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"github.com/weirstream/weir/gateway/export"
)

// otlpFlags say what the gateway sends by OTLP, and where to.
type otlpFlags struct {
	endpoint, metrics, traces string
	protocol                  string
	signals                   []string
	headers                   []string
	headersFile               string
	ca, cert, key             string
	compression, temporality  string
	timeout, interval, slow   time.Duration
	sample                    float64
}

// add adds them. All but the first are for files and the environment:
// docs/export.md lists them, --help doesn't.
func (f *otlpFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.endpoint, "otlp-endpoint", "", "`URL` of an OTLP receiver that histograms are sent to; other settings otlp-… are in docs/export.md")
	hidden := pflag.NewFlagSet("otlp", pflag.ContinueOnError)
	hidden.StringSliceVar(&f.signals, "otlp-signals", []string{"metrics"}, "what is sent to --otlp-endpoint: metrics, traces")
	hidden.StringVar(&f.metrics, "otlp-metrics-endpoint", "", "`URL` for metrics, whole (default --otlp-endpoint)")
	hidden.StringVar(&f.traces, "otlp-traces-endpoint", "", "`URL` for traces, whole (default --otlp-endpoint)")
	hidden.StringVar(&f.protocol, "otlp-protocol", export.HTTP, export.HTTP+" or "+export.GRPC)
	hidden.StringSliceVar(&f.headers, "otlp-headers", nil, "`name=value` pairs sent with each request")
	hidden.StringVar(&f.headersFile, "otlp-headers-file", "", "`file` of more of them, one a line")
	hidden.StringVar(&f.ca, "otlp-ca", "", "`file` of the CA of the receiver's certificate (default the system's)")
	hidden.StringVar(&f.cert, "otlp-cert", "", "`file` of a client certificate, and")
	hidden.StringVar(&f.key, "otlp-key", "", "`file` of its key")
	hidden.StringVar(&f.compression, "otlp-compression", "gzip", "gzip or none")
	hidden.StringVar(&f.temporality, "otlp-temporality", "cumulative", "cumulative or delta")
	hidden.DurationVar(&f.timeout, "otlp-timeout", 10*time.Second, "how long a request may take")
	hidden.DurationVar(&f.interval, "otlp-interval", 30*time.Second, "how often cumulative histograms are sent")
	hidden.Float64Var(&f.sample, "otlp-traces-sample", 0.1, "share of the requests that a span is sent of, besides failed and slow ones")
	hidden.DurationVar(&f.slow, "otlp-traces-slow", time.Second, "requests that took longer are always sent")
	hidden.VisitAll(func(h *pflag.Flag) { h.Hidden = true })
	flags.AddFlagSet(hidden)
}

// otelVariables are those of OpenTelemetry that say what isn't said otherwise.
var otelVariables = []struct {
	variable, flag string
	convert        func(string) string
}{
	{"OTEL_EXPORTER_OTLP_ENDPOINT", "otlp-endpoint", nil},
	{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "otlp-metrics-endpoint", nil},
	{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otlp-traces-endpoint", nil},
	{"OTEL_EXPORTER_OTLP_PROTOCOL", "otlp-protocol", nil},
	{"OTEL_EXPORTER_OTLP_HEADERS", "otlp-headers", unescaped},
	{"OTEL_EXPORTER_OTLP_CERTIFICATE", "otlp-ca", nil},
	{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "otlp-cert", nil},
	{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "otlp-key", nil},
	{"OTEL_EXPORTER_OTLP_COMPRESSION", "otlp-compression", nil},
	{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "otlp-temporality", temporality},
	{"OTEL_EXPORTER_OTLP_TIMEOUT", "otlp-timeout", milliseconds},
	{"OTEL_METRIC_EXPORT_INTERVAL", "otlp-interval", milliseconds},
}

// unescaped is a list whose elements are percent-encoded as one of a flag.
func unescaped(s string) string {
	list := strings.Split(s, ",")
	for i, one := range list {
		if plain, err := url.PathUnescape(one); err == nil {
			list[i] = plain
		}
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(list) // a Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// temporality is that of histograms: low memory is delta for them.
func temporality(s string) string {
	if s = strings.ToLower(s); s == "lowmemory" {
		return "delta"
	}
	return s
}

// milliseconds is a number of them as a duration.
func milliseconds(s string) string {
	if _, err := strconv.Atoi(s); err == nil {
		return s + "ms"
	}
	return s
}

// config checks the settings; the zero value sends nothing. flags are those that
// f was added to.
func (f *otlpFlags) config(flags *pflag.FlagSet, lookup func(string) (string, bool)) (export.OTLP, error) {
	for _, o := range otelVariables {
		value, ok := lookup(o.variable)
		if !ok || value == "" || flags.Changed(o.flag) {
			continue
		}
		if o.convert != nil {
			value = o.convert(value)
		}
		if err := flags.Set(o.flag, value); err != nil {
			return export.OTLP{}, usagef("%s in the environment: %w", o.variable, err)
		}
	}
	metrics, traces, err := f.endpoints()
	if err != nil || metrics == "" && traces == "" {
		return export.OTLP{}, err
	}
	switch {
	case f.protocol != export.HTTP && f.protocol != export.GRPC:
		err = usagef("otlp-protocol %q is not %s or %s", f.protocol, export.HTTP, export.GRPC)
	case f.compression != "gzip" && f.compression != "none":
		err = usagef("otlp-compression %q is not gzip or none", f.compression)
	case f.temporality != "cumulative" && f.temporality != "delta":
		err = usagef("otlp-temporality %q is not cumulative or delta", f.temporality)
	case f.timeout <= 0 || f.interval < time.Second:
		err = usagef("otlp-timeout has to be above 0, otlp-interval a second or more")
	case !(f.sample >= 0 && f.sample <= 1): // NaN isn't either
		err = usagef("otlp-traces-sample %v is not a share from 0 to 1", f.sample)
	case f.slow < 0:
		err = usagef("otlp-traces-slow has to be above 0, or 0 for none")
	case (f.cert == "") != (f.key == ""):
		err = usagef("otlp-cert and otlp-key go together: give both")
	}
	if err != nil {
		return export.OTLP{}, err
	}
	headers, err := readHeaders("otlp", f.headers, f.headersFile)
	return export.OTLP{
		Metrics: metrics, Traces: traces, Protocol: f.protocol, Headers: headers, CA: f.ca, Cert: f.cert, Key: f.key,
		Uncompressed: f.compression == "none", Timeout: f.timeout, Delta: f.temporality == "delta", Interval: f.interval,
		Sample: f.sample, Slow: f.slow,
	}, err
}

// endpoints are where each signal goes, "" for nowhere. Those of a signal are
// whole, below the common one are OTLP's paths.
func (f *otlpFlags) endpoints() (metrics, traces string, err error) {
	for _, s := range f.signals {
		if s != "metrics" && s != "traces" {
			return "", "", usagef("otlp-signals: %q is not metrics or traces", s)
		}
	}
	for _, at := range [][2]string{{"endpoint", f.endpoint}, {"metrics-endpoint", f.metrics}, {"traces-endpoint", f.traces}} {
		if u, err := url.Parse(at[1]); at[1] != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return "", "", usagef("otlp-%s %q is not a URL such as http://collector:4318", at[0], at[1])
		}
	}
	common := func(signal string) string {
		switch {
		case f.endpoint == "" || !slices.Contains(f.signals, signal):
			return ""
		case f.protocol == export.GRPC:
			return f.endpoint
		}
		return strings.TrimSuffix(f.endpoint, "/") + "/v1/" + signal
	}
	return cmp.Or(f.metrics, common("metrics")), cmp.Or(f.traces, common("traces")), nil
}

// readHeaders are those of a flag …-headers and of a file that has one a line.
func readHeaders(of string, given []string, file string) (map[string]string, error) {
	headers, err := nameValues(of+"-headers: number", given)
	if err != nil {
		return nil, err
	}
	if file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s-headers-file: %w", of, err)
		}
		more, err := nameValues(of+"-headers-file: "+file+" line", strings.Split(string(content), "\n"))
		if err != nil {
			return nil, err
		}
		maps.Copy(headers, more)
	}
	for name, value := range headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, usagef("%s-headers: %q can't be the name of a header", of, name)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, usagef("%s-headers: the value of %s has a character that no header can have", of, name)
		}
	}
	return headers, nil
}

// nameValues reads name=value; empty texts are passed over. where says before a
// number which of them is wrong.
func nameValues(where string, texts []string) (map[string]string, error) {
	out := map[string]string{}
	for i, text := range texts {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" { // the value may be a secret
			return nil, usagef("%s %d is not name=value", where, i+1)
		}
		out[name] = strings.TrimSpace(value)
	}
	return out, nil
}
