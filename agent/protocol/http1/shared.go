package http1

import "github.com/weirstream/weir/agent/protocol"

const (
	maxPath     = 256  // bytes of a path that are kept
	maxInterned = 2048 // paths in one generation of the cache; two generations live
	lineCap     = 512  // bytes kept of a line that is split over segments
	lineEnd     = 16   // of these, its last bytes: they hold the version of a request line
	maxFree     = 256  // line buffers kept for the next use
)

// Shared is what all connections of one goroutine share: interned paths and
// line buffers, so that an idle connection holds neither.
type Shared struct {
	young, old map[string]string
	free       [][]byte
	exchange   protocol.Exchange // the one the sink is shown
	pending    int               // requests in the queues of all connections
}

// NewShared returns an empty Shared.
func NewShared() *Shared { return &Shared{young: make(map[string]string)} }

// intern returns b as a string without allocating if it was seen lately. When
// a generation is full the one before it is forgotten.
func (sh *Shared) intern(b []byte) string {
	if s, ok := sh.young[string(b)]; ok {
		return s
	}
	s, ok := sh.old[string(b)]
	if !ok {
		s = string(b)
	}
	if len(sh.young) >= maxInterned {
		sh.old, sh.young = sh.young, make(map[string]string)
	}
	sh.young[s] = s
	return s
}

func (sh *Shared) buffer() []byte {
	if n := len(sh.free); n > 0 {
		b := sh.free[n-1]
		sh.free = sh.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, lineCap)
}

func (sh *Shared) release(b []byte) {
	if b != nil && len(sh.free) < maxFree {
		sh.free = append(sh.free, b)
	}
}
