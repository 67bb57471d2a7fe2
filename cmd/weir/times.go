package main

import (
	"errors"
	"fmt"
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
	interval, err := query.Times{Since: t.since, From: t.from, To: t.to}.Interval(now, t.fallback)
	return interval, flagError(err)
}

// flagError is a mistake in a question as one of the command line.
func flagError(err error) error {
	var field *query.FieldError
	switch {
	case errors.As(err, &field):
		return usagef("--%w", err)
	case err != nil:
		return usageError{err}
	}
	return nil
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
