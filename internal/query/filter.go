package query

import (
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// maxFilterCost bounds the work of one filter on one event, in CEL's units: a
// comparison is about one. It keeps nested loops over nothing from hanging.
const maxFilterCost = 10_000

// Filter decides which events are wanted.
type Filter struct {
	program cel.Program
	narrow  narrowing // what can be told of it before an event is decoded
}

// FilterError is a mistake in a filter, and where it is.
type FilterError struct {
	Filter string
	Column int // of the mistake, from 0, in bytes; -1 if it has no place
	Reason string
}

func (e *FilterError) Error() string {
	if e.Column < 0 || strings.Contains(e.Filter, "\n") {
		return "bad filter: " + e.Reason
	}
	return fmt.Sprintf("bad filter: %s\n  %s\n  %s^", e.Reason, e.Filter, strings.Repeat(" ", e.Column))
}

// variables are what a filter may name: the fields of [Event].
func variables() []cel.EnvOption {
	options := []cel.EnvOption{
		ext.NativeTypes(reflect.TypeFor[End](), reflect.TypeFor[Process](), ext.ParseStructTags(true)),
		cel.CrossTypeNumericComparisons(true),
		ext.Strings(),
		cel.Variable("time", cel.TimestampType),
		cel.Variable("source", cel.ObjectType("query.End")),
		cel.Variable("destination", cel.ObjectType("query.End")),
		cel.Variable("process", cel.ObjectType("query.Process")),
	}
	for name, t := range map[string]*cel.Type{
		"side": cel.StringType, "protocol": cel.StringType, "operation": cel.StringType,
		"method": cel.StringType, "path": cel.StringType, "error": cel.StringType, "node": cel.StringType,
		"status": cel.IntType, "request_bytes": cel.IntType, "response_bytes": cel.IntType,
		"duration_ms": cel.DoubleType, "wait_ms": cel.DoubleType,
		"processing_ms": cel.DoubleType, "transfer_ms": cel.DoubleType,
		"unresolved": cel.BoolType, "stale": cel.BoolType,
	} {
		options = append(options, cel.Variable(name, t))
	}
	return options
}

// NewFilter compiles a CEL expression over the fields of an event, such as
// `status >= 500 && destination.workload == "cart"`. A mistake is a
// [*FilterError].
func NewFilter(expression string) (*Filter, error) {
	env, err := cel.NewEnv(variables()...)
	if err != nil {
		return nil, fmt.Errorf("prepare filters: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, &FilterError{Filter: expression, Column: first.Location.Column(), Reason: reason(first.Message)}
	}
	if ast.OutputType() != cel.BoolType {
		return nil, &FilterError{Filter: expression, Column: -1,
			Reason: fmt.Sprintf("it gives %s, not true or false", ast.OutputType())}
	}
	program, err := env.Program(ast, cel.CostLimit(maxFilterCost))
	if err != nil {
		return nil, fmt.Errorf("prepare filter: %w", err)
	}
	return &Filter{program: program, narrow: narrow(ast.NativeRep().Expr())}, nil
}

// reason is a parser's message without all that it would have taken instead.
func reason(message string) string {
	message, _, _ = strings.Cut(message, " expecting ")
	return strings.ReplaceAll(message, "mismatched input '<EOF>'", "something is missing at the end")
}

// Wants reports whether an event passes. It fails where the expression does,
// such as a division by zero.
func (f *Filter) Wants(e *Event) (bool, error) {
	out, _, err := f.program.Eval(&activation{e})
	if err != nil {
		return false, fmt.Errorf("apply filter: %w", err)
	}
	wanted, _ := out.Value().(bool)
	return wanted, nil
}

// activation gives the filter an event's fields, only those it asks for.
type activation struct{ *Event }

func (a *activation) Parent() cel.Activation { return nil }

func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "time":
		return a.Time, true
	case "side":
		return a.Side, true
	case "protocol":
		return a.Protocol, true
	case "operation":
		return a.Operation, true
	case "method":
		return a.Method, true
	case "path":
		return a.Path, true
	case "status":
		return int64(a.Status), true
	case "error":
		return a.Error, true
	case "duration_ms":
		return a.DurationMS, true
	case "wait_ms":
		return a.WaitMS, true
	case "processing_ms":
		return a.ProcessingMS, true
	case "transfer_ms":
		return a.TransferMS, true
	case "request_bytes":
		return int64(a.RequestSize), true
	case "response_bytes":
		return int64(a.ResponseSize), true
	case "source":
		return &a.Source, true
	case "destination":
		return &a.Destination, true
	case "process":
		return &a.Process, true
	case "node":
		return a.Node, true
	case "unresolved":
		return a.Unresolved, true
	case "stale":
		return a.Stale, true
	}
	return nil, false
}
