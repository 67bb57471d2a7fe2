package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

const maxPromExemplars = 1000

// promExemplars are the exemplars of a series.
type promExemplars struct {
	Labels    map[string]string `json:"seriesLabels"`
	Exemplars []promExemplar    `json:"exemplars"`
}

type promExemplar struct {
	Labels map[string]string `json:"labels"`
	Value  string            `json:"value"`     // seconds
	Time   float64           `json:"timestamp"` // unix seconds
}

// queryExemplars gives the requests that stand for others in the series of an
// expression. They are read from the stream, as those of the page are.
func (a *promAPI) queryExemplars(r *http.Request) (*promData, error) {
	now := time.Now()
	from, to, err := promInterval(r.Form, now.Add(-time.Hour), now)
	if err != nil {
		return nil, err
	}
	selectors, err := promql.SelectorsOf(r.Form.Get("query"))
	if err != nil {
		return nil, badParam("query", err)
	}
	if !a.bus.Connected() {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(r.Context(), exemplarTime)
	defer cancel()
	c := &exemplarCollection{selectors: selectors, within: query.Between(from, to), series: map[string]*promExemplars{}, order: []*promExemplars{}}
	err = query.Latencies(ctx, a.bus, c.within, func(m *bus.Message, l *proto.Latency) error {
		if m.Time.After(to.Add(afterwards)) {
			return errEnough
		}
		return c.take(l)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err != nil {
		return nil, slow(err, "reading exemplars", exemplarTime)
	}
	d := success(c.order)
	if c.full {
		d.Warnings = []string{fmt.Sprintf("there are more than %d exemplars: choose fewer series or a shorter time", maxPromExemplars)}
	}
	return d, nil
}

var errEnough = errors.New("enough is read")

// exemplarCollection is exemplars by series, in the order of the stream.
type exemplarCollection struct {
	selectors promql.Selectors
	within    query.Interval
	series    map[string]*promExemplars
	order     []*promExemplars
	count     int
	full      bool
}

func (c *exemplarCollection) take(l *proto.Latency) error {
	for i := range l.Points {
		p := &l.Points[i]
		key := query.NewKey(l, p)
		series, wanted := c.selectors.Labels(&key)
		if !wanted {
			continue
		}
		for _, x := range p.Exemplars {
			if !c.within.Contains(x.TimeNS) {
				continue
			}
			if c.full = c.count == maxPromExemplars; c.full {
				return errEnough
			}
			c.count++
			of := c.of(series)
			of.Exemplars = append(of.Exemplars, promExemplarOf(x))
		}
	}
	return nil
}

func (c *exemplarCollection) of(series labels.Labels) *promExemplars {
	name := series.String()
	if c.series[name] == nil {
		c.series[name] = &promExemplars{Labels: series.Map()}
		c.order = append(c.order, c.series[name])
	}
	return c.series[name]
}

// promExemplarOf names the trace as OpenMetrics does.
func promExemplarOf(x proto.Exemplar) promExemplar {
	own := map[string]string{}
	if x.TraceID != "" {
		own["trace_id"], own["span_id"] = x.TraceID, x.SpanID
	}
	return promExemplar{own, strconv.FormatFloat(float64(x.ValueNS)/1e9, 'g', -1, 64), float64(x.TimeNS/1e6) / 1e3}
}
