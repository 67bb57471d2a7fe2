package query

import (
	"cmp"
	"math"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/weirstream/weir/proto"
)

// narrowing is a test that every wanted event passes, perhaps others too, and
// the columns it looks at. With it events are chosen before they are decoded. A
// nil keep passes all.
type narrowing struct {
	columns proto.Columns
	keep    func(*proto.Frame, *proto.Event) bool
}

func (n narrowing) and(o narrowing) narrowing {
	if n.keep == nil || o.keep == nil {
		if n.keep == nil {
			return o
		}
		return n
	}
	return narrowing{n.columns | o.columns, func(f *proto.Frame, e *proto.Event) bool { return n.keep(f, e) && o.keep(f, e) }}
}

func (n narrowing) or(o narrowing) narrowing {
	if n.keep == nil || o.keep == nil {
		return narrowing{}
	}
	return narrowing{n.columns | o.columns, func(f *proto.Frame, e *proto.Event) bool { return n.keep(f, e) || o.keep(f, e) }}
}

var ends = proto.ColumnSet("end_ns")

func (o *EventOptions) narrowing() narrowing {
	n := o.Selection.narrowing()
	if o.Filter != nil {
		n = n.and(o.Filter.narrow)
	}
	return n
}

var endpointColumns = proto.ColumnSet(
	"source_namespace", "source_workload", "source_kind", "source_pod", "source_service",
	"destination_namespace", "destination_workload", "destination_kind", "destination_pod", "destination_service")

// narrowing of a selection is exact: either end has to be asked for.
func (s Selection) narrowing() narrowing {
	var n narrowing
	if s.Side != "" {
		n = narrowing{proto.ColumnSet("side"), func(_ *proto.Frame, e *proto.Event) bool { return s.MatchesSide(e.Side) }}
	}
	if s.Namespace != "" || s.Workload != "" || s.Kind != "" {
		n = n.and(narrowing{endpointColumns, func(_ *proto.Frame, e *proto.Event) bool { return s.selects(&e.From) || s.selects(&e.To) }})
	}
	return n
}

// selects reports whether an end of an event is asked for. Pods and Services
// can be named here, though they are no workloads.
func (s Selection) selects(e *proto.Endpoint) bool {
	switch {
	case s.Kind == KindService:
		return e.Service == s.Workload && (s.Namespace == "" || s.Namespace == e.Namespace)
	case s.Kind == KindPod && e.Pod == s.Workload:
		return s.Namespace == "" || s.Namespace == e.Namespace
	}
	return s.Matches(e.Namespace, e.Workload, e.Kind)
}

// narrow is what can be told of a filter: comparisons of a field with constants,
// and what && and || make of them. The rest of an && may be anything; it is
// false if one part is, whatever the others are, errors included.
func narrow(e ast.Expr) narrowing {
	if e.Kind() != ast.CallKind {
		return narrowing{}
	}
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	if len(args) != 2 {
		return narrowing{}
	}
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd:
		return narrow(args[0]).and(narrow(args[1]))
	case operators.LogicalOr:
		return narrow(args[0]).or(narrow(args[1]))
	case operators.In:
		if args[1].Kind() != ast.ListKind || args[1].AsList().Size() == 0 {
			return narrowing{}
		}
		list := args[1].AsList().Elements()
		n := compare(operators.Equals, args[0], list[0])
		for _, one := range list[1:] {
			n = n.or(compare(operators.Equals, args[0], one))
		}
		return n
	default:
		if swapped, ok := swap[name]; ok && args[0].Kind() == ast.LiteralKind {
			return compare(swapped, args[1], args[0])
		}
		return compare(name, args[0], args[1])
	}
}

// swap is what an operator is when its sides change places.
var swap = map[string]string{
	operators.Equals: operators.Equals, operators.NotEquals: operators.NotEquals,
	operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
	operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
}

// compare is the test of a field against a constant, if it is one.
func compare(operator string, field, constant ast.Expr) narrowing {
	f, ok := fields[path(field)]
	if !ok || constant.Kind() != ast.LiteralKind {
		return narrowing{}
	}
	n := narrowing{columns: f.columns}
	switch value := constant.AsLiteral().Value().(type) {
	case string:
		if holds := textTest(operator); holds != nil && f.text != nil {
			n.keep = func(fr *proto.Frame, e *proto.Event) bool { return holds(f.text(fr, e), value) }
		}
	case int64:
		n.keep = f.numberTest(operator, float64(value))
	case float64:
		n.keep = f.numberTest(operator, value)
	}
	return n
}

func textTest(operator string) func(a, b string) bool {
	switch operator {
	case "startsWith":
		return strings.HasPrefix
	case "endsWith":
		return strings.HasSuffix
	case "contains":
		return strings.Contains
	}
	if test := orderTest(operator); test != nil {
		return func(a, b string) bool { return test(cmp.Compare(a, b)) }
	}
	return nil
}

