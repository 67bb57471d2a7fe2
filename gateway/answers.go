package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	maxAnswers     = 64 // remembered
	maxAnswerBytes = 16 << 20
)

// answers works each answer out once for all who ask the same at the same
// state of the cache, a few at a time.
type answers struct {
	slots chan struct{}

	mu    sync.Mutex
	known map[string]*shared
	order []string // oldest first
	bytes int
}

// shared is one answer. body and err are set once done is closed.
type shared struct {
	done chan struct{}
	body []byte
	err  error
	size int // of what is remembered of it
}

// newAnswers works so many out at once; others wait for queueTime.
func newAnswers(atOnce int) *answers {
	return &answers{slots: make(chan struct{}, atOnce), known: map[string]*shared{}}
}

// get returns the answer of a key, from work if nobody has asked before.
// Failures are not remembered.
func (a *answers) get(ctx context.Context, key string, work func(context.Context) ([]byte, error)) ([]byte, error) {
	for {
		a.mu.Lock()
		s := a.known[key]
		if s == nil {
			s = &shared{done: make(chan struct{})}
			a.remember(key, s)
			a.mu.Unlock()
			a.work(ctx, key, s, work)
			return s.body, s.err
		}
		a.mu.Unlock()
		select {
		case <-s.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if s.err == nil {
			return s.body, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Who worked on it failed, maybe by going away: work on it.
	}
}

func (a *answers) remember(key string, s *shared) {
	a.known[key] = s
	a.order = append(a.order, key)
	a.evict()
}

// evict forgets the oldest answers over the bounds. Who waits for one has it.
func (a *answers) evict() {
	for len(a.order) > 1 && (len(a.order) > maxAnswers || a.bytes > maxAnswerBytes) {
		a.forget(a.order[0])
	}
}

func (a *answers) forget(key string) {
	if s := a.known[key]; s != nil {
		a.bytes -= s.size
		delete(a.known, key)
	}
	a.order = slices.DeleteFunc(a.order, func(k string) bool { return k == key })
}

func (a *answers) work(ctx context.Context, key string, s *shared, work func(context.Context) ([]byte, error)) {
	defer close(s.done)
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.known[key] != s {
			return // it was the oldest
		}
		if s.err != nil {
			a.forget(key)
			return
		}
		s.size = len(s.body)
		a.bytes += s.size
		a.evict()
	}()
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-time.After(queueTime):
		s.err = fmt.Errorf("%d answers are being worked out, the limit: try again", cap(a.slots))
		return
	case <-ctx.Done():
		s.err = ctx.Err()
		return
	}
	s.body, s.err = work(ctx)
}
