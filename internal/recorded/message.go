package recorded

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/weirstream/weir/proto"
)

// Sample is one of a rule's series at a time: a number or a histogram, or its end.
type Sample struct {
	Rule   string // its ID
	Labels labels.Labels
	F      float64
	H      *histogram.FloatHistogram
}

// Ending is the end of a series: it has no value from then on.
func Ending(rule string, of labels.Labels) Sample {
	return Sample{Rule: rule, Labels: of, F: staleMarker}
}

// Ends reports whether a sample ends its series.
func (s *Sample) Ends() bool { return s.H == nil && value.IsStaleNaN(s.F) }

// ErrLabels says that a series can't be stored.
var ErrLabels = errors.New("a recorded series has labels that can't be stored")

// CheckLabels reports whether a series with these labels can be stored.
func CheckLabels(of labels.Labels) error {
	if n := of.Len(); n > proto.MaxRecordedLabels {
		return fmt.Errorf("%w: %d, at most %d are allowed", ErrLabels, n, proto.MaxRecordedLabels)
	}
	return of.Validate(func(l labels.Label) error {
		if max(len(l.Name), len(l.Value)) > proto.MaxStringBytes {
			return fmt.Errorf("%w: %.40s… has %d bytes, at most %d are allowed", ErrLabels, l.Name, max(len(l.Name), len(l.Value)), proto.MaxStringBytes)
		}
		return nil
	})
}

// Check reports whether a sample can be stored: what can't be read again would
// take the others of its message with it.
func (s *Sample) Check() error {
	if s.H != nil {
		if err := s.H.Validate(); err != nil {
			return fmt.Errorf("histogram of %s: %w", s.Labels, err)
		}
	}
	return CheckLabels(s.Labels)
}

// Size is about how many bytes a sample takes in a message.
func (s *Sample) Size() int {
	n := len(s.Labels.Bytes(nil)) + 32
	if s.H != nil {
		n += 9*(len(s.H.PositiveBuckets)+len(s.H.NegativeBuckets)+len(s.H.CustomValues)) + 6*(len(s.H.PositiveSpans)+len(s.H.NegativeSpans)) + 128
	}
	return n
}

// Encode makes the messages of what a group gave as of a time; its samples are
// of that time, or earlier by the group's offset.
func Encode(group string, evaluated time.Time, offset time.Duration, samples []Sample) ([][]byte, error) {
	m := &proto.Recorded{
		V: proto.RecordedVersion, Group: group, EvaluatedNS: evaluated.UnixNano(), TimeNS: evaluated.Add(-offset).UnixNano(),
	}
	for i := range samples {
		s := &samples[i]
		of := proto.RecordedSeries{Rule: s.Rule}
		s.Labels.Range(func(l labels.Label) { of.Labels = append(of.Labels, proto.RecordedLabel{Name: l.Name, Value: l.Value}) })
		switch {
		case s.H != nil:
			of.Histogram = packed(s.H)
		case !s.Ends():
			of.Value = &s.F
		}
		m.Series = append(m.Series, of)
	}
	return proto.SplitRecorded(m)
}

// Samples are those of a message.
func Samples(m *proto.Recorded) ([]Sample, error) {
	out := make([]Sample, len(m.Series))
	b := labels.NewScratchBuilder(16)
	for i := range m.Series {
		s := &m.Series[i]
		b.Reset()
		for _, l := range s.Labels {
			b.Add(l.Name, l.Value)
		}
		of := Sample{Rule: s.Rule, Labels: b.Labels(), F: staleMarker}
		switch {
		case s.Histogram != nil:
			if of.H = unpacked(s.Histogram); of.H.Validate() != nil {
				return nil, fmt.Errorf("histogram of %s: %w", of.Labels, of.H.Validate())
			}
		case s.Value != nil:
			if of.F = *s.Value; value.IsStaleNaN(of.F) { // it isn't the writer's to say so
				of.F = math.NaN()
			}
		}
		out[i] = of
	}
	return out, nil
}

func packed(h *histogram.FloatHistogram) *proto.FloatHistogram {
	return &proto.FloatHistogram{
		Schema: h.Schema, Hint: uint32(h.CounterResetHint), Count: h.Count, Sum: h.Sum, ZeroThreshold: h.ZeroThreshold, ZeroCount: h.ZeroCount,
		PositiveSpans: converted[proto.Span](h.PositiveSpans), PositiveBuckets: h.PositiveBuckets,
		NegativeSpans: converted[proto.Span](h.NegativeSpans), NegativeBuckets: h.NegativeBuckets, Bounds: h.CustomValues,
	}
}

func unpacked(h *proto.FloatHistogram) *histogram.FloatHistogram {
	return &histogram.FloatHistogram{
		Schema: h.Schema, CounterResetHint: histogram.CounterResetHint(h.Hint), Count: h.Count, Sum: h.Sum, ZeroThreshold: h.ZeroThreshold, ZeroCount: h.ZeroCount,
		PositiveSpans: converted[histogram.Span](h.PositiveSpans), PositiveBuckets: h.PositiveBuckets,
		NegativeSpans: converted[histogram.Span](h.NegativeSpans), NegativeBuckets: h.NegativeBuckets, CustomValues: h.Bounds,
	}
}

// converted are spans of the other package.
func converted[T, F proto.Span | histogram.Span](spans []F) (out []T) {
	for _, s := range spans {
		out = append(out, T(s))
	}
	return out
}
