package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
)

const traceparent = "Traceparent" // of W3C's Trace Context

type traceKey struct{}

// traced is a context of the trace that a request is part of.
func traced(ctx context.Context, r *http.Request) context.Context {
	var trace, span string
	if _, err := fmt.Sscanf(r.Header.Get(traceparent), "00-%32s-%16s-01", &trace, &span); err != nil {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, trace)
}

// trace makes a request a span of its context's trace, or of a new one.
func trace(ctx context.Context, r *http.Request) {
	id, ok := ctx.Value(traceKey{}).(string)
	if !ok {
		id = fmt.Sprintf("%016x%016x", rand.Uint64(), 1+rand.Uint64N(1<<63))
	}
	r.Header.Set(traceparent, fmt.Sprintf("00-%s-%016x-01", id, 1+rand.Uint64N(1<<63)))
}
