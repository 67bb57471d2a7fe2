package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

// kept is how long the streams keep latencies.
const kept = 24 * time.Hour

// timeFlags are --since, --from and --to.
type timeFlags struct {
	since, from, to string
	fallback        time.Duration // if nothing is given
}

func (t *timeFlags) add(cmd *cobra.Command, fallback time.Duration) {
	t.fallback = fallback
	help := "how far back to look: a duration or an RFC 3339 time"
	if fallback > 0 {
		help += fmt.Sprintf(" (default %s)", shortDuration(fallback))
	}
	cmd.Flags().StringVar(&t.since, "since", "", help)
	cmd.Flags().StringVar(&t.from, "from", "", "start: an RFC 3339 time or a duration ago")
	cmd.Flags().StringVar(&t.to, "to", "", "end: an RFC 3339 time or a duration ago (default now)")
}

// given reports whether the user said anything about time.
func (t *timeFlags) given() bool { return t.since != "" || t.from != "" || t.to != "" }

// interval reads the flags against the time of the question.
func (t *timeFlags) interval(now time.Time) (query.Interval, error) {
	from, to := now.Add(-t.fallback), now
	if t.since != "" && t.from != "" {
		return query.Interval{}, usagef("--since and --from say the same: give one of them")
	}
	var err error
	for _, f := range []struct {
		flag, text string
		time       *time.Time
	}{{"--since", t.since, &from}, {"--from", t.from, &from}, {"--to", t.to, &to}} {
		if f.text == "" {
			continue
		}
		if *f.time, err = parseTime(f.text, now); err != nil {
			return query.Interval{}, usagef("%s %w", f.flag, err)
		}
	}
	if t.since == "" && t.from == "" && t.to != "" {
		from = to.Add(-t.fallback)
	}
	if !from.Before(to) {
		return query.Interval{}, usagef("nothing lies between %s and %s: the start must be before the end",
			from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return query.Between(from, to), nil
}

// parseTime reads "now", an RFC 3339 time or a duration ago.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if d, err := parseDuration(text); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%q lies ahead: durations count back from now, without a minus", text)
		}
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 15m or 2h, nor a time such as %s",
			text, now.UTC().Truncate(time.Minute).Format(time.RFC3339))
	}
	if t.After(now) {
		return time.Time{}, fmt.Errorf("%q lies ahead of now, %s", text, now.Format(time.RFC3339))
	}
	return t, nil
}

// parseDuration reads a duration, also in days.
func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// shortDuration prints "15m" where Go says "15m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
