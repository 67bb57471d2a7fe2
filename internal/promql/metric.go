package promql

import (
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const lostName = "weir_lost_exchanges_total"

// form is one of the metrics that a series of Weir's is shown as.
type form struct {
	wait bool // the wait before the server read the request, else the whole latency
	kind kind
}

type kind int

const (
	native kind = iota // a native histogram
	count
	sum
	bucket // one series for each of histogram.ClassicBounds and +Inf
)

var suffixes = map[kind]string{native: "", count: "_count", sum: "_sum", bucket: "_bucket"}

// formsOf are all forms of a key.
func formsOf(k *query.Key) []form {
	forms := []form{{false, native}, {false, count}, {false, sum}, {false, bucket}}
	if k.Side == proto.SideServer { // a client doesn't see how long the server waits
		forms = append(forms, form{true, native}, form{true, count}, form{true, sum}, form{true, bucket})
	}
	return forms
}

// name is a form's metric name: http_server_request_duration_seconds_bucket.
func (f form) name(k *query.Key) string {
	name := k.MetricName()
	if f.wait {
		name = strings.Replace(name, "_duration_", "_wait_duration_", 1)
	}
	return name + suffixes[f.kind]
}

func histogramOf(r *query.Row, wait bool) *histogram.Histogram {
	if wait {
		return &r.Wait
	}
	return &r.Hist
}

// labelsOf are a key's labels under a metric's name; le is "" for none.
func labelsOf(b *labels.ScratchBuilder, name, le string, own []query.Label) labels.Labels {
	b.Reset()
	b.Add(model.MetricNameLabel, name)
	if le != "" {
		b.Add(labels.BucketLabel, le)
	}
	for _, l := range own {
		b.Add(l.Name, l.Value)
	}
	b.Sort()
	return b.Labels()
}

// Metadata is what a metric is.
type Metadata struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// Metrics are all metrics there are, by name.
func Metrics() map[string]Metadata {
	all := map[string]Metadata{
		lostName: {"counter", "Exchanges known to have happened and not to be in the latencies, at most.", ""},
	}
	for side, help := range map[proto.Side]string{
		proto.SideServer: "Time from the arrival of a request at the server's host to the last byte of its response.",
		proto.SideClient: "Time from the first byte of a request that leaves the client to its process having read the last byte of the response.",
	} {
		k := query.Key{Side: side, Protocol: "http"}
		for _, f := range formsOf(&k) {
			if f.kind == native {
				m := Metadata{"histogram", help, "seconds"}
				if f.wait {
					m.Help = "Time from the arrival of a request to the first read of it by the server."
				}
				all[f.name(&k)] = m
			}
		}
	}
	return all
}
