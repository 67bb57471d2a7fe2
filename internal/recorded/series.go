package recorded

import (
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	chunkSamples  = 120 // as Prometheus's storage has it
	chunkOverhead = 128 // bytes in memory besides the samples'
	foundOverhead = 256 // bytes of a series that a selector found
)

// series is samples in Prometheus's chunks, one or two bytes each if they change
// little and nine at most.
type series struct {
	labels labels.Labels
	chunks []chunk // in the order of their times; the last grows
	last   int64   // time of the newest sample
	app    chunkenc.Appender
}

type chunk struct {
	chunkenc.Chunk
	from, to int64 // unix milliseconds
	size     int   // bytes in memory
}

// overhead is what a series takes besides its chunks: its labels, also as a key.
func (s *series) overhead() int { return 2*len(s.labels.Bytes(nil)) + 256 }

// add adds a sample later than the last. It returns how many bytes more there are.
func (s *series) add(t int64, f float64, h *histogram.FloatHistogram) (grown int, err error) {
	if n := len(s.chunks); n == 0 || !s.fits(h != nil) {
		if n > 0 {
			grown -= s.chunks[n-1].size
			s.chunks[n-1].Compact()
			grown += s.chunks[n-1].measure()
		}
		if err := s.open(h != nil); err != nil {
			return grown, err
		}
		s.chunks[len(s.chunks)-1].from = t
	}
	end := &s.chunks[len(s.chunks)-1]
	grown -= end.size
	if h == nil {
		s.app.Append(0, t, f)
	} else {
		// It may be laid out anew, and so may the chunk; or a new one begins.
		next, recoded, app, err := s.app.AppendFloatHistogram(nil, 0, t, h.Copy(), false)
		if err != nil {
			return grown + end.size, err
		}
		s.app = app
		switch {
		case next != nil && recoded:
			end.Chunk = next
		case next != nil:
			grown += end.measure()
			s.chunks = append(s.chunks, chunk{Chunk: next, from: t})
			end = &s.chunks[len(s.chunks)-1]
		}
	}
	end.to, s.last = t, t
	return grown + end.measure(), nil
}

// fits reports whether the last chunk takes another sample.
func (s *series) fits(isHistogram bool) bool {
	end := s.chunks[len(s.chunks)-1]
	if isHistogram != (end.Encoding() == chunkenc.EncFloatHistogram) {
		return false
	}
	return end.NumSamples() < chunkSamples && (isHistogram || len(end.Bytes()) < chunkenc.MaxBytesPerXORChunkBeforeAppend)
}

func (s *series) open(isHistogram bool) (err error) {
	var c chunkenc.Chunk = chunkenc.NewXORChunk()
	if isHistogram {
		c = chunkenc.NewFloatHistogramChunk()
	}
	if s.app, err = c.Appender(); err == nil {
		s.chunks = append(s.chunks, chunk{Chunk: c})
	}
	return err
}

// measure notes a chunk's size.
func (c *chunk) measure() int {
	c.size = cap(c.Bytes()) + chunkOverhead
	return c.size
}

// within are the chunks of an interval, as they are now: the last may grow while
// the others are read, so it is a copy. bytes are those of what isn't the series' own.
func (s *series) within(mint, maxt int64) (out []chunkenc.Iterable, bytes int, err error) {
	for i, c := range s.chunks {
		if c.to < mint || c.from > maxt {
			continue
		}
		of := c.Chunk
		if i == len(s.chunks)-1 {
			if of, err = chunkenc.FromData(c.Encoding(), slices.Clone(c.Bytes())); err != nil {
				return nil, 0, err
			}
			bytes += c.size
		}
		out = append(out, of)
	}
	if len(out) > 0 {
		bytes += foundOverhead + 16*cap(out)
	}
	return out, bytes, nil
}
