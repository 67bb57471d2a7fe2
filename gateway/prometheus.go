package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const (
	maxQueries   = 2        // worked on at once: samples and selectors of each may be 320 MiB
	maxPromBytes = 64 << 20 // of an answer
)

const truncated = "results truncated due to limit"

// maxForm bounds what is posted: an expression and times.
const maxForm = 1 << 20

// promAPI answers as Prometheus does, so that Grafana and others that know
// Prometheus can ask Weir. See docs/promql.md.
type promAPI struct {
	*gateway
	engine *promql.Engine
	shared *answers // apart from the page's, which must not wait for a large query
	asked  *answers // of expressions: the engine says how many wait for their turn
}

// promData is an answer's data with what is to be said of it.
type promData struct {
	Status   string   `json:"status"`
	Data     any      `json:"data"`
	Warnings []string `json:"warnings,omitempty"`
	Infos    []string `json:"infos,omitempty"`
}

func success(data any) *promData { return &promData{Status: "success", Data: data} }

func (g *gateway) addPrometheus(mux *http.ServeMux) {
	methods := []string{http.MethodGet, http.MethodPost} // a question may be too long for an address
	a := &promAPI{g, promql.NewBeside(g.history, g.recorded, maxQueries), newAnswers(maxAtOnce), newAnswers(promql.MaxWaiting + maxQueries + 1)}
	for path, answer := range map[string]func(*http.Request) (*promData, error){
		"query":               a.query,
		"query_range":         a.queryRange,
		"query_exemplars":     a.queryExemplars,
		"format_query":        a.formatQuery,
		"series":              a.series,
		"labels":              a.labels,
		"label/{name}/values": a.labelValues,
		"metadata":            a.metadata,
		"rules":               a.rules,
		"alerts":              a.alerts,
		"status/buildinfo":    a.buildInfo,
		"status/runtimeinfo":  a.runtimeInfo,
		"status/tsdb":         a.tsdb,
		"status/config":       constant(map[string]string{"yaml": promConfig}),
		"status/flags":        constant(promFlags),
		"status/walreplay":    constant(map[string]int{"min": 0, "max": 0, "current": 0}),
		"targets":             constant(map[string]any{"activeTargets": []any{}, "droppedTargets": []any{}, "droppedTargetCounts": map[string]int{}}),
		"targets/metadata":    constant([]any{}),
		"alertmanagers":       constant(map[string]any{"activeAlertmanagers": []any{}, "droppedAlertmanagers": []any{}}),
	} {
		for _, method := range methods {
			mux.HandleFunc(method+" /api/v1/"+path, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, path, answer) })
		}
	}
	for _, method := range methods {
		mux.HandleFunc(method+" /api/v1/", notHere)
	}
	mux.HandleFunc("OPTIONS /api/v1/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS, POST")
		w.WriteHeader(http.StatusNoContent)
	})
}

func notHere(w http.ResponseWriter, r *http.Request) {
	failProm(w, &promError{"not_found", http.StatusNotFound, fmt.Errorf("there is no %s %s here: docs/promql.md lists what there is", r.Method, printable(r.URL.Path))})
}

