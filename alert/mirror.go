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
)

// mirror has an Alertmanager know the silences that there are here.
type mirror struct {
	*alerter
	url   *url.URL
	shown string // the silences that it was shown last
	at    time.Time
	said  string
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
func (m *mirror) show(ctx context.Context, all []*Silence) {
	now := m.now()
	text := ""
	for _, s := range all {
		text += fmt.Sprintln(s.ID, s.EndsAt.Unix(), s.EndsAt.After(now))
	}
	if text == m.shown && (text == "" || now.Sub(m.at) < m.cfg.Resend) {
		return
	}
	if err := m.send(ctx, all, now); err != nil {
		if err.Error() != m.said {
			m.log.Warn("alertmanager_not_told_of_silences", "url", m.url.Redacted(), "error", err)
		}
		m.said = err.Error()
		return
	}
	m.shown, m.at, m.said = text, now, ""
}

// send adds the silences that it doesn't know, and ends those of ours that have
// ended. One that somebody ended there stays ended.
func (m *mirror) send(ctx context.Context, all []*Silence, now time.Time) (failed error) {
	data, err := request(ctx, http.MethodGet, m.url.JoinPath("api/v2/silences").String(), nil, nil)
	if err != nil {
		return err
	}
	var there []amSilence
	if err := json.Unmarshal(data, &there); err != nil {
		return fmt.Errorf("read its silences: %w", err)
	}
	known := map[string][]amSilence{}
	for _, s := range there {
		if own := ownComment.FindStringSubmatch(s.Comment); own != nil {
			known[own[1]] = append(known[own[1]], s)
		}
	}
	name := "alertmanager " + m.url.Redacted()
	for _, s := range all {
		if s.EndsAt.After(now) {
			if len(known[s.ID]) > 0 {
				continue
			}
			data, err := json.Marshal(s.am())
			if err == nil {
				err = m.post(ctx, name, m.url.JoinPath("api/v2/silences").String(), nil, data)
			}
			failed = errors.Join(failed, err)
			continue
		}
		for _, old := range known[s.ID] {
			if old.Status["state"] != "expired" {
				_, err := request(ctx, http.MethodDelete, m.url.JoinPath("api/v2/silence", old.ID).String(), nil, nil)
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

// am is a silence for an Alertmanager.
func (s *Silence) am() amSilence {
	out := amSilence{StartsAt: s.StartsAt, EndsAt: s.EndsAt, CreatedBy: s.Author, Comment: s.Comment + " [weir " + s.ID + "]"}
	if out.CreatedBy == "" { // it wants one
		out.CreatedBy = "weir"
	}
	for _, m := range s.matchers {
		out.Matchers = append(out.Matchers, amMatcher{
			Name: m.Name, Value: m.Value,
			IsRegex: m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp,
			IsEqual: m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp,
		})
	}
	return out
}
