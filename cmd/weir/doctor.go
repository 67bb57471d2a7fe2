package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
)

const (
	doctorTimeout  = 20 * time.Second // of all questions to NATS together
	silent         = 10 * time.Second // agents send a frame a second
	enricherLate   = 5 * time.Second
	aggregatorLate = 30 * time.Second // a window and its two seconds are no delay
)

func (a *app) doctorCommand() *cobra.Command {
	var o outputFlag
	var cgroup string
	var noHost bool
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: groupHost,
		Short:   "What is missing, what it costs, and how to fix it",
		Long: `Looks at this host, at NATS and at the pipeline, and prints a line for each thing:
ok, note (how Weir is), warn, or fail, with what it costs and how to fix it.
It changes nothing. Exit 1 if something fails.`,
		Example: `  sudo weir doctor
  weir doctor --server nats://nats:4222 -o json | jq '.[] | select(.status == "fail")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			given := cmd.Flags().Changed("server") || a.context != "" || a.plugin
			ctx, cancel := context.WithTimeout(cmd.Context(), doctorTimeout)
			defer cancel()
			if noHost || a.plugin { // this host isn't one that is measured
				return a.printChecks(o.format, a.pipelineChecks(ctx, given || noHost))
			}
			checks := append(hostChecks(cgroup), a.pipelineChecks(ctx, given)...)
			return a.printChecks(o.format, append(checks, unseen()...))
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&noHost, "no-host", false, "leave this host out: it isn't one that is measured")
	cmd.Flags().StringVar(&cgroup, "cgroup", "", "look at this cgroup v2 `folder` instead of the root")
	return cmd
}

// pipelineChecks look at NATS, the streams and how far behind the services are.
// Whoever didn't name a server may not have started one yet.
func (a *app) pipelineChecks(ctx context.Context, given bool) []check {
	c, err := a.connect(ctx)
	if err != nil {
		status := statusWarn
		if given {
			status = statusFail
		}
		return []check{{Name: "nats", Status: status, Found: err.Error(), Costs: "there is nothing to read"}}
	}
	defer c.Close()
	checks := []check{{Name: "nats", Status: statusOK, Found: c.URL()}}
	switch err := c.Verify(ctx); {
	case errors.Is(err, bus.ErrNoStream):
		return append(checks, check{Name: "streams", Status: statusFail, Found: oneLine(err), Costs: "there is nothing to read",
			Fix: "start `weir up`, or run `weir provision`"})
	case err != nil:
		checks = append(checks, check{Name: "streams", Status: statusFail, Found: oneLine(err), Costs: "what Weir promises of them may not hold",
			Fix: "change them back with `nats stream edit`, or use another NATS account"})
	default:
		checks = append(checks, check{Name: "streams", Status: statusOK, Found: "configured as they should be"})
	}
	stages, err := query.ReadStages(ctx, c)
	if err != nil {
		return append(checks, check{Name: "pipeline", Status: statusFail, Found: oneLine(err), Costs: "how far behind it is isn't known",
			Fix: "look at the permissions of this NATS user"})
	}
	checks = append(checks, stageChecks(stages, now())...)
	naming, err := query.ReadNaming(ctx, c, now().Add(-silent))
	if err != nil {
		return append(checks, check{Name: "names", Status: statusFail, Found: oneLine(err), Costs: "whether names are known isn't known",
			Fix: "look at the permissions of this NATS user"})
	}
	checks = append(checks, namingCheck(naming))
	kept, err := query.ReadRetention(ctx, c, now())
	if err != nil {
		return append(checks, check{Name: "retention", Status: statusFail, Found: oneLine(err), Costs: "how long the streams keep isn't known",
			Fix: "look at the permissions of this NATS user"})
	}
	for _, r := range kept {
		checks = append(checks, retentionCheck(r))
	}
	return checks
}

// retentionCheck says for how long a stream keeps, and whether its bound on
// disk lets it.
func retentionCheck(r query.Retention) check {
	c := check{Name: r.Stream, Status: statusOK, Found: "keeps " + hours(r.MaxAge)}
	rate := fmt.Sprintf("at the present %s/min", size(r.BytesPerHour/60))
	switch {
	case r.BytesPerHour == 0:
		c.Found += "; nothing was written lately"
	case r.Short():
		c.Status = statusWarn
		c.Found = fmt.Sprintf("keeps only %s of %s, then it is full %s", hours(r.Full()), hours(r.MaxAge), rate)
		c.Costs = "what is older is dropped: a service that is away longer than that loses events, and answers reach back no further"
		flag := strings.ToLower(strings.TrimPrefix(r.Stream, "WEIR_")) + "-bytes"
		c.Fix = fmt.Sprintf("weir provision --%s %.0f", flag, 1.25*r.BytesPerHour*r.MaxAge.Hours())
	case r.Full() > 0:
		c.Found += fmt.Sprintf("; full after %s %s", hours(r.Full()), rate)
	default:
		c.Found += "; never full " + rate
	}
	return c
}

// hours is a duration in hours, or days if they are many.
func hours(d time.Duration) string {
	if d >= 72*time.Hour {
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
}

func size(bytes float64) string {
	for _, u := range []struct {
		unit  string
		bytes float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if bytes >= u.bytes {
			return fmt.Sprintf("%.1f %s", bytes/u.bytes, u.unit)
		}
	}
	return fmt.Sprintf("%.0f B", bytes)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// stageChecks say how far behind each service is, at most over all partitions,
// and which agents are silent.
func stageChecks(stages []query.Stage, now time.Time) []check {
	var unenriched, uncounted time.Duration
	var quiet []string
	agents, versions := 0, map[string]int{}
	for _, s := range stages {
		if !s.Unenriched.IsZero() {
			unenriched = max(unenriched, now.Sub(s.Unenriched))
		}
		if !s.Uncounted.IsZero() {
			uncounted = max(uncounted, now.Sub(s.Uncounted))
		}
		for node, agent := range s.Agents {
			agents++
			if ago := now.Sub(agent.Heard); ago > silent {
				quiet = append(quiet, fmt.Sprintf("%s for %s", node, ago.Round(time.Second)))
			}
			versions[cmp.Or(agent.Version, "unknown")]++
		}
	}
	slices.Sort(quiet)
	agent := check{Name: "agents", Status: statusOK, Found: fmt.Sprintf("%d heard from in the last %s, %s", agents, silent, counted(versions))}
	switch {
	case agents == 0:
		agent.Status, agent.Found = statusWarn, "none was heard from in the last two hours"
	case len(quiet) > 0:
		agent.Status, agent.Found = statusWarn, "silent: "+strings.Join(quiet, ", ")
	}
	if agent.Status == statusWarn {
		agent.Costs, agent.Fix = "their hosts are not measured", "start `weir up` or weir-agent there"
	}
	return []check{agent, lag("enricher", unenriched, enricherLate), lag("aggregator", uncounted, aggregatorLate)}
}

// counted lists versions, and how many have each if they differ.
func counted(versions map[string]int) string {
	var list []string
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		if len(versions) > 1 {
			list = append(list, fmt.Sprintf("%d of version %s", versions[v], v))
		} else {
			list = append(list, "version "+v)
		}
	}
	return strings.Join(list, ", ")
}

// namingCheck says whether the ends of requests could be named lately.
func namingCheck(n query.Naming) check {
	c := check{Name: "names", Status: statusOK, Found: "no requests in the last " + silent.String()}
	if n.Events > 0 {
		c.Found = fmt.Sprintf("of %d requests seen in the last %s, %d have an end that could not be named", n.Events, silent, n.Unresolved)
	}
	if n.Stale > 0 {
		c.Status = statusWarn
		c.Found = fmt.Sprintf("stale for %d of %d requests of the last %s: an enricher can't hear the Kubernetes API", n.Stale, n.Events, silent)
		c.Costs = "pods that came since are unknown"
		c.Fix = "see what it logs as kubernetes_stale; it heals by itself when the API is back"
	}
	return c
}

func lag(service string, behind, late time.Duration) check {
	c := check{Name: service, Status: statusOK, Found: "keeps up"}
	if behind > late {
		c.Status, c.Found = statusWarn, behind.Round(time.Second).String()+" behind"
		c.Costs = "latencies appear late; what waits for hours expires and is counted as lost"
		c.Fix = fmt.Sprintf("start `weir %s`, or more of them", service)
	}
	return c
}

func (a *app) printChecks(format string, checks []check) error {
	failed := false
	t := table{coloured: a.coloured()}
	for _, c := range checks {
		failed = failed || c.Status == statusFail
		status := cell{text: c.Status}
		switch c.Status {
		case statusOK:
			status.style = green
		case statusNote:
			status.style = faint
		case statusWarn:
			status.style = yellow
		case statusFail:
			status.style = red
		}
		found := c.Found
		if c.Costs != "" {
			found += ": " + c.Costs
		}
		if c.Fix != "" {
			found += ". Fix: " + c.Fix
		}
		t.add(status, text(c.Name), text(found))
	}
	var err error
	if format == "table" {
		err = t.write(a.stdout)
	} else {
		err = writeJSON(a.stdout, format, checks)
	}
	if err == nil && failed {
		return errSilent
	}
	return err
}
