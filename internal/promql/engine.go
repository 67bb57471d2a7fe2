package promql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/stats"
)

const (
	maxHeld   = 160 << 20 // bytes, of all selectors and sums of a query
	maxSeries = 100_000   // of Prometheus's, of one selector
	maxPoints = 11_000    // of a series in a result, as Prometheus has it
	maxTime   = 20 * time.Second

	// lookback is how long a sample stands for what follows it: the widest window.
	lookback = 5 * time.Minute

	subqueryStep = time.Minute // of one that gives none
)

// MaxSamples are those that the engine has of a query at once, of 16 bytes; a native
// histogram is about 50.
const MaxSamples = 10_000_000

// MaxWaiting is how many queries wait for their turn, of a few KiB.
const MaxWaiting = 200

// Engine answers expressions. It is safe for concurrent use.
type Engine struct {
	engine *promql.Engine
	source storage.Queryable
	own    *queryable // of latencies, nil if there are none
	others storage.Queryable
	held   int // bytes at most, of all selectors and sums of a query
	slots  chan struct{}

	waiting *atomic.Int64    // queries whose turn hasn't come
	options promql.QueryOpts // nil for what is usual
}

// Result is a value with what is to be said of it.
type Result struct {
	Value    parser.Value // promql.Vector, Matrix, Scalar or String
	Warnings []string     // the value may be wrong
	Infos    []string
	Stats    stats.QueryStats
}

// New is an engine over a source that works on some queries at once; others wait
// for their turn, within their time.
func New(source Source, atOnce int) *Engine {
	own := &queryable{source, maxSeries, lookback}
	e := over(own, summing{newParser()}, atOnce, subqueryStep)
	e.own = own
	return e
}

// With is an engine for rules: over a source, which may be nil, and over series
// that are somewhere else, such as those that rules record. step is that of
// subqueries that give none, 0 for a minute.
func With(source Source, others storage.Queryable, step time.Duration) *Engine {
	step = cmp.Or(step, subqueryStep)
	if source == nil {
		return over(others, newParser(), 1, step)
	}
	return over(beside{&queryable{source, maxSeries, lookback}, others}, newParser(), 1, step)
}

func over(source storage.Queryable, p parser.Parser, atOnce int, step time.Duration) *Engine {
	return &Engine{
		engine: promql.NewEngine(promql.EngineOpts{
			MaxSamples: MaxSamples, Timeout: maxTime, LookbackDelta: lookback, EnableAtModifier: true, EnableNegativeOffset: true,
			NoStepSubqueryIntervalFn: func(int64) int64 { return step.Milliseconds() },
			Parser:                   p,
		}),
		source: source, held: maxHeld,
		slots: make(chan struct{}, atOnce), waiting: new(atomic.Int64),
	}
}

func newParser() parser.Parser { return parser.NewParser(parser.Options{}) }

// Looking is the engine, but samples stand for what follows them as long as said.
func (e *Engine) Looking(back time.Duration) *Engine {
	other := *e
	if e.own != nil && back > 0 { // the engine takes its own otherwise
		own := *e.own
		own.lookback = back
		if other.own, other.source = &own, &own; e.others != nil {
			other.source = beside{&own, e.others}
		}
	}
	other.options = promql.NewPrometheusQueryOpts(false, back, nil)
	return &other
}

// Holding is the engine, but the selectors and sums of a query may hold so many
// bytes.
func (e *Engine) Holding(bytes int) *Engine {
	other := *e
	other.held = bytes
	return &other
}

// Parse reads an expression; a mistake is a [*SyntaxError].
func Parse(expr string) (parser.Expr, error) {
	e, err := newParser().ParseExpr(expr)
	return e, explain(err, expr)
}

// Instant is an expression's value at a time.
func (e *Engine) Instant(ctx context.Context, expr string, at time.Time) (*Result, error) {
	q, err := e.engine.NewInstantQuery(ctx, e.source, e.options, expr, at)
	if err != nil {
		return nil, unasked(err, expr)
	}
	return e.run(ctx, q, expr)
}

// Range is an expression's values at from, from + step and so on, to the end.
// The step is above 0.
func (e *Engine) Range(ctx context.Context, expr string, from, to time.Time, step time.Duration) (*Result, error) {
	if to.Sub(from)/step > maxPoints {
		return nil, tooManyPoints()
	}
	q, err := e.engine.NewRangeQuery(ctx, e.source, e.options, expr, from, to, step)
	if err != nil {
		return nil, unasked(err, expr)
	}
	return e.run(ctx, q, expr)
}

func (e *Engine) run(ctx context.Context, q promql.Query, expr string) (*Result, error) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	if err := e.turn(ctx); err != nil {
		return nil, explain(err, expr)
	}
	defer func() { <-e.slots }()
	r := q.Exec(ctx) // the result isn't given back to the engine: whoever reads it may keep it
	if r.Err != nil {
		return nil, explain(r.Err, expr)
	}
	out := &Result{Value: r.Value, Stats: stats.NewQueryStats(q.Stats())}
	out.Warnings, out.Infos = r.Warnings.AsStrings(expr, 10, 10)
	return out, nil
}

// within is the context of a query: with the time and the memory that one has.
func (e *Engine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(sharing(ctx, e.held), maxTime)
}

// turn waits until a query may be worked on.
func (e *Engine) turn(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
	}
	defer e.waiting.Add(-1)
	if e.waiting.Add(1) > MaxWaiting {
		return limitf("more than %d queries wait for their turn, the limit: ask again later", MaxWaiting)
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &LimitError{Reason: fmt.Sprintf("the query's time was up before its turn came, the limit: %d are worked on at once, others wait for up to %s: ask again later", cap(e.slots), maxTime), Timeout: true}
		}
		return ctx.Err()
	}
}

// duration writes a duration as PromQL does: 10m, not 10m0s.
func duration(d time.Duration) string { return model.Duration(d).String() }
