package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
)

// Name is that of the service; PageKey is what its metadata has the page's
// address under.
const (
	Name    = "weir"
	PageKey = "page"
)

const (
	version = "1.0.0" // of requests and answers

	atOnce   = 4
	limit    = 30 * time.Second // of a request
	waiting  = 15 * time.Second // until everything is counted, if asked for
	fallback = 15 * time.Minute // an interval that isn't given

	maxRequest  = 64 << 10
	maxRows     = 5000
	maxEvents   = 1000
	someEvents  = 100 // if "last" isn't given
	notComplete = "Weir-Not-Complete"
)

// Run answers requests until ctx ends. page is the page's address, for whoever
// wants to show links to it; "" if it isn't known.
func Run(ctx context.Context, c *bus.Conn, page string) error {
	err := c.Serve(ctx, bus.Service{
		Name: Name, Version: version, Description: "The latency of every HTTP request", Metadata: map[string]string{PageKey: page},
		AtOnce: atOnce, Limit: limit,
		Endpoints: []bus.Endpoint{
			{Name: "latency", Subject: Subject("latency"), Answer: answer(c, latency),
				Help: `{"workload":"cart","namespace":"shop","side":"server","by":["operation"],"since":"15m","from":"","to":"","wait":false}`},
			{Name: "map", Subject: Subject("map"), Answer: answer(c, edges),
				Help: `{"workload":"cart","namespace":"shop","side":"","since":"15m","from":"","to":"","wait":false}`},
			{Name: "events", Subject: Subject("events"), Answer: answer(c, events),
				Help: `{"workload":"cart","namespace":"shop","side":"","since":"15m","from":"","to":"","filter":"status >= 500","last":100}`},
		},
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Subject is that of an endpoint.
func Subject(endpoint string) string { return "weir.api." + endpoint }

// question are the fields that all requests have: those of the commands' flags.
type question struct {
	Workload  string `json:"workload"`
	Namespace string `json:"namespace"`
	Side      string `json:"side"`
	Since     string `json:"since"`
	From      string `json:"from"`
	To        string `json:"to"`
}

func (q *question) read() (query.Interval, query.Selection, time.Time, error) {
	now := time.Now().Round(0)
	interval, err := query.Times{Since: q.Since, From: q.From, To: q.To}.Interval(now, fallback)
	if err != nil {
		return interval, query.Selection{}, now, err
	}
	selected, err := query.ParseSelection(q.Namespace, q.Workload, q.Side)
	return interval, selected, now, err
}

// answer decodes a request, and encodes what is answered.
func answer[Q any](c *bus.Conn, ask func(context.Context, *bus.Conn, *Q) (rows any, missing string, err error)) func(context.Context, []byte) ([]byte, map[string]string, error) {
	return func(ctx context.Context, request []byte) ([]byte, map[string]string, error) {
		q := new(Q)
		if err := decode(request, q); err != nil {
			return nil, nil, &bus.AnswerError{Code: 400, Err: err}
		}
		rows, missing, err := ask(ctx, c, q)
		if err != nil {
			return nil, nil, err
		}
		data, err := json.Marshal(rows)
		if missing == "" {
			return data, nil, err
		}
		return data, map[string]string{notComplete: missing}, err
	}
}

// decode reads a request; none is one that asks for everything.
func decode(request []byte, to any) error {
	if len(request) > maxRequest {
		return fmt.Errorf("the request has %d bytes, at most %d are allowed", len(request), maxRequest)
	}
	if len(bytes.TrimSpace(request)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(request))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("the request is not what docs/wire.md says: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the request goes on after its object, at byte %d", d.InputOffset())
	}
	return nil
}

func badRequest(err error) error { return &bus.AnswerError{Code: 400, Err: err} }

func tooMany(n int) error {
	return &bus.AnswerError{Code: 413, Err: fmt.Errorf("the answer has %d rows, at most %d are allowed: ask for a workload, or by less", n, maxRows)}
}

type latencyQuestion struct {
	question
	By   []string `json:"by"`
	Wait bool     `json:"wait"`
}

func latency(ctx context.Context, c *bus.Conn, q *latencyQuestion) (any, string, error) {
	o, err := q.options(q.Wait)
	if err != nil {
		return nil, "", badRequest(err)
	}
	if q.By == nil {
		q.By = []string{"operation"}
	}
	if o.By, err = query.ParseBy(q.By); err != nil {
		return nil, "", badRequest(err)
	}
	result, err := query.Latency(ctx, c, o)
	if err != nil {
		return nil, "", err
	}
	if len(result.Rows) > maxRows {
		return nil, "", tooMany(len(result.Rows))
	}
	rows := make([]query.LatencyRow, len(result.Rows))
	for i, row := range result.Rows {
		rows[i] = query.NewLatencyRow(row, result)
	}
	return rows, result.Missing, nil
}

// options are those of the questions that latencies answer.
func (q *question) options(wait bool) (o query.Options, err error) {
	if o.Interval, o.Selection, o.Now, err = q.read(); err != nil {
		return o, err
	}
	if o.Selection.Kind == query.KindService {
		return o, &query.FieldError{Field: "workload", Reason: fmt.Sprintf("%q: latencies are kept by workload, not by Service; %s has its requests", q.Workload, Subject("events"))}
	}
	if wait {
		o.Wait = waiting
	}
	return o, nil
}

type mapQuestion struct {
	question
	Wait bool `json:"wait"`
}

func edges(ctx context.Context, c *bus.Conn, q *mapQuestion) (any, string, error) {
	o, err := q.options(q.Wait)
	if err != nil {
		return nil, "", badRequest(err)
	}
	edges, result, err := query.Edges(ctx, c, o)
	if err != nil {
		return nil, "", err
	}
	if len(edges) > maxRows {
		return nil, "", tooMany(len(edges))
	}
	rows := make([]query.MapRow, len(edges))
	for i := range edges {
		rows[i] = query.NewMapRow(&edges[i], result)
	}
	return rows, result.Missing, nil
}

type eventsQuestion struct {
	question
	Filter string `json:"filter"`
	Last   int    `json:"last"`
}

func events(ctx context.Context, c *bus.Conn, q *eventsQuestion) (any, string, error) {
	var o query.EventOptions
	var err error
	if o.Interval, o.Selection, _, err = q.read(); err != nil {
		return nil, "", badRequest(err)
	}
	switch {
	case q.Last == 0:
		q.Last = someEvents
	case q.Last < 0 || q.Last > maxEvents:
		return nil, "", badRequest(&query.FieldError{Field: "last", Reason: fmt.Sprintf("%d is not between 1 and %d", q.Last, maxEvents)})
	}
	if q.Filter != "" {
		if o.Filter, err = query.NewFilter(q.Filter); err != nil {
			return nil, "", badRequest(&query.FieldError{Field: "filter", Reason: err.Error()})
		}
	}
	last := query.NewLast(q.Last)
	if err := query.Events(ctx, c, o, last.Add); err != nil {
		return nil, "", err
	}
	return last.Events(), "", nil
}
