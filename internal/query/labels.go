package query

import (
	"slices"
	"strings"
)

// Label is a name and a value, as Prometheus writes them.
type Label struct{ Name, Value string }

// MetricName is the Prometheus name of a key's latency:
// http_server_request_duration_seconds.
func (k *Key) MetricName() string {
	return k.Protocol + "_" + k.Side.String() + "_request_duration_seconds"
}

// Labels are a key's labels in the order of their names, without empty ones.
// Names are those of the OpenTelemetry attributes with _ for dots, where there
// is an attribute.
func (k *Key) Labels() []Label {
	method, route, _ := strings.Cut(k.Operation, " ")
	status := k.Status
	if status == k.ErrorType && !isNumber(status) { // there was no status
		status = ""
	}
	labels := []Label{
		{"error_type", k.ErrorType},
		{"http_request_method", method},
		{"http_response_status_code", status},
		{"http_route", route},
		{"namespace", k.Namespace},
		{"peer_namespace", k.PeerNamespace},
		{"peer_workload", k.PeerWorkload},
		{"peer_workload_kind", k.PeerKind},
		{"workload", k.Workload},
		{"workload_kind", k.Kind},
	}
	return slices.DeleteFunc(labels, func(l Label) bool { return l.Value == "" })
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
