package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

const (
	silencesEvery = 5 * time.Second // how often silences are read, if anybody looks
	silencesTime  = 2 * time.Second
)

// silencesAnswer is which silences there are, those that end first first.
type silencesAnswer struct {
	Rows    []silenceRow `json:"rows"`
	Missing string       `json:"missing"` // what of them can't be read
}

type silenceRow struct {
	ID       string   `json:"id"`
	Matchers []string `json:"matchers"`
	Since    int64    `json:"since"`
	Until    int64    `json:"until"` // over, if it silences alerts still: the next evaluation ends that
	Author   string   `json:"author"`
	Comment  string   `json:"comment"`
	Alerts   int      `json:"alerts"` // that fire and are silenced by it, as the alerter decided
}

// silencesState is what a question for silences depends on: the same question has
// the same answer until the alerter says something, for a while at most.
func (g *gateway) silencesState() string {
	_, alerted := g.alerts.Changed()
	return fmt.Sprintf("%d %d", alerted, time.Now().UnixNano()/int64(silencesEvery))
}

// silencesPage answers /api/silences.
func (g *gateway) silencesPage(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), silencesTime)
	defer cancel()
	all, unreadable, err := silence.All(ctx, g.bus)
	out := &silencesAnswer{Rows: []silenceRow{}}
	switch { // what fails is an answer too: it isn't tried again for everybody who asks
	case errors.Is(err, context.DeadlineExceeded):
		out.Missing = fmt.Sprintf("silences can't be read within %s", silencesTime)
	case err != nil && !errors.Is(err, bus.ErrNoStream): // an earlier version's install has none
		out.Missing = err.Error()
	case unreadable != nil:
		out.Missing = unreadable.Error()
	}
	silences := map[string]int{} // by ID: how many alerts
	if record := g.alerts.known().record; record != nil {
		for _, a := range record.Alerts {
			for _, id := range silencedBy(a) {
				silences[id]++
			}
		}
	}
	now := time.Now()
	for _, s := range all {
		if n := silences[s.ID]; n > 0 || s.EndsAt.After(now) {
			out.Rows = append(out.Rows, silenceRow{
				ID: s.ID, Matchers: s.Matchers, Since: millis(s.StartsAt), Until: millis(s.EndsAt), Author: s.Author, Comment: s.Comment, Alerts: n,
			})
		}
	}
	return out, nil
}

// silencedBy are the IDs of the silences by which nobody is to hear that an alert fires.
func silencedBy(a *proto.Alert) []string {
	if a.State != proto.AlertFiring {
		return nil
	}
	return a.SilencedBy
}
