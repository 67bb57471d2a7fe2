package silence

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Max is how many silences there may be, with ended ones that are kept.
const Max = 500

const (
	version     = 1
	maxMatchers = 20
	maxBytes    = 1024 // of a matcher, an author or a comment
	maxLasts    = 365 * 24 * time.Hour

	// keepEnded is how long a silence that has ended is kept: an alerter may make up
	// for an hour of rounds.
	keepEnded = time.Hour + 10*time.Minute
	// keepByHand is how much longer one is kept that is ended by hand: an
	// Alertmanager may be away.
	keepByHand = 24 * time.Hour
)

// Silence keeps webhooks from hearing of some alerts for a while. It is a value
// of the bucket WEIR_SILENCES, as JSON, under its ID.
type Silence struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`
	Matchers []string  `json:"matchers"` // as PromQL has them, all of which an alert's labels must match
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at"`
	Author   string    `json:"author,omitempty"`
	Comment  string    `json:"comment,omitempty"`

	matchers []*labels.Matcher
}

// New makes one of matchers such as severity=page, workload!=cart or
// alertname=~"Slow.*". As amtool's, the first may be the name of an alert alone.
// It is stored by [Silence.Store].
func New(matchers []string, lasts time.Duration, author, comment string, now time.Time) (*Silence, error) {
	if lasts <= 0 || lasts > maxLasts {
		return nil, fmt.Errorf("a silence of %s: it must last longer than nothing, and a year at most", lasts)
	}
	if len(author) > maxBytes || len(comment) > maxBytes {
		return nil, fmt.Errorf("author and comment may have %d bytes each", maxBytes)
	}
	now = now.UTC().Truncate(time.Second)
	s := &Silence{V: version, StartsAt: now, EndsAt: now.Add(lasts).Truncate(time.Second), Author: author, Comment: comment, Matchers: slices.Clone(matchers)}
	if len(matchers) > 0 && !strings.ContainsAny(matchers[0], "=~!") {
		s.Matchers[0] = labels.AlertName + "=" + matchers[0]
	}
	if err := s.parse(); err != nil {
		return nil, err
	}
	for i, m := range s.matchers {
		s.Matchers[i] = m.String()
	}
	if err := s.parse(); err != nil { // quotes make them longer
		return nil, err
	}
	id := make([]byte, 4)
	rand.Read(id) // never fails
	s.ID = hex.EncodeToString(id)
	return s, nil
}

var matcherPattern = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$`)

// parse works the matchers out.
func (s *Silence) parse() error {
	if len(s.Matchers) == 0 || len(s.Matchers) > maxMatchers {
		return fmt.Errorf("a silence has 1 to %d matchers, such as alertname=Slow or workload=~\"cart.*\"; there are %d", maxMatchers, len(s.Matchers))
	}
	s.matchers = nil
	some := false
	for _, text := range s.Matchers {
		parts := matcherPattern.FindStringSubmatch(text)
		if parts == nil || len(text) > maxBytes {
			return fmt.Errorf("matcher %q is not LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEXP or LABEL!~REGEXP of at most %d bytes", text, maxBytes)
		}
		value := parts[3]
		if strings.HasPrefix(value, `"`) {
			var err error
			if value, err = strconv.Unquote(value); err != nil {
				return fmt.Errorf("matcher %q: the quotes don't close, or hold what Go's don't", text)
			}
		}
		kind := map[string]labels.MatchType{"=": labels.MatchEqual, "!=": labels.MatchNotEqual, "=~": labels.MatchRegexp, "!~": labels.MatchNotRegexp}[parts[2]]
		m, err := labels.NewMatcher(kind, parts[1], value)
		if err != nil {
			return fmt.Errorf("matcher %q: %w", text, err)
		}
		some = some || !m.Matches("")
		s.matchers = append(s.matchers, m)
	}
	if !some {
		return errors.New("at least one matcher must ask for a label: these match every alert that has none of these labels")
	}
	return nil
}

// Parsed are its matchers, worked out.
func (s *Silence) Parsed() []*labels.Matcher { return s.matchers }

// Matches reports whether it is of an alert with some labels.
func (s *Silence) Matches(of map[string]string) bool {
	return !slices.ContainsFunc(s.matchers, func(m *labels.Matcher) bool { return !m.Matches(of[m.Name]) })
}

// Store makes it count.
func (s *Silence) Store(ctx context.Context, c *bus.Conn) error {
	table, err := c.OpenTable(ctx, proto.BucketSilences)
	if err != nil {
		return err
	}
	n := 0
	for _, id := range table.Keys() {
		if old, err := decode(id, table.Get(id)); err != nil || time.Since(old.EndsAt) < keepEnded {
			n++
		}
	}
	if n >= Max {
		return fmt.Errorf("there are %d silences, which is the most, with those that ended within the last %s: make one that matches more, or wait", n, keepEnded)
	}
	return s.put(ctx, table, s.EndsAt)
}

// put stores it until some time after it would have ended.
func (s *Silence) put(ctx context.Context, table *bus.Table, until time.Time) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return table.PutFor(ctx, s.ID, data, time.Until(until)+keepEnded)
}

// ErrNone says that there is no silence of an ID.
var ErrNone = errors.New("there is no such silence: `weir alerts silences` lists those there are")

// End ends one now. It stays for a day, or as long as it would have, so that
// Alertmanagers that are away hear of its end.
func End(ctx context.Context, c *bus.Conn, id string, now time.Time) error {
	table, err := c.OpenTable(ctx, proto.BucketSilences)
	if err != nil {
		return err
	}
	s, err := decode(id, table.Get(id))
	if err != nil {
		return err
	}
	if !s.EndsAt.After(now) {
		return fmt.Errorf("silence %s has ended at %s", id, s.EndsAt.Local().Format(time.DateTime))
	}
	until := s.EndsAt
	if latest := now.Add(keepByHand); until.After(latest) {
		until = latest
	}
	s.EndsAt = now.UTC().Truncate(time.Second)
	return s.put(ctx, table, until)
}

func decode(id string, data []byte) (*Silence, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("silence %q: %w", id, ErrNone)
	}
	s := new(Silence)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read silence %s: %w", id, err)
	}
	if s.V != version || s.ID != id {
		return nil, fmt.Errorf("read silence %s: version %d of %q, this program knows %d", id, s.V, s.ID, version)
	}
	if err := s.parse(); err != nil {
		return nil, fmt.Errorf("read silence %s: %w", id, err)
	}
	return s, nil
}

// All are all there are, also some that have ended; those that end first
// come first. What of them can't be read is in the error, beside the others.
func All(ctx context.Context, c *bus.Conn) (all []*Silence, unreadable, err error) {
	table, err := c.OpenTable(ctx, proto.BucketSilences)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range table.Keys() {
		data := table.Get(id)
		if data == nil {
			continue // somebody else's
		}
		s, err := decode(id, data)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Silence) int { return cmp.Or(a.EndsAt.Compare(b.EndsAt), cmp.Compare(a.ID, b.ID)) })
	return all, unreadable, nil
}
