package promql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// SyntaxError is a mistake in an expression.
type SyntaxError struct {
	Expr   string
	Line   int // from 1
	Column int // bytes, from 1
	Length int // bytes that are wrong, at least 1
	Reason string
}

// Error is what Prometheus says: 1:5: parse error: unexpected end of input.
func (e *SyntaxError) Error() string {
	if e.Expr == "" {
		return "unknown position: parse error: " + e.Reason
	}
	return fmt.Sprintf("%d:%d: parse error: %s", e.Line, e.Column, e.Reason)
}

// Pointed is the line with the mistake and a caret below it.
func (e *SyntaxError) Pointed() string {
	line := strings.Split(e.Expr, "\n")[e.Line-1]
	before := line[:min(e.Column-1, len(line))]
	pad := strings.Map(func(r rune) rune { // a tab stays as wide as it is
		if r == '\t' {
			return r
		}
		return ' '
	}, before)
	return line + "\n" + pad + strings.Repeat("^", max(1, min(e.Length, len(line)-len(before))))
}

// QueryError is why an expression can't be asked for like this: a range vector
// has no value at each step, for example.
type QueryError struct{ error }

func (e *QueryError) Unwrap() error { return e.error }

// LimitError is a bound that a query is over, and what to do.
type LimitError struct {
	Reason  string
	Timeout bool
	Asked   bool // for more than the limit, whatever there is
}

func (e *LimitError) Error() string { return e.Reason }

func limitf(format string, args ...any) error {
	return &LimitError{Reason: fmt.Sprintf(format, args...)}
}

func tooManySeries(n int) error {
	return limitf("a selector has more than %d series, the limit: name a metric, a namespace or a workload in it", n)
}

func tooManyPoints() error {
	return &LimitError{Reason: fmt.Sprintf("a series of the result would have more than %d points, the limit: choose a longer step", maxPoints), Asked: true}
}

// maxQuoted is how many bytes of a selector or a sum an error quotes at most.
const maxQuoted = 300

func tooMuch(s *Share) error {
	of := s.of.String()
	if len(of) > maxQuoted {
		of = strings.ToValidUTF8(of[:maxQuoted], "") + "…"
	}
	return limitf("the selectors and sums of the query need more than %.4g MiB of memory together, the limit: %s needs more than %.1f MiB, the others hold %.1f MiB: "+
		"choose fewer series, a shorter time, a longer range or step, or ask for parts of the query one after the other",
		float64(s.all.most)/(1<<20), of, float64(s.held)/(1<<20), float64(s.all.held-s.held)/(1<<20))
}

func tooLarge(bytes int) error {
	return limitf("the answer is larger than %d MiB, the limit: aggregate it, take a quantile of it, or choose a longer step", bytes>>20)
}

// unasked turns the errors of what isn't evaluated yet into those of this package.
func unasked(err error, expr string) error {
	var syntax *SyntaxError
	if err = explain(err, expr); errors.As(err, &syntax) {
		return err
	}
	return &QueryError{err}
}

// explain turns the engine's errors into those of this package.
func explain(err error, expr string) error {
	var several parser.ParseErrors
	var one *parser.ParseErr
	var samples promql.ErrTooManySamples
	var timeout promql.ErrQueryTimeout
	var storage promql.ErrStorage
	var limit *LimitError
	switch {
	case errors.As(err, &limit):
		return limit
	case errors.As(err, &several) && len(several) > 0:
		return syntaxError(&several[0], expr)
	case errors.As(err, &one):
		return syntaxError(one, expr)
	case errors.As(err, &samples):
		return limitf("the query needs more than %d samples at once, the limit: choose fewer series, a shorter time or a longer step", MaxSamples)
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &LimitError{Reason: fmt.Sprintf("the query takes longer than %s, the limit: choose fewer series, a shorter time or a longer step", maxTime), Timeout: true}
	case errors.As(err, &storage):
		return storage.Err
	}
	return err
}

func syntaxError(p *parser.ParseErr, expr string) error {
	start := max(0, min(int(p.PositionRange.Start), len(expr)))
	before := expr[:start]
	return &SyntaxError{
		Expr: expr, Line: 1 + strings.Count(before, "\n"), Column: start - strings.LastIndexByte(before, '\n'),
		Length: max(1, int(p.PositionRange.End)-start), Reason: p.Err.Error(),
	}
}
