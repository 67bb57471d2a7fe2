package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/silence"
)

// gossip is how long Alertmanagers of a cluster may take to tell each other of a
// silence: they do every 200 ms.
const gossip = time.Second

// mirror has an Alertmanager know the silences that there are here.
type mirror struct {
	*alerter
	url    *url.URL
	adding chan struct{} // a place for the one that adds silences: of a cluster only the first adds them
	shown  string        // the silences that it was shown last
	at     time.Time
	said   string
}

// amSilence is a silence as Alertmanager's API v2 has it.
type amSilence struct {
	ID        string            `json:"id,omitempty"`
	Matchers  []amMatcher       `json:"matchers"`
	StartsAt  time.Time         `json:"startsAt"`
	EndsAt    time.Time         `json:"endsAt"`
	CreatedBy string            `json:"createdBy"`
	Comment   string            `json:"comment"`
	Status    map[string]string `json:"status,omitempty"` // state: pending, active, expired
}

type amMatcher struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	IsRegex bool   `json:"isRegex"`
	IsEqual bool   `json:"isEqual"`
}

// ownComment finds our ID in a comment: Alertmanager has IDs of its own.
var ownComment = regexp.MustCompile(`\[weir ([0-9a-f]+)\]$`)

// show tells it of silences if they have changed, and again now and then. nil are
// none yet. What goes wrong is said once, and tried again with the next round.
func (m *mirror) show(ctx context.Context, all []*silence.Silence) {
	now := m.now()
	text := ""
	for _, s := range all {
		text += fmt.Sprintln(s.ID, s.EndsAt.Unix(), s.EndsAt.After(now))
	}
	if text == m.shown && (text == "" || now.Sub(m.at) < m.cfg.Resend) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, sinkTime) // alerts come after it
	defer cancel()
	if err := m.send(limited, all, now); err != nil {
		if err.Error() != m.said {
			m.log.Warn("alertmanager_not_told_of_silences", "url", m.url.Redacted(), "error", err)
		}
		m.said = err.Error()
		return
	}
	m.shown, m.at, m.said = text, now, ""
}

// send ends those of ours that have ended, and adds the silences that it doesn't
// know. One that somebody ended there stays ended.
func (m *mirror) send(ctx context.Context, all []*silence.Silence, now time.Time) (failed error) {
	known, err := m.known(ctx)
	if err != nil {
		return err
	}
	missing := false
	for _, s := range all {
		if s.EndsAt.After(now) {
			missing = missing || len(known[s.ID]) == 0
			continue
		}
		for _, old := range known[s.ID] {
			if old.Status["state"] != "expired" {
				_, err := request(ctx, http.MethodDelete, m.url.JoinPath("api/v2/silence", old.ID).String(), nil, nil)
				if failed = errors.Join(failed, err); !answered(err) {
					return failed
				}
			}
		}
	}
	if missing {
		failed = errors.Join(failed, m.add(ctx, all, now))
	}
	return failed
}

// add adds the silences that it doesn't know, also when those had time to come that
// another one of its cluster was told of last.
func (m *mirror) add(ctx context.Context, all []*silence.Silence, now time.Time) (failed error) {
	select {
	case m.adding <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		time.AfterFunc(gossip, func() { <-m.adding })
	}()
	known, err := m.known(ctx)
	if err != nil {
		return err
	}
	name := "alertmanager " + m.url.Redacted()
	for _, s := range all {
		if !s.EndsAt.After(now) || len(known[s.ID]) > 0 {
			continue
		}
		data, err := json.Marshal(amOf(s))
		if err == nil {
			err = m.post(ctx, name, m.url.JoinPath("api/v2/silences").String(), nil, data)
		}
		if failed = errors.Join(failed, err); !answered(err) {
			return failed
		}
	}
	return failed
}

// known are the silences that it has of ours, also ended ones, by our IDs.
func (m *mirror) known(ctx context.Context) (map[string][]amSilence, error) {
	data, err := request(ctx, http.MethodGet, m.url.JoinPath("api/v2/silences").String(), nil, nil)
	if err != nil {
		return nil, err
	}
	var there []amSilence
	if err := json.Unmarshal(data, &there); err != nil {
		return nil, fmt.Errorf("read its silences: %w", err)
	}
	known := map[string][]amSilence{}
	for _, s := range there {
		if own := ownComment.FindStringSubmatch(s.Comment); own != nil {
			known[own[1]] = append(known[own[1]], s)
		}
	}
	return known, nil
}

// answered reports whether there was an answer, if an error.
func answered(err error) bool {
	var status *statusError
	return err == nil || errors.As(err, &status)
}

// amOf is a silence for an Alertmanager.
func amOf(s *silence.Silence) amSilence {
	out := amSilence{StartsAt: s.StartsAt, EndsAt: s.EndsAt, CreatedBy: s.Author, Comment: s.Comment + " [weir " + s.ID + "]"}
	if out.CreatedBy == "" { // it wants one
		out.CreatedBy = "weir"
	}
	for _, m := range s.Parsed() {
		out.Matchers = append(out.Matchers, amMatcher{
			Name: m.Name, Value: m.Value,
			IsRegex: m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp,
			IsEqual: m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp,
		})
	}
	return out
}
