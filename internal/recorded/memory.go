package recorded

import (
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// DefaultBytes bounds the samples in memory: four days of 600 series that are
// recorded twice a minute, if a sample takes nine bytes.
const DefaultBytes = 64 << 20

// ErrFull says that there is no room for more series: what is kept of each is
// new already.
var ErrFull = errors.New("there are too many recorded series in memory")

// Memory has series. It is safe for concurrent use.
type Memory struct {
	limit int

	mu    sync.RWMutex
	names map[string]map[string]*series // by metric name, then by all labels
	bytes int
	next  int    // bytes at which to make room
	begin int64  // samples before it were dropped for want of room, unix milliseconds; 0 if none were
	more  uint64 // rises with each sample
}

// NewMemory keeps at most so many bytes.
func NewMemory(limit int) *Memory {
	return &Memory{limit: limit, next: limit, names: map[string]map[string]*series{}}
}

// Add adds a sample, a histogram or else a number, at a time in unix
// milliseconds. One that isn't later than those that its series has isn't added.
func (m *Memory) Add(of labels.Labels, t int64, f float64, h *histogram.FloatHistogram) (added bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := of.Get(model.MetricNameLabel)
	key := string(of.Bytes(nil))
	s := m.names[name][key]
	if s == nil {
		s = &series{labels: of, last: math.MinInt64}
	}
	if t <= s.last {
		return false, nil
	}
	if m.bytes >= m.next {
		m.shrink()
		m.next = max(m.limit, m.bytes+m.limit/64) // it isn't tried for each sample
	}
	if len(s.chunks) == 0 { // it is new, or has just been dropped
		if m.bytes >= m.limit {
			return false, ErrFull
		}
		if m.names[name] == nil {
			m.names[name] = map[string]*series{}
		}
		m.names[name][key] = s
		m.bytes += s.overhead()
	}
	grown, err := s.add(t, f, h)
	m.bytes += grown
	m.more++
	return err == nil, err
}

var staleMarker = math.Float64frombits(value.StaleNaN)

// shrink drops the oldest chunks, and all that ends within the sixteenth of the
// time that follows.
func (m *Memory) shrink() {
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, all := range m.names {
		for _, s := range all {
			oldest, newest = min(oldest, s.chunks[0].to), max(newest, s.last)
		}
	}
	before := min(newest, oldest+(newest-oldest)/16+1)
	m.forget(before)
	m.begin = max(m.begin, before)
}

// Forget drops what is older than a time in unix milliseconds.
func (m *Memory) Forget(before int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(before)
}

func (m *Memory) forget(before int64) {
	for name, all := range m.names {
		for key, s := range all {
			n := 0
			for n < len(s.chunks) && s.chunks[n].to < before {
				m.bytes -= s.chunks[n].size
				n++
			}
			if s.chunks = slices.Delete(s.chunks, 0, n); len(s.chunks) == 0 {
				m.bytes -= s.overhead()
				delete(all, key)
			}
		}
		if len(all) == 0 {
			delete(m.names, name)
		}
	}
}

// reset forgets everything.
func (m *Memory) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names, m.bytes, m.next, m.begin = map[string]map[string]*series{}, 0, m.limit, 0
	m.more++
}

// Changes is another number when there is something new.
func (m *Memory) Changes() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.more
}

// State is how much a memory holds.
type State struct {
	Series int
	Bytes  int
}

// State says how much there is.
func (m *Memory) State() State {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := State{Bytes: m.bytes}
	for _, all := range m.names {
		s.Series += len(all)
	}
	return s
}

// Names are those of all metrics there are.
func (m *Memory) Names() (all []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for name := range m.names {
		all = append(all, name)
	}
	return all
}
