package proto

import (
	"errors"
	"fmt"
	"math"
)

// maxFloatBuckets bounds the buckets and spans of a recorded histogram: its
// message has room for no more.
const maxFloatBuckets = MaxMessageBytes / 9

// DecodeRecorded decodes a message of weir.recorded.*. It refuses what is longer
// than MaxMessageBytes or of a higher version; it skips keys it doesn't know.
func DecodeRecorded(b []byte) (*Recorded, error) {
	m := new(Recorded)
	r := newReader(b)
	var strings []string
	var indices [][]uint64 // of each series: the rule, then its labels' names and values
	for key := range r.fields {
		switch string(key) {
		case "v":
			m.V = r.version(RecordedVersion)
		case "group":
			m.Group = r.string()
		case "evaluated_ns":
			m.EvaluatedNS = r.int()
		case "time_ns":
			m.TimeNS = r.int()
		case "strings":
			for range r.array(MaxMessageBytes) {
				s := r.string()
				if r.err != nil {
					break
				}
				strings = append(strings, s)
			}
		case "series":
			for range r.array(MaxMessageBytes) {
				s, of := r.recordedSeries()
				if r.err != nil {
					break
				}
				m.Series, indices = append(m.Series, s), append(indices, of)
			}
		default:
			r.skip()
		}
	}
	if m.V == 0 {
		r.fail(errNoVersion)
	}
	err := r.end()
	if err == nil {
		err = m.name(strings, indices)
	}
	if err != nil {
		return nil, fmt.Errorf("decode what was recorded: %w", err)
	}
	return m, nil
}

// name puts the strings where series have their indices.
func (m *Recorded) name(strings []string, indices [][]uint64) error {
	for i, of := range indices {
		for _, n := range of {
			if n >= uint64(len(strings)) {
				return fmt.Errorf("string %d of %d", n, len(strings))
			}
		}
		s := &m.Series[i]
		s.Rule = strings[of[0]]
		s.Labels = make([]RecordedLabel, 0, len(of)/2)
		for j := 1; j < len(of); j += 2 {
			l := RecordedLabel{strings[of[j]], strings[of[j+1]]}
			if j > 1 && s.Labels[len(s.Labels)-1].Name >= l.Name {
				return fmt.Errorf("labels %q and %q aren't in order", s.Labels[len(s.Labels)-1].Name, l.Name)
			}
			s.Labels = append(s.Labels, l)
		}
	}
	return nil
}

// recordedSeries reads a series, its strings as their indices.
func (r *reader) recordedSeries() (s RecordedSeries, of []uint64) {
	of = make([]uint64, 1, 9)
	for key := range r.fields {
		switch string(key) {
		case "rule":
			of[0] = r.uint()
		case "labels":
			n := r.array(2 * MaxRecordedLabels)
			if n%2 != 0 || len(of) > 1 {
				r.fail(errors.New("labels aren't pairs"))
			}
			for range n {
				of = append(of, r.uint())
			}
		case "value":
			f := r.float()
			s.Value = &f
		case "histogram":
			s.Histogram = r.floatHistogram()
		default:
			r.skip()
		}
	}
	if len(of) == 1 {
		r.fail(errors.New("a series has no labels"))
	}
	if s.Value != nil && s.Histogram != nil {
		r.fail(errors.New("a sample is a number and a histogram"))
	}
	return s, of
}

func (r *reader) floatHistogram() *FloatHistogram {
	h := new(FloatHistogram)
	for key := range r.fields {
		switch string(key) {
		case "schema":
			h.Schema = r.int32()
		case "hint":
			h.Hint = r.uint32(3)
		case "count":
			h.Count = r.float()
		case "sum":
			h.Sum = r.float()
		case "zero_threshold":
			h.ZeroThreshold = r.float()
		case "zero_count":
			h.ZeroCount = r.float()
		case "spans":
			h.PositiveSpans = r.spans()
		case "buckets":
			h.PositiveBuckets = r.floats()
		case "negative_spans":
			h.NegativeSpans = r.spans()
		case "negative_buckets":
			h.NegativeBuckets = r.floats()
		case "bounds":
			h.Bounds = r.floats()
		default:
			r.skip()
		}
	}
	for _, side := range []struct {
		spans   []Span
		buckets []float64
	}{{h.PositiveSpans, h.PositiveBuckets}, {h.NegativeSpans, h.NegativeBuckets}} {
		n := uint64(0)
		for _, s := range side.spans {
			n += uint64(s.Length)
		}
		if n != uint64(len(side.buckets)) {
			r.fail(fmt.Errorf("spans of %d buckets, there are %d", n, len(side.buckets)))
		}
	}
	return h
}

func (r *reader) spans() (all []Span) {
	n := r.array(2 * maxFloatBuckets)
	if n%2 != 0 {
		r.fail(errors.New("spans aren't pairs"))
	}
	for i := 0; i < n/2 && r.err == nil; i++ {
		all = append(all, Span{Offset: r.int32(), Length: r.uint32(math.MaxInt32)})
	}
	return all
}

func (r *reader) floats() (all []float64) {
	n := r.array(maxFloatBuckets)
	for i := 0; i < n && r.err == nil; i++ {
		all = append(all, r.float())
	}
	return all
}

// float reads a float64.
func (r *reader) float() float64 {
	if c := r.code(); c != 0xcb {
		r.fail(fmt.Errorf("code %#x is not a float64", c))
		return 0
	}
	return math.Float64frombits(r.number(8))
}
