package route

// Other is the template of what is over the bound of a key.
const Other = "{other}"

// Config of a Templater.
type Config struct {
	// Patterns come before the built-in rules, the first that matches wins:
	// "/api/v1/orders/{order}/items/{item}", or "GET /api/…" for one method;
	// "{rest...}" at the end matches any number of segments.
	Patterns []string
	// MaxOperations is the number of (method, template) pairs a key may have; 0 means DefaultMaxOperations.
	MaxOperations int
}

// DefaultMaxOperations is enough for the API of a large service and keeps a window's message small.
const DefaultMaxOperations = 200

// Templater turns paths into templates. It is used by one goroutine.
type Templater struct{}

// New checks the patterns. The error names the pattern that is wrong.
func New(cfg Config) (*Templater, error) { return &Templater{}, nil }

// Template returns the template of path, or Other if key (a workload: its
// container id, unit or process name) has too many operations already.
func (t *Templater) Template(key, method, path string) string { return Other }