// numberTest compares as floats, which is exact up to 2^53: beyond that nothing
// is told.
func (f *field) numberTest(operator string, value float64) func(*proto.Frame, *proto.Event) bool {
	test := orderTest(operator)
	if test == nil || f.number == nil || math.Abs(value) > 1<<53 {
		return nil
	}
	return func(_ *proto.Frame, e *proto.Event) bool { return test(cmp.Compare(f.number(e), value)) }
}

func orderTest(operator string) func(order int) bool {
	switch operator {
	case operators.Equals:
		return func(o int) bool { return o == 0 }
	case operators.NotEquals:
		return func(o int) bool { return o != 0 }
	case operators.Less:
		return func(o int) bool { return o < 0 }
	case operators.LessEquals:
		return func(o int) bool { return o <= 0 }
	case operators.Greater:
		return func(o int) bool { return o > 0 }
	case operators.GreaterEquals:
		return func(o int) bool { return o >= 0 }
	}
	return nil
}

// path is a variable's name, or a field's with its variable's: source.workload.
func path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if s := e.AsSelect(); s.Operand().Kind() == ast.IdentKind && !s.IsTestOnly() {
			return s.Operand().AsIdent() + "." + s.FieldName()
		}
	}
	return ""
}

// field is a field of [Event] as it is in a frame: text or a number.
type field struct {
	columns proto.Columns
	text    func(*proto.Frame, *proto.Event) string
	number  func(*proto.Event) float64
}

func textField(get func(*proto.Event) string, columns ...string) field {
	return field{columns: proto.ColumnSet(columns...), text: func(_ *proto.Frame, e *proto.Event) string { return get(e) }}
}

func numberField(get func(*proto.Event) float64, columns ...string) field {
	return field{columns: proto.ColumnSet(columns...), number: get}
}

// fields are those that can be looked at before an event is decoded: all but the
// time, for which there are flags.
var fields = map[string]field{
	"node":           {text: func(f *proto.Frame, _ *proto.Event) string { return f.Node }},
	"side":           textField(func(e *proto.Event) string { return e.Side.String() }, "side"),
	"protocol":       textField(func(e *proto.Event) string { return e.Protocol }, "protocol"),
	"operation":      textField((*proto.Event).Operation, "method", "route"),
	"method":         textField(func(e *proto.Event) string { return e.Method }, "method"),
	"path":           textField(func(e *proto.Event) string { return e.Route }, "route"),
	"error":          textField(func(e *proto.Event) string { return e.Error }, "error"),
	"status":         numberField(func(e *proto.Event) float64 { return float64(e.Status) }, "status"),
	"request_bytes":  numberField(func(e *proto.Event) float64 { return float64(int64(e.RequestBytes)) }, "request_bytes"),
	"response_bytes": numberField(func(e *proto.Event) float64 { return float64(int64(e.ResponseBytes)) }, "response_bytes"),
	"duration_ms": numberField(func(e *proto.Event) float64 { return ms(e.WaitNS + e.ProcessingNS + e.TransferNS) },
		"wait_ns", "processing_ns", "transfer_ns"),
	"wait_ms":       numberField(func(e *proto.Event) float64 { return ms(e.WaitNS) }, "wait_ns"),
	"processing_ms": numberField(func(e *proto.Event) float64 { return ms(e.ProcessingNS) }, "processing_ns"),
	"transfer_ms":   numberField(func(e *proto.Event) float64 { return ms(e.TransferNS) }, "transfer_ns"),
	"process.pid":   numberField(func(e *proto.Event) float64 { return float64(e.Process.PID) }, "pid"),
	"process.name":  textField(func(e *proto.Event) string { return e.Process.Name }, "process"),

	"source.namespace": textField(func(e *proto.Event) string { return e.From.Namespace }, "source_namespace"),
	"source.workload":  textField(func(e *proto.Event) string { return e.From.Workload }, "source_workload"),
	"source.pod":       textField(func(e *proto.Event) string { return e.From.Pod }, "source_pod"),
	"source.service":   textField(func(e *proto.Event) string { return e.From.Service }, "source_service"),
	"source.address":   textField(func(e *proto.Event) string { return address(e.Source) }, "source_addr", "source_port"),
	"source.port":      numberField(func(e *proto.Event) float64 { return float64(e.Source.Port()) }, "source_port"),

	"destination.namespace": textField(func(e *proto.Event) string { return e.To.Namespace }, "destination_namespace"),
	"destination.workload":  textField(func(e *proto.Event) string { return e.To.Workload }, "destination_workload"),
	"destination.pod":       textField(func(e *proto.Event) string { return e.To.Pod }, "destination_pod"),
	"destination.service":   textField(func(e *proto.Event) string { return e.To.Service }, "destination_service"),
	"destination.address":   textField(func(e *proto.Event) string { return address(e.Destination) }, "destination_addr", "destination_port"),
	"destination.port":      numberField(func(e *proto.Event) float64 { return float64(e.Destination.Port()) }, "destination_port"),
}
