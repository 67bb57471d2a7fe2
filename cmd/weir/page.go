package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// pageWithin is how long the gateway has to say where its page is. It is asked
// while the streams are read.
const pageWithin = 300 * time.Millisecond

// page is where people see what a command prints, if a gateway says so.
type page struct {
	asked chan struct{} // closed when base is known, or won't be
	base  *url.URL      // nil if nobody answers, or the user may not ask
}

func askPage(ctx context.Context, c *bus.Conn) *page {
	p := &page{asked: make(chan struct{})}
	go func() { // at most as long as the connection
		defer close(p.asked)
		ctx, cancel := context.WithTimeout(ctx, pageWithin)
		defer cancel()
		if metadata, err := c.Metadata(ctx, api.Name); err == nil {
			p.base, _ = parsePage(metadata[api.PageKey])
		}
	}()
	return p
}

// parsePage reads the address of a page.
func parsePage(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address such as https://weir.example.com/", text)
	}
	return u, nil
}

// link is the address of a state of the page, "" if it isn't known where that is.
func (p *page) link(state url.Values) string {
	<-p.asked
	if p.base == nil {
		return ""
	}
	u := *p.base
	u.RawQuery = state.Encode()
	return printable(u.String())
}

// printPage says where the page shows what was printed. It is not of the table,
// so it goes where notes go.
func (a *app) printPage(p *page, state url.Values) {
	if link := p.link(state); link != "" {
		fmt.Fprintf(a.stderr, "page  %s\n", link)
	}
}

// pageSpans are those of the page's time control, which end now.
var pageSpans = map[time.Duration]string{
	5 * time.Minute: "5m", 15 * time.Minute: "15m", time.Hour: "1h", 6 * time.Hour: "6h", 24 * time.Hour: "24h",
}

// pageState is the address of one of the page's views (web/state.js).
func pageState(view string, s query.Selection) url.Values {
	state := url.Values{}
	for key, value := range map[string]string{"view": view, "ns": s.Namespace, "w": s.Workload, "kind": s.Kind, "side": s.Side} {
		if value != "" {
			state.Set(key, value)
		}
	}
	return state
}

// withTime adds an interval: one that ends now and is as long as a span of the
// page goes on there, any other stands still.
func withTime(state url.Values, i query.Interval, now time.Time) url.Values {
	length := min(i.To().Sub(i.From()), kept)
	if span, known := pageSpans[length]; known && i.To().Equal(now) {
		state.Set("last", span)
		return state
	}
	state.Set("from", strconv.FormatInt(i.To().Add(-length).UnixMilli(), 10))
	state.Set("to", strconv.FormatInt(i.To().UnixMilli(), 10))
	return state
}

// latencyState is the view of rows: of one workload if one was asked for and
// it is one, or of all.
func latencyState(s query.Selection, rows []*query.Row) url.Values {
	if s.Workload == "" || len(rows) == 0 {
		return servicesState(s)
	}
	one := query.Workload{Namespace: rows[0].Namespace, Name: rows[0].Workload, Kind: rows[0].Kind}
	server := false
	for _, r := range rows {
		if (query.Workload{Namespace: r.Namespace, Name: r.Workload, Kind: r.Kind}) != one {
			return servicesState(s)
		}
		server = server || r.Side == proto.SideServer
	}
	s.Namespace, s.Kind = one.Namespace, one.Kind
	if s.Side = "client"; server {
		s.Side = ""
	}
	return pageState("service", s)
}

// servicesState is the view of all workloads, which shows servers unless told.
func servicesState(s query.Selection) url.Values {
	switch s.Side {
	case "":
		s.Side = "both"
	case "server":
		s.Side = ""
	}
	return pageState("services", s)
}

func alertsState() url.Values { return pageState("alerts", query.Selection{}) }

// hostPage is the address of a page of this host for others to know: none if
// NATS can be reached from elsewhere and the page can't, or if there is no page.
func hostPage(http, nats string) string {
	if gateway.Loopback(http) && !gateway.Loopback(nats) {
		return ""
	}
	return pageURL(http, "")
}
