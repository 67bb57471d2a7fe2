package promql

import "testing"

// The querier works sums out within any function that doesn't look at its argument.
func TestSumsInFunctions(t *testing.T) {
	const quantile = "histogram_quantile(0.9, sum(rate(http_server_request_duration_seconds[5m])))"
	stands := func(of string) string { return `{__weir_sum__="` + of + `"}` }
	for expr, want := range map[string]string{
		"sort_desc(" + quantile + ")":             "sort_desc(" + stands(quantile) + ")",
		"round(clamp_max((" + quantile + "), 1))": "round(clamp_max((" + stands(quantile) + "), 1))",
		"absent((" + quantile + "))":              "absent((" + quantile + "))",
		"timestamp(" + quantile + ")":             "timestamp(" + quantile + ")",
		"timestamp(1 * " + quantile + ")":         "timestamp(1 * " + stands(quantile) + ")",
	} {
		e, err := summing{newParser()}.ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.String(); got != want {
			t.Errorf("%s is left as %s, want %s", expr, got, want)
		}
	}
}
