package route

import "strings"

// Other is the template of what is over the bound of a key.
const Other = "{other}"

// DefaultMaxOperations is enough for the API of a large service and keeps a window's messages small.
const DefaultMaxOperations = 200

const (
	maxCached     = 4096  // paths in one generation of the cache; two generations live
	maxOperations = 16384 // operations of all keys in one generation; two live
	maxPath       = 512   // bytes of a path that are looked at
	maxSegments   = 12    // of a template; the rest of the path is "{rest}"
)

// Config of a Templater.
type Config struct {
	// Patterns come before the built-in rules, the first that matches wins:
	// "/api/v1/orders/{order}/items/{item}", or "GET /api/…" for one method;
	// "{rest...}" at the end matches any number of segments.
	Patterns []string
	// MaxOperations is the number of (method, template) pairs a key may have; 0 means DefaultMaxOperations.
	MaxOperations int
}

// Templater turns paths into templates. It is used by one goroutine.
type Templater struct {
	patterns []pattern
	byMethod bool // some pattern is for one method only
	max      int
	letters  letters

	young, old cache // templates by path
	ops, idle  operations
	count      int // operations in ops
}

// target is what a template depends on; method only if a pattern has one.
type target struct{ method, path string }

// operation is what is bounded per key.
type operation struct{ method, template string }

type (
	cache      map[target]string
	operations map[string]map[operation]string
)

// New checks the patterns. The error names the pattern that is wrong and what to write instead.
func New(cfg Config) (*Templater, error) {
	t := &Templater{max: cfg.MaxOperations, letters: newLetters(), young: make(cache), ops: make(operations)}
	if t.max <= 0 {
		t.max = DefaultMaxOperations
	}
	for _, s := range cfg.Patterns {
		p, err := parsePattern(s)
		if err != nil {
			return nil, err
		}
		t.patterns = append(t.patterns, p)
		t.byMethod = t.byMethod || p.method != ""
	}
	return t, nil
}

// Template returns the template of path, or Other if key (a workload: its
// container id, unit or process name) has too many operations already.
func (t *Templater) Template(key, method, path string) string {
	return t.bound(key, operation{method, t.cached(method, path)})
}

// cached computes a template once. Of two generations the older is forgotten when the younger is full.
func (t *Templater) cached(method, path string) string {
	k := target{path: path}
	if t.byMethod {
		k.method = method
	}
	if s, ok := t.young[k]; ok {
		return s
	}
	s, ok := t.old[k]
	if !ok {
		s = t.template(method, path)
	}
	if len(t.young) >= maxCached {
		t.old, t.young = t.young, make(cache)
	}
	t.young[k] = s
	return s
}

// bound admits the operation to its key's set, or returns Other. Keys that
// weren't heard of for a generation are forgotten, so that processes that come
// and go need no memory.
func (t *Templater) bound(key string, op operation) string {
	set, ok := t.ops[key]
	if !ok {
		if t.count >= maxOperations {
			t.idle, t.ops, t.count = t.ops, make(operations), 0
		}
		if set = t.idle[key]; set == nil {
			set = make(map[operation]string)
		}
		t.ops[key] = set
		t.count += 1 + len(set)
	}
	if s, ok := set[op]; ok {
		return s
	}
	if len(set) >= t.max {
		return Other
	}
	set[op] = op.template
	t.count++
	return op.template
}

func (t *Templater) template(method, path string) string {
	if len(path) > maxPath {
		path = path[:strings.LastIndexByte(path[:maxPath], '/')+1]
	}
	for i := range t.patterns {
		if p := &t.patterns[i]; p.match(method, path) {
			return p.template
		}
	}
	if path == "" || path == "*" {
		return path
	}
	if path[0] != '/' {
		return "{text}"
	}
	if kind, ok := runtimeStream(path); ok {
		return "/" + kind + "/{token}"
	}
	var b strings.Builder
	b.Grow(len(path) + 16)
	for n, rest := 0, path[1:]; ; n++ {
		if n == maxSegments {
			return b.String() + "/{rest}"
		}
		segment, after, more := strings.Cut(rest, "/")
		b.WriteByte('/')
		t.segment(&b, segment)
		if rest = after; !more {
			return b.String()
		}
	}
}
