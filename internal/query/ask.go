package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FieldError is a mistake in a field of a question: a flag of a command, or a
// key of a request.
type FieldError struct{ Field, Reason string }

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// Times is an interval as people write it: since, or from and to, each an RFC
// 3339 time, a duration ago, "now" or "".
type Times struct{ Since, From, To string }

// Given reports whether anything is said about time.
func (t Times) Given() bool { return t != Times{} }

// Interval reads the times against that of the question. fallback is how far
// back the interval begins if nothing says so.
func (t Times) Interval(now time.Time, fallback time.Duration) (Interval, error) {
	from, to := now.Add(-fallback), now
	if t.Since != "" && t.From != "" {
		return Interval{}, fieldErrorf("since", "and from say the same: give one of them")
	}
	for _, f := range []struct {
		field, text string
		time        *time.Time
	}{{"since", t.Since, &from}, {"from", t.From, &from}, {"to", t.To, &to}} {
		if f.text == "" {
			continue
		}
		at, err := parseTime(f.text, now)
		if err != nil {
			return Interval{}, &FieldError{f.field, err.Error()}
		}
		*f.time = at
	}
	if t.Since == "" && t.From == "" && t.To != "" {
		from = to.Add(-fallback)
	}
	if !from.Before(to) {
		return Interval{}, fmt.Errorf("nothing lies between %s and %s: the start must be before the end",
			from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return Between(from, to), nil
}

// parseTime reads "now", an RFC 3339 time or a duration ago.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if d, err := ParseDuration(text); err == nil {
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

// ParseDuration reads a duration, also in days.
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// ParseSelection reads WORKLOAD or KIND/WORKLOAD as people write it; "" is all of
// them. So are namespace and side.
func ParseSelection(namespace, workload, side string) (Selection, error) {
	s := Selection{Namespace: namespace, Workload: workload, Side: side}
	switch side {
	case "", "server", "client":
	default:
		return s, fieldErrorf("side", "%q is not server or client", side)
	}
	// A process may have a slash in its name, so only known kinds are prefixes.
	if prefix, name, ok := strings.Cut(workload, "/"); ok {
		if kind := kindOf(prefix); kind != "" {
			s.Kind, s.Workload = kind, name
			if name == "" {
				return s, fieldErrorf("workload", "%q names no workload", workload)
			}
		}
	}
	return s, nil
}

// ParseBy reads what rows are told apart by: workload, operation, peer, status.
func ParseBy(names []string) (By, error) {
	var by By
	for _, name := range names {
		switch name {
		case "workload":
		case "operation":
			by.Operation = true
		case "peer":
			by.Peer = true
		case "status":
			by.Status = true
		default:
			return by, fieldErrorf("by", "%q is not workload, operation, peer or status", name)
		}
	}
	return by, nil
}

// kindOf reads the prefix of deploy/NAME, as kubectl has it, or one of Weir's
// own kinds on a plain host. It is "" for anything else.
func kindOf(prefix string) string {
	switch strings.ToLower(prefix) {
	case "deploy", "deployment", "deployments":
		return "Deployment"
	case "sts", "statefulset", "statefulsets":
		return "StatefulSet"
	case "ds", "daemonset", "daemonsets":
		return "DaemonSet"
	case "job", "jobs":
		return "Job"
	case "cj", "cronjob", "cronjobs":
		return "CronJob"
	case "rs", "replicaset", "replicasets":
		return "ReplicaSet"
	case "po", "pod", "pods":
		return KindPod
	case "svc", "service", "services":
		return KindService
	case "unit", "container", "process", "address", "domain":
		return strings.ToLower(prefix)
	}
	return ""
}
