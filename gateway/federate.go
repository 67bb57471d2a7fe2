package gateway

import (
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
)

// federate hands series to another Prometheus, as Prometheus does: those that
// match[] selects, native histograms only in protobuf. They are the sums that
// /metrics/latency shows and not the engine's, which begin with the history that
// is kept and would fall when its begin moves.
func (g *gateway) federate(w http.ResponseWriter, r *http.Request) {
	g.metrics.answered.WithLabelValues("federate").Inc()
	selectors, err := promql.ParseSelectors(r.URL.Query()["match[]"])
	if err != nil {
		g.metrics.refused.WithLabelValues("federate").Inc()
		http.Error(w, fmt.Sprintf("invalid parameter %q: %v", "match[]", err), http.StatusBadRequest)
		return
	}
	families := g.exporter.Federate(r, func(name string, own []query.Label) bool {
		for _, s := range selectors {
			if selects(s, name, own) {
				return true
			}
		}
		return false
	})
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	protobuf := format.FormatType() == expfmt.TypeProtoDelim || format.FormatType() == expfmt.TypeProtoText || format.FormatType() == expfmt.TypeProtoCompact
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", string(format))
	encoder := expfmt.NewEncoder(w, format)
	for _, f := range families {
		if f.GetType() == dto.MetricType_HISTOGRAM && !protobuf {
			continue
		}
		if encoder.Encode(f) != nil {
			return // the scraper is gone
		}
	}
	if end, ok := encoder.(io.Closer); ok {
		_ = end.Close() // it may be gone, too
	}
}

func selects(matchers []*labels.Matcher, name string, own []query.Label) bool {
	for _, m := range matchers {
		value := ""
		if m.Name == model.MetricNameLabel {
			value = name
		}
		for _, l := range own {
			if l.Name == m.Name {
				value = l.Value
			}
		}
		if !m.Matches(value) {
			return false
		}
	}
	return true
}