// serve works an answer out, or shares the one that others asked for just now.
func (a *promAPI) serve(w http.ResponseWriter, r *http.Request, kind string, answer func(*http.Request) (*promData, error)) {
	a.metrics.answered.WithLabelValues("v1/" + kind).Inc()
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		failProm(w, badData(fmt.Errorf("read form: %w", err)))
		return
	}
	window := query.Floor(time.Now().UnixNano(), proto.WindowNS)
	key := fmt.Sprintf("%d %d %d %s?%s", a.change(), a.recorded.Changes(), window, r.URL.Path, r.Form.Encode())
	shared := a.shared
	if kind == "query" || kind == "query_range" {
		shared = a.asked
	}
	body, err := shared.get(r.Context(), key, func(ctx context.Context) ([]byte, error) {
		d, err := answer(r.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		return json.Marshal(d)
	})
	if err != nil {
		a.metrics.refused.WithLabelValues("v1/" + kind).Inc()
		failProm(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, r, body)
}

// promError is an error by one of the names Prometheus has.
type promError struct {
	kind string
	code int
	error
}

func (e *promError) Unwrap() error { return e.error }

func badData(err error) error { return &promError{"bad_data", http.StatusBadRequest, err} }

func badParam(name string, err error) error {
	return badData(fmt.Errorf("invalid parameter %q: %w", name, err))
}

// failed is why an expression has no value.
func failed(err error) error {
	var syntax *promql.SyntaxError
	var query *promql.QueryError
	var limit *promql.LimitError
	switch {
	case errors.As(err, &syntax), errors.As(err, &query):
		return badParam("query", err)
	case errors.As(err, &limit) && limit.Asked:
		return badData(err)
	case errors.As(err, &limit) && limit.Timeout:
		return &promError{"timeout", http.StatusServiceUnavailable, err}
	case errors.Is(err, context.Canceled):
		return &promError{"canceled", 499, err}
	}
	return &promError{"execution", http.StatusUnprocessableEntity, err}
}

func failProm(w http.ResponseWriter, err error) {
	e := &promError{"unavailable", http.StatusServiceUnavailable, err}
	errors.As(err, &e)
	writeJSON(w, e.code, map[string]string{"status": "error", "errorType": e.kind, "error": e.Error()})
}

func (a *promAPI) query(r *http.Request) (*promData, error) {
	at, err := promTime(r.Form, "time", time.Now())
	if err != nil {
		return nil, err
	}
	return a.evaluate(r, func(ctx context.Context, e *promql.Engine, expr string) (*promql.Result, error) {
		return e.Instant(ctx, expr, at)
	})
}

func (a *promAPI) queryRange(r *http.Request) (*promData, error) {
	from, to, err := promInterval(r.Form, time.Time{}, time.Time{})
	if err != nil {
		return nil, err
	}
	step, err := promDuration(r.Form, "step")
	if err == nil && step <= 0 {
		err = badParam("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if err != nil {
		return nil, err
	}
	return a.evaluate(r, func(ctx context.Context, e *promql.Engine, expr string) (*promql.Result, error) {
		return e.Range(ctx, expr, from, to, step)
	})
}

// evaluate works an expression out within the time it has.
func (a *promAPI) evaluate(r *http.Request, work func(context.Context, *promql.Engine, string) (*promql.Result, error)) (*promData, error) {
	ctx, engine := r.Context(), a.engine
	if r.Form.Get("lookback_delta") != "" {
		back, err := promDuration(r.Form, "lookback_delta")
		if err != nil {
			return nil, err
		}
		engine = engine.Looking(back)
	}
	if r.Form.Get("timeout") != "" {
		limit, err := promDuration(r.Form, "timeout")
		if err == nil && limit <= 0 {
			err = badParam("timeout", fmt.Errorf("timeout must be positive, got %s", limit))
		}
		if err != nil {
			return nil, err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	most, err := promLimit(r.Form)
	if err != nil {
		return nil, err
	}
	result, err := work(ctx, engine, r.Form.Get("query"))
	if err != nil {
		return nil, failed(err)
	}
	d := &promData{Status: "success", Warnings: result.Warnings, Infos: result.Infos}
	elements, err := promql.Elements(result.Value, maxPromBytes)
	if err != nil {
		return nil, failed(err)
	}
	if most > 0 && len(elements) > most {
		elements, d.Warnings = elements[:most], append(d.Warnings, truncated)
	}
	value := promValue{Type: result.Value.Type(), Result: bytes.Join(elements, []byte(","))}
	if value.Type == parser.ValueTypeVector || value.Type == parser.ValueTypeMatrix {
		value.Result = slices.Concat([]byte("["), value.Result, []byte("]"))
	}
	if r.Form.Get("stats") != "" {
		value.Stats = result.Stats
	}
	d.Data = value
	return d, nil
}

// promValue is an expression's value.
type promValue struct {
	Type   parser.ValueType `json:"resultType"`
	Result json.RawMessage  `json:"result"`
	Stats  any              `json:"stats,omitempty"`
}

func (a *promAPI) formatQuery(r *http.Request) (*promData, error) {
	expr, err := promql.Parse(r.Form.Get("query"))
	if err != nil {
		return nil, badParam("query", err)
	}
	return success(expr.Pretty(0)), nil
}

// series gives the labels of the series that match.
func (a *promAPI) series(r *http.Request) (*promData, error) {
	if len(r.Form["match[]"]) == 0 {
		return nil, badData(errors.New("no match[] parameter provided"))
	}
	all, d, err := find(a, r, promql.Names.Series)
	if err != nil {
		return nil, err
	}
	d.Data = all
	return d, nil
}

// labels gives the names of labels.
func (a *promAPI) labels(r *http.Request) (*promData, error) {
	return a.texts(r, promql.Names.LabelNames)
}

// labelValues gives the values of the label in the path, which clients may write as
// Prometheus escapes names that aren't of letters, digits and underscores.
func (a *promAPI) labelValues(r *http.Request) (*promData, error) {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return nil, badData(fmt.Errorf("invalid label name: %q", name))
	}
	return a.texts(r, func(q promql.Names, ctx context.Context, s [][]*labels.Matcher) ([]string, []string, error) {
		return q.LabelValues(ctx, name, s)
	})
}

// texts collects names or values.
func (a *promAPI) texts(r *http.Request, ask func(promql.Names, context.Context, [][]*labels.Matcher) ([]string, []string, error)) (*promData, error) {
	all, d, err := find(a, r, ask)
	if err != nil {
		return nil, err
	}
	d.Data = all
	return d, nil
}

// find collects what any of the selectors of a request finds, in order and once.
func find[T any](a *promAPI, r *http.Request, ask func(promql.Names, context.Context, [][]*labels.Matcher) ([]T, []string, error)) ([]T, *promData, error) {
	from, to, err := promInterval(r.Form, time.UnixMilli(0), time.Now())
	if err != nil {
		return nil, nil, err
	}
	most, err := promLimit(r.Form)
	if err != nil {
		return nil, nil, err
	}
	var selectors [][]*labels.Matcher // all series
	if given := r.Form["match[]"]; len(given) > 0 {
		if selectors, err = promSelectors(given); err != nil {
			return nil, nil, err
		}
	}
	found, warnings, err := ask(a.engine.Names(query.Between(from, to)), r.Context(), selectors)
	if err != nil {
		return nil, nil, failed(err)
	}
	all, d := append([]T{}, found...), success(nil) // not null
	d.Warnings = warnings
	if most > 0 && len(all) > most {
		all, d.Warnings = all[:most], append(d.Warnings, truncated)
	}
	return all, d, nil
}

// promSelectors reads match[], of which each must ask for something.
func promSelectors(given []string) ([][]*labels.Matcher, error) {
	selectors, err := promql.ParseSelectors(given)
	if err == nil && slices.ContainsFunc(selectors, selectsAll) {
		err = errors.New("match[] must contain at least one non-empty matcher")
	}
	if err != nil {
		return nil, badParam("match[]", err)
	}
	return selectors, nil
}

// selectsAll reports whether a selector has no matcher that asks for anything.
func selectsAll(selector []*labels.Matcher) bool {
	return !slices.ContainsFunc(selector, func(m *labels.Matcher) bool { return !m.Matches("") })
}

func (a *promAPI) metadata(r *http.Request) (*promData, error) {
	most, err := promNumber(r.Form, "limit", -1)
	if err == nil { // there is one of each metric
		_, err = promNumber(r.Form, "limit_per_metric", -1)
	}
	if err != nil {
		return nil, err
	}
	metrics := promql.Metrics()
	for _, name := range a.recorded.Names() {
		metrics[name] = promql.Recorded
	}
	out := map[string][]promql.Metadata{}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if only := r.Form.Get("metric"); (only == "" || only == name) && (most < 0 || len(out) < most) {
			out[name] = []promql.Metadata{metrics[name]}
		}
	}
	return success(out), nil
}

// promTime reads unix seconds or RFC 3339.
func promTime(q url.Values, name string, otherwise time.Time) (time.Time, error) {
	text := q.Get(name)
	if text == "" && !otherwise.IsZero() {
		return otherwise, nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(s) < 1e11 {
		return time.UnixMilli(int64(math.Round(s * 1000))), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return t, badParam(name, fmt.Errorf("cannot parse %q to a valid timestamp", text))
	}
	return t, nil
}

func promInterval(q url.Values, from, to time.Time) (start, end time.Time, err error) {
	if start, err = promTime(q, "start", from); err != nil {
		return start, end, err
	}
	if end, err = promTime(q, "end", to); err != nil {
		return start, end, err
	}
	if end.Before(start) {
		err = badParam("end", errors.New("end timestamp must not be before start time"))
	}
	return start, end, err
}

// promDuration reads seconds or what PromQL has, such as 5m.
func promDuration(q url.Values, name string) (time.Duration, error) {
	text := q.Get(name)
	if s, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(s) < 1e9 {
		return time.Duration(s * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, badParam(name, fmt.Errorf("cannot parse %q to a valid duration", text))
	}
	return time.Duration(d), nil
}

// promLimit reads how many elements an answer may have, 0 for any number.
func promLimit(q url.Values) (int, error) {
	n, err := promNumber(q, "limit", 0)
	if err == nil && n < 0 {
		err = badParam("limit", errors.New("limit must be non-negative"))
	}
	return n, err
}

func promNumber(q url.Values, name string, otherwise int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badParam(name, fmt.Errorf("%q is not a number", text))
	}
	return n, nil
}
