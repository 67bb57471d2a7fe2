package alert

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Rules that haven't changed are stored again after a while, and after so many bytes
// of others: well before the stream's age, or its 64 MiB, takes them.
const (
	rulesEvery      = 6 * time.Hour
	rulesEveryBytes = 16 << 20
)

// loadedRules is what the stream says of the rules.
type loadedRules struct {
	data []byte    // the last message, nil if there is none of Weir's
	at   time.Time // when it was stored
	more int       // bytes that this turn stored since

	leftOut int // groups there was no room for

	refused bool      // the stream is an earlier version's, or the user: a batch with them would be refused
	asked   time.Time // when that was found out
}

func (l *loadedRules) read(ctx context.Context, c *bus.Conn, now time.Time, log *slog.Logger) error {
	stores, err := c.Stores(ctx, proto.StreamAlerts, proto.SubjectAlertRules)
	if err != nil {
		return err
	}
	if !stores && !l.refused {
		log.Warn("rules_not_told", "subject", proto.SubjectAlertRules, "reason", "the stream doesn't store it, or this user may not publish it: run `weir provision`")
	}
	l.refused, l.asked = !stores, now
	last, err := c.LastMessage(ctx, proto.StreamAlerts, proto.SubjectAlertRules)
	if err == nil && last != nil && !last.Foreign {
		l.data, l.at = last.Data, last.Time
	}
	return err
}

// part is the message that the stream lacks of the rules: none if its last one
// says the same, and isn't old.
func (l *loadedRules) part(groups []*Group, now time.Time) ([]bus.Part, error) {
	if l.refused {
		return nil, nil
	}
	data, leftOut, err := encodeRules(groups)
	l.leftOut = leftOut
	if err != nil || bytes.Equal(data, l.data) && now.Sub(l.at) < rulesEvery && l.more < rulesEveryBytes {
		return nil, err
	}
	return []bus.Part{{Subject: proto.SubjectAlertRules, Data: data}}, nil
}

// stored takes note of a batch.
func (l *loadedRules) stored(parts []bus.Part, record []byte, now time.Time, log *slog.Logger) {
	l.more += len(record)
	for i := range parts {
		l.more += len(parts[i].Data) + eventHeaders
	}
	if len(parts) == 0 || parts[0].Subject != proto.SubjectAlertRules {
		return
	}
	l.data, l.at, l.more = parts[0].Data, now, 0
	if l.leftOut > 0 {
		log.Warn("rules_not_all_told", "subject", proto.SubjectAlertRules, "groups_left_out", l.leftOut)
	}
}

// encodeRules are the rules as others are told of them.
func encodeRules(groups []*Group) (data []byte, leftOut int, err error) {
	var out proto.AlertRules
	for _, g := range groups {
		of := proto.RuleGroup{File: g.File, Name: g.Name, Interval: g.Interval.Seconds(), Limit: g.Limit, Objective: g.Objective, Rules: []proto.Rule{}}
		for _, r := range g.Rules {
			kind := proto.RuleAlerting
			if r.Alert == "" {
				kind = proto.RuleRecording
			}
			of.Rules = append(of.Rules, proto.Rule{
				ID: r.ID, Kind: kind, Name: r.Name(), Query: r.parsed.String(), For: r.For.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(),
				Labels: r.Labels, Annotations: r.Annotations,
			})
		}
		out.Groups = append(out.Groups, of)
	}
	return out.Encode()
}
