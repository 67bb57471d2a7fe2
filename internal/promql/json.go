package promql

import (
	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/jsonutil"
)

// Elements are a value's parts as JSON, as Prometheus's API writes them: a
// vector's samples, a matrix's series; a scalar and a string are one. More bytes
// than most are a [*LimitError].
func Elements(v parser.Value, most int) (out [][]byte, err error) {
	bytes := 0
	element := func(write func(*jsoniter.Stream)) {
		if bytes > most {
			return
		}
		s := jsoniter.NewStream(jsoniter.ConfigCompatibleWithStandardLibrary, nil, 512)
		write(s)
		out = append(out, s.Buffer())
		bytes += len(s.Buffer())
	}
	switch v := v.(type) {
	case promql.Vector:
		for _, sample := range v {
			element(func(s *jsoniter.Stream) { writeSample(s, sample) })
		}
	case promql.Matrix:
		for _, series := range v {
			element(func(s *jsoniter.Stream) { writeSeries(s, series) })
		}
	case promql.Scalar:
		element(func(s *jsoniter.Stream) { writeNumber(s, v.T, v.V) })
	case promql.String:
		element(func(s *jsoniter.Stream) {
			writePoint(s, v.T, func() { s.WriteString(v.V) })
		})
	}
	if bytes > most {
		return nil, tooLarge(most)
	}
	return out, nil
}

func writeSample(s *jsoniter.Stream, sample promql.Sample) {
	s.WriteObjectStart()
	writeMetric(s, sample.Metric)
	s.WriteMore()
	if sample.H != nil {
		s.WriteObjectField("histogram")
		writeHistogram(s, sample.T, sample.H)
	} else {
		s.WriteObjectField("value")
		writeNumber(s, sample.T, sample.F)
	}
	s.WriteObjectEnd()
}

func writeSeries(s *jsoniter.Stream, series promql.Series) {
	s.WriteObjectStart()
	writeMetric(s, series.Metric)
	writeArray(s, "values", len(series.Floats), func(i int) { writeNumber(s, series.Floats[i].T, series.Floats[i].F) })
	writeArray(s, "histograms", len(series.Histograms), func(i int) { writeHistogram(s, series.Histograms[i].T, series.Histograms[i].H) })
	s.WriteObjectEnd()
}

// writeArray writes another field of an object, if it has elements.
func writeArray(s *jsoniter.Stream, name string, n int, element func(int)) {
	for i := range n {
		s.WriteMore()
		if i == 0 {
			s.WriteObjectField(name)
			s.WriteArrayStart()
		}
		element(i)
	}
	if n > 0 {
		s.WriteArrayEnd()
	}
}

func writeMetric(s *jsoniter.Stream, l labels.Labels) {
	s.WriteObjectField("metric")
	s.WriteVal(l.Map())
}

func writeNumber(s *jsoniter.Stream, t int64, f float64) {
	writePoint(s, t, func() { jsonutil.MarshalFloat(f, s) })
}

func writeHistogram(s *jsoniter.Stream, t int64, h *histogram.FloatHistogram) {
	writePoint(s, t, func() { jsonutil.MarshalHistogram(h, s) })
}

func writePoint(s *jsoniter.Stream, t int64, value func()) {
	s.WriteArrayStart()
	jsonutil.MarshalTimestamp(t, s)
	s.WriteMore()
	value()
	s.WriteArrayEnd()
}
