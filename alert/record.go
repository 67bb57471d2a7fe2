package alert

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Record is all that an alerter knows after a round. It is the last message of
// each batch in WEIR_ALERTS, and the alerter's only state.
type Record = proto.AlertRecord

// GroupRecord is how far a group was evaluated.
type GroupRecord = proto.AlertGroup

// encodeRecord writes a record as JSON. If that is too much for a message it is
// without annotations, which the next evaluation of each rule gives again, then
// without what else of an alert is only told, and at last without what is over.
func encodeRecord(r *Record) ([]byte, error) {
	data, err := json.Marshal(r)
	for _, shorten := range []func(*proto.Alert) bool{
		func(a *proto.Alert) bool { a.Annotations = nil; return true },
		func(a *proto.Alert) bool {
			a.Exemplar, a.SilencedBy = "", a.SilencedBy[:min(1, len(a.SilencedBy))]
			return true
		},
		func(a *proto.Alert) bool { return a.State != Resolved },
	} {
		if err != nil || len(data) <= proto.MaxMessageBytes {
			break
		}
		short := *r
		short.Alerts = []*proto.Alert{}
		for _, a := range r.Alerts {
			if a := *a; shorten(&a) {
				short.Alerts = append(short.Alerts, &a)
			}
		}
		r = &short
		data, err = json.Marshal(r)
	}
	return data, err
}

// eventData is a CloudEvent's data.
type eventData = proto.AlertChange

// eventHeaders is how many bytes a change takes besides its data, at most.
const eventHeaders = 2 << 10

// events are the changes as messages. If they are too much for a batch, or one for
// a message, they have no annotations.
func (t *turn) events() (parts []bus.Part, err error) {
	for _, short := range []bool{false, true} {
		parts = nil
		size, largest := 2*(proto.MaxMessageBytes+eventHeaders), 0 // the record and the rules
		for _, c := range t.changes {
			if short {
				c.Annotations = nil
			}
			part, err := c.event(t.cluster, t.cfg.ExternalLabels, t.cfg.Page)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
			size, largest = size+len(part.Data)+eventHeaders, max(largest, len(part.Data))
		}
		if size <= proto.MaxBatchBytes && largest <= proto.MaxMessageBytes {
			break
		}
	}
	return parts, nil
}

// event is a change as a CloudEvent in NATS's binary mode: its attributes are
// headers, its data is JSON. The same change has the same id, whoever finds it.
func (c *Change) event(cluster string, external map[string]string, page *url.URL) (bus.Part, error) {
	fingerprint := fmt.Sprintf("%016x", c.labels.Hash())
	data, err := json.Marshal(eventData{
		Status: string(c.State), Labels: withExternal(c.Labels, external), Annotations: c.Annotations, Value: c.Value,
		StartsAt: c.FiredAt, EndsAt: c.ResolvedAt, Rule: c.Rule, Group: c.Group, Page: c.pageURL(page), Fingerprint: fingerprint,
		Silenced: c.Untold,
	})
	if err != nil {
		return bus.Part{}, err
	}
	source := "/weir"
	if cluster != "" {
		source += "/" + cluster
	}
	what := string(c.State)
	if c.Unsilenced {
		what = "unsilenced"
	}
	severity := c.Labels["severity"]
	if severity == "" {
		severity = "none"
	}
	return bus.Part{
		Subject: proto.AlertSubject(severity, c.Labels[labels.AlertName]),
		Data:    data,
		Header: map[string]string{
			"ce-specversion": "1.0",
			"ce-type":        "io.weir.alert." + what,
			"ce-source":      source,
			"ce-id":          fmt.Sprintf("%s-%d-%s", fingerprint, c.FiredAt.Unix(), what),
			"ce-time":        c.At.UTC().Format(time.RFC3339),
			"ce-subject":     c.Labels[labels.AlertName],
			"content-type":   "application/json",
		},
	}, nil
}

// withExternal adds labels of the install where the alert has none of that name.
func withExternal(own, external map[string]string) map[string]string {
	if len(external) == 0 {
		return own
	}
	all := maps.Clone(external)
	maps.Copy(all, own)
	return all
}

// pageURL is the address of the page's view of what an alert is about, around the
// time it began to fire; "" if it isn't known where the page is.
func (a *Alert) pageURL(page *url.URL) string {
	if page == nil || page.Host == "" {
		return ""
	}
	state := url.Values{"view": {"services"}}
	if a.Labels["workload"] != "" {
		state.Set("view", "service")
		for key, label := range map[string]string{"ns": "namespace", "w": "workload", "kind": "workload_kind"} {
			if v := a.Labels[label]; v != "" {
				state.Set(key, v)
			}
		}
	}
	at := a.FiredAt
	if at.IsZero() {
		at = a.ActiveAt
	}
	state.Set("from", strconv.FormatInt(at.Add(-30*time.Minute).UnixMilli(), 10))
	state.Set("to", strconv.FormatInt(at.Add(5*time.Minute).UnixMilli(), 10))
	u := *page
	u.RawQuery = state.Encode()
	return u.String()
}

// sorted is the alerts in an order that people like: what fires first.
func sorted(alerts map[string]*Alert) []*Alert {
	order := map[State]int{Firing: 0, Pending: 1, Resolved: 2}
	out := slices.AppendSeq([]*Alert{}, maps.Values(alerts)) // not null
	slices.SortFunc(out, func(a, b *Alert) int {
		if order[a.State] != order[b.State] {
			return order[a.State] - order[b.State]
		}
		if c := a.ActiveAt.Compare(b.ActiveAt); c != 0 {
			return c
		}
		return labels.Compare(a.labels, b.labels)
	})
	return out
}

// wire is alerts as messages have them.
func wire(alerts []*Alert) []*proto.Alert {
	out := []*proto.Alert{} // not null
	for _, a := range alerts {
		out = append(out, &a.Alert)
	}
	return out
}
