package bus

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// DeniedError says that the server denies this user a subject.
type DeniedError struct {
	Verb    string // publish to, or subscribe to
	Subject string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("this NATS user may not %s %s: sign in as another, or give it this permission", e.Verb, e.Subject)
}

var deniedPattern = regexp.MustCompile(`for (Publish|Subscription) to "([^"]*)"`)

// newDeniedError reads a denial of the server; nil if it is another error.
func newDeniedError(err error) *DeniedError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	m := deniedPattern.FindStringSubmatch(err.Error())
	if m == nil {
		return &DeniedError{Verb: "do this", Subject: err.Error()}
	}
	if m[1] == "Publish" {
		return &DeniedError{"publish to", m[2]}
	}
	return &DeniedError{"subscribe to", m[2]}
}

const (
	logAgain    = time.Minute // the same denial
	maxSubjects = 64          // remembered; some have a random part
)

// denials hands denials to whoever waits for an answer: the server says it by
// itself, and to the request it says nothing.
type denials struct {
	mu      sync.Mutex
	next    int
	waiting map[int]waiter
	inbox   *DeniedError // no answer can arrive on this connection
	logged  map[string]time.Time
}

type waiter struct {
	subject string // beginning of what is published
	fail    context.CancelCauseFunc
}

// arrived takes a denial, and reports whether it should be logged: nobody
// waits who would report it, and it wasn't logged just now.
func (d *denials) arrived(denied *DeniedError, inboxes string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if denied.Verb == "subscribe to" && strings.HasPrefix(denied.Subject, inboxes+".") {
		d.inbox = denied
	}
	heard := false
	for _, w := range d.waiting {
		if d.inbox != nil || denied.Verb == "publish to" && strings.HasPrefix(denied.Subject, w.subject) {
			w.fail(denied)
			heard = true
		}
	}
	if heard || time.Since(d.logged[denied.Subject]) < logAgain {
		return false
	}
	if d.logged == nil || len(d.logged) >= maxSubjects {
		d.logged = map[string]time.Time{}
	}
	d.logged[denied.Subject] = time.Now()
	return true
}

// watch fails a context when a publish to subject, or what begins with it, is
// denied, or the answer can't arrive. Call stop in any case.
func (d *denials) watch(subject string, fail context.CancelCauseFunc) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inbox != nil {
		fail(d.inbox)
	}
	if d.waiting == nil {
		d.waiting = map[int]waiter{}
	}
	d.next++
	number := d.next
	d.waiting[number] = waiter{subject, fail}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, number)
	}
}

// reset forgets what was denied on the connection before.
func (d *denials) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inbox = nil
}

// ask makes a request by publishing to subject, or to what begins with it, and
// returns a [*DeniedError] as soon as that is denied.
func (c *Conn) ask(ctx context.Context, subject string, request func(context.Context) error) error {
	a, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer c.denials.watch(subject, fail)()
	err := request(a)
	var denied *DeniedError
	if err != nil && errors.As(context.Cause(a), &denied) {
		return denied
	}
	return err
}
