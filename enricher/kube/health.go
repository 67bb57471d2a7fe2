package kube

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// quiet is how long a watch may tell nothing: the API server sends a
	// bookmark about every minute.
	quiet = 3 * time.Minute
	// failing is how long it may fail before what is known counts as old.
	failing = 5 * time.Second
)

// health is how well one resource of the API is heard of.
type health struct {
	resource string // "pods"
	group    string // "", "apps"
	now      func() time.Time

	mu     sync.Mutex
	heard  time.Time // a list, an event, a bookmark, or that there are none
	synced bool      // everything was listed once
	err    error     // of the last try, nil if it worked
}

func (h *health) hear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.err = h.now(), nil
}

func (h *health) sync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.synced = h.now(), true
	if !errors.Is(h.err, errRefused) { // a list may be allowed where a watch isn't
		h.err = nil
	}
}

// fail notes why a call failed, in words that help.
func (h *health) fail(verb string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = h.explain(verb, err)
}

// errRefused is what a retry won't mend.
var errRefused = errors.New("refused by the Kubernetes API")

func (h *health) explain(verb string, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: may not %s %s: add to the ClusterRole {apiGroups: [%q], resources: [%q], verbs: [get, list, watch]} (%w)",
			errRefused, verb, h.resource, h.group, h.resource, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: it does not know these credentials, or they have expired (%w)", errRefused, err)
	case strings.Contains(err.Error(), "x509: "): // wrapped without its type by some transports
		return fmt.Errorf("%w: certificates don't match (%w)", errRefused, err)
	}
	return fmt.Errorf("%s %s: %w", verb, h.resource, err)
}

// state returns whether everything was listed once, how long nothing has been
// heard, whether what is known may be old, and why.
func (h *health) state() (synced bool, silent time.Duration, stale bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	silent = h.now().Sub(h.heard)
	limit := quiet
	if h.err != nil {
		limit = failing
	}
	return h.synced, silent, !h.synced || silent > limit, h.err
}

// before is when the API was last heard of.
func (h *health) before() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard.UnixNano()
}
