package proto

import (
	"encoding/binary"
	"fmt"
	"math"
)

// SplitRecorded encodes a message, as several if it is too long for one.
func SplitRecorded(m *Recorded) ([][]byte, error) {
	data, err := encodeRecorded(m)
	if err != nil {
		return nil, err
	}
	if len(data) <= MaxMessageBytes {
		return [][]byte{data}, nil
	}
	half := len(m.Series) / 2
	if half == 0 {
		return nil, fmt.Errorf("encode what group %q recorded: a series of %d bytes, at most %d are allowed", m.Group, len(data), MaxMessageBytes)
	}
	one, other := *m, *m
	one.Series, other.Series = m.Series[:half], m.Series[half:]
	first, err := SplitRecorded(&one)
	if err != nil {
		return nil, err
	}
	second, err := SplitRecorded(&other)
	return append(first, second...), err
}

// recordedStrings are the strings of a message, each once.
type recordedStrings struct {
	index map[string]uint64
	all   []string
}

func (s *recordedStrings) of(text string) uint64 {
	i, known := s.index[text]
	if !known {
		i = uint64(len(s.all))
		s.index[text] = i
		s.all = append(s.all, text)
	}
	return i
}

func encodeRecorded(m *Recorded) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("encode what group %q recorded: %w", m.Group, err)
	}
	strings := &recordedStrings{index: map[string]uint64{}}
	series := appendArray32(nil, len(m.Series))
	for i := range m.Series {
		s := &m.Series[i]
		if len(s.Labels) == 0 || len(s.Labels) > MaxRecordedLabels {
			return fail(fmt.Errorf("a series has %d labels, 1 to %d are allowed", len(s.Labels), MaxRecordedLabels))
		}
		series = s.append(series, strings)
	}
	b := appendUint(appendString(appendMap(nil, 6), "v"), RecordedVersion)
	b = appendString(appendString(b, "group"), m.Group)
	b = appendInt(appendString(b, "evaluated_ns"), m.EvaluatedNS)
	b = appendInt(appendString(b, "time_ns"), m.TimeNS)
	b = appendArray32(appendString(b, "strings"), len(strings.all))
	for _, s := range append(strings.all, m.Group) {
		if err := checkString(s); err != nil {
			return fail(err)
		}
	}
	for _, s := range strings.all {
		b = appendString(b, s)
	}
	return append(appendString(b, "series"), series...), nil
}

func (s *RecordedSeries) append(b []byte, strings *recordedStrings) []byte {
	keys := 2
	if s.Histogram != nil || s.Value != nil {
		keys = 3
	}
	b = appendUint(appendString(appendMap(b, keys), "rule"), strings.of(s.Rule))
	b = appendArray(appendString(b, "labels"), 2*len(s.Labels))
	for _, l := range s.Labels {
		b = appendUint(appendUint(b, strings.of(l.Name)), strings.of(l.Value))
	}
	if h := s.Histogram; h != nil {
		return h.append(appendString(b, "histogram"))
	}
	if s.Value != nil {
		b = appendFloat(appendString(b, "value"), *s.Value)
	}
	return b
}

func (h *FloatHistogram) append(b []byte) []byte {
	b = appendInt(appendString(appendMap(b, 11), "schema"), int64(h.Schema))
	b = appendUint(appendString(b, "hint"), uint64(h.Hint))
	b = appendFloat(appendString(b, "count"), h.Count)
	b = appendFloat(appendString(b, "sum"), h.Sum)
	b = appendFloat(appendString(b, "zero_threshold"), h.ZeroThreshold)
	b = appendFloat(appendString(b, "zero_count"), h.ZeroCount)
	b = appendSpans(appendString(b, "spans"), h.PositiveSpans)
	b = appendFloats(appendString(b, "buckets"), h.PositiveBuckets)
	b = appendSpans(appendString(b, "negative_spans"), h.NegativeSpans)
	b = appendFloats(appendString(b, "negative_buckets"), h.NegativeBuckets)
	return appendFloats(appendString(b, "bounds"), h.Bounds)
}

func appendSpans(b []byte, spans []Span) []byte {
	b = appendArray32(b, 2*len(spans))
	for _, s := range spans {
		b = appendUint(appendInt(b, int64(s.Offset)), uint64(s.Length))
	}
	return b
}

func appendFloats(b []byte, all []float64) []byte {
	b = appendArray32(b, len(all))
	for _, f := range all {
		b = appendFloat(b, f)
	}
	return b
}

func appendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(f))
}

// appendArray32 begins an array of any length.
func appendArray32(b []byte, n int) []byte {
	if n <= math.MaxUint16 {
		return appendArray(b, n)
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}
