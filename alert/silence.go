package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/silence"
)

const (
	// silencesTime is how long a round waits for silences, and silencesAgain how long
	// after that others do.
	silencesTime  = 5 * time.Second
	silencesAgain = 30 * time.Second
)

// silence decides who hears of a round's changes: of one that a silence covers as
// of that time no webhook does. When none covers it any more, it is told then, if
// it fires still. What is decided is stored with the changes: it holds, whoever
// goes on.
func (t *turn) silence(ctx context.Context, at time.Time) error {
	if err := t.readSilences(ctx); err != nil {
		return err
	}
	for _, a := range t.e.alerts {
		if t.silences == nil { // none were ever read: it is as silenced as the record says
			break
		}
		a.SilencedBy = nil
		for _, s := range t.silences {
			if a.State != Resolved && at.Before(s.EndsAt) && s.Matches(withExternal(a.Labels, t.cfg.ExternalLabels)) {
				a.SilencedBy = append(a.SilencedBy, s.ID)
			}
		}
	}
	changed := map[string]bool{}
	for i := range t.changes {
		c := &t.changes[i]
		if c.State == Firing {
			a := t.e.alerts[c.key()]
			a.Untold = len(a.SilencedBy) > 0
			c.Untold, c.SilencedBy = a.Untold, a.SilencedBy
		}
		changed[c.key()] = true
	}
	for _, a := range sorted(t.e.alerts) {
		if a.State == Firing && a.Untold && len(a.SilencedBy) == 0 && !changed[a.key()] {
			a.Untold = false
			t.changes = append(t.changes, Change{Alert: *a, At: at, Unsilenced: true})
		}
	}
	return nil
}

// readSilences reads what silences there are. If that fails, or takes long, those of
// the last round count until they end, and it is tried again after a while.
func (t *turn) readSilences(ctx context.Context) error {
	if t.now().Before(t.silencesAgain) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, silencesTime)
	defer cancel()
	all, unreadable, err := silence.All(limited, t.cfg.Bus)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var denied *bus.DeniedError
	switch {
	case err == nil:
		t.silences = append([]*silence.Silence{}, all...) // not nil
	case t.silences == nil && (errors.Is(err, bus.ErrNoStream) || errors.As(err, &denied)): // of an earlier version, until `weir provision`
		t.silences = []*silence.Silence{}
	}
	if err != nil {
		unreadable, t.silencesAgain = err, t.now().Add(silencesAgain)
	}
	if said := fmt.Sprint(unreadable); said != t.unreadable {
		if t.unreadable = said; unreadable != nil {
			t.log.Warn("silences_not_read", "error", unreadable)
		}
	}
	return nil
}
