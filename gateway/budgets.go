package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/promql"

	"github.com/weirstream/weir/proto"
)

const (
	maxObjectives = 100                // worked out in an answer
	nowSpan       = time.Hour          // what is said to be the ratio now
	longSpan      = 3 * 24 * time.Hour // the longest that budgets are told of: the longest that alerts look at
	budgetStep    = time.Minute        // how often they are worked out, as rules are
)

// budgetsAnswer is what is left of the error budgets of all objectives.
type budgetsAnswer struct {
	At      int64       `json:"at"`     // as of which they were worked out, unix milliseconds
	Now     float64     `json:"now_s"`  // seconds before it that the ratio now is of: an hour, unless the history is shorter
	Long    float64     `json:"long_s"` // seconds before it that the ratio is of: three days, unless the history is shorter
	Rows    []budgetRow `json:"rows"`
	LeftOut int         `json:"left_out"` // rows over the limit, and objectives that weren't worked out
	Missing string      `json:"missing"`  // why some aren't here or may be wrong
}

// budgetRow is one objective; of one whose indicator leaves labels it is a row
// for each.
type budgetRow struct {
	SLO     string            `json:"slo"`
	Service string            `json:"service"`
	Text    string            `json:"text"`
	Target  float64           `json:"target"`
	Period  float64           `json:"period_s"`
	Labels  map[string]string `json:"labels"`

	// Shares of bad requests, 0 to 1; null if there were none.
	RatioNow *float64 `json:"ratio_now"`
	Ratio    *float64 `json:"ratio"`
	// Burn is how many times as fast as it may be the budget is used up now.
	Burn *float64 `json:"burn"`
	// Used is the share of the errors that Long allows which were made: 1 is just as
	// many as the target allows.
	Used  *float64 `json:"used"`
	Error string   `json:"error,omitempty"` // why it couldn't be worked out
}

// budgetState is what a question for budgets depends on, besides its time: the
// same question has the same answer for a minute.
func (g *gateway) budgetState() string {
	s := g.history.State()
	reading := s.Change
	if s.Loaded == 1 {
		reading = 0
	}
	return fmt.Sprintf("%d %d %d", s.Complete/int64(budgetStep), reading, g.alerts.known().rulesRead)
}

// budgetsPage answers /api/budgets.
func (g *gateway) budgetsPage(r *http.Request) (any, error) {
	complete := time.Unix(0, g.history.Complete())
	at, err := timeOf(r.URL.Query(), "to", complete)
	if err != nil {
		return nil, err
	}
	if at.After(complete) {
		at = complete
	}
	at = at.Truncate(budgetStep)
	k := g.alerts.known()
	out := &budgetsAnswer{At: millis(at), Rows: []budgetRow{}}
	s := g.history.State()
	known := at.Sub(time.Unix(0, s.Since)).Truncate(budgetStep)
	short, long := max(budgetStep, min(nowSpan, known)), max(budgetStep, min(longSpan, known))
	out.Now, out.Long = short.Seconds(), long.Seconds()
	if s.Loaded < 1 {
		out.Missing = fmt.Sprintf("history is still being read (%.0f %%)", 100*s.Loaded)
	}
	if k.rules == nil {
		return out, nil
	}
	ctx, objectives := r.Context(), 0
	for i := range k.rules.Groups {
		o := k.rules.Groups[i].Objective
		if o == nil {
			continue
		}
		if objectives++; objectives > maxObjectives || len(out.Rows) >= maxRows || out.late(ctx) {
			out.LeftOut++
			continue
		}
		rows, leftOut, err := g.budget(ctx, o, at, short, long, maxRows-len(out.Rows))
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, ctx.Err()
		case err != nil && out.late(ctx):
			leftOut = 1
		case err != nil:
			rows = []budgetRow{rowOfObjective(o, nil)}
			rows[0].Error = err.Error()
		}
		out.Rows, out.LeftOut = append(out.Rows, rows...), out.LeftOut+leftOut
	}
	return out, nil
}

// late reports whether the time is up, and says so: what is known by then is an
// answer, and remembered as one.
func (a *budgetsAnswer) late(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	a.Missing = fmt.Sprintf("not all were worked out within %s, the limit", answerTime)
	return true
}

func rowOfObjective(o *proto.Objective, more map[string]string) budgetRow {
	all := maps.Clone(more)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, o.Labels)
	return budgetRow{SLO: o.SLO, Service: o.Service, Text: o.Text, Target: o.Target, Period: o.Period, Labels: all}
}

// budget works an objective out, as most rows at most: the worst. Without any
// request there is one row.
func (g *gateway) budget(ctx context.Context, o *proto.Objective, at time.Time, short, long time.Duration, most int) (out []budgetRow, leftOut int, err error) {
	ratio, err := g.ratio(ctx, o, at, long)
	if err != nil {
		return nil, 0, err
	}
	now, err := g.ratio(ctx, o, at, short)
	if err != nil {
		return nil, 0, err
	}
	if len(ratio) == 0 {
		return []budgetRow{rowOfObjective(o, nil)}, 0, nil
	}
	if leftOut = len(ratio) - most; leftOut > 0 {
		slices.SortFunc(ratio, func(a, b prom.Sample) int { return cmp.Compare(b.F, a.F) })
		ratio = ratio[:most]
	}
	allowed := 1 - o.Target
	for _, s := range ratio {
		if math.IsNaN(s.F) || math.IsInf(s.F, 0) {
			out = append(out, rowOfObjective(o, s.Metric.Map()))
			continue
		}
		row := rowOfObjective(o, s.Metric.Map())
		used := s.F / allowed
		row.Ratio, row.Used = &s.F, &used
		for _, n := range now {
			if labels.Equal(n.Metric, s.Metric) && !math.IsNaN(n.F) && !math.IsInf(n.F, 0) {
				burn := n.F / allowed
				row.RatioNow, row.Burn = &n.F, &burn
			}
		}
		out = append(out, row)
	}
	return out, max(0, leftOut), nil
}

func (g *gateway) ratio(ctx context.Context, o *proto.Objective, at time.Time, span time.Duration) (prom.Vector, error) {
	expr := strings.ReplaceAll(o.ErrorRatio, proto.ObjectiveWindow, model.Duration(span).String())
	r, err := g.budgets.Instant(ctx, expr, at)
	if err != nil {
		return nil, err
	}
	v, ok := r.Value.(prom.Vector)
	if !ok {
		return nil, fmt.Errorf("the error ratio is a %s: expected an instant vector", r.Value.Type())
	}
	return v, nil
}
