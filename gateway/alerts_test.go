package gateway_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/page/shop"
)

// alerter stores what one would.
type alerter struct {
	*rig
	lane   *bus.Lane
	seq    uint64
	record proto.AlertRecord
}

// store stores the record with some parts.
func (a *alerter) store(parts ...bus.Part) {
	a.Helper()
	a.seq++
	a.record.V, a.record.Time = proto.AlertRecordVersion, time.Now().UTC()
	data, err := json.Marshal(a.record)
	if err != nil {
		a.Fatal(err)
	}
	if _, err := a.lane.Commit(a.Context(), parts, data, a.seq, 0, 0); err != nil {
		a.Fatal(err)
	}
}

// change is one of an alert, with the labels of the install.
func (a *alerter) change(alert *proto.Alert) bus.Part {
	a.Helper()
	of := map[string]string{"cluster": "eu"}
	for k, v := range alert.Labels {
		of[k] = v
	}
	data, err := json.Marshal(proto.AlertChange{
		Status: string(alert.State), Labels: of, Annotations: alert.Annotations, Value: alert.Value, StartsAt: alert.FiredAt, EndsAt: alert.ResolvedAt,
		Rule: alert.Rule, Group: alert.Group, Fingerprint: fmt.Sprintf("%016x", labels.FromMap(alert.Labels).Hash()),
	})
	if err != nil {
		a.Fatal(err)
	}
	return bus.Part{Subject: proto.AlertSubject(alert.Labels["severity"], alert.Rule), Data: data}
}

const slowQuery = "workload:p99 > 0.25"

// alertRules are a group of three rules, and the one of an objective.
func alertRules() proto.AlertRules {
	return proto.AlertRules{Groups: []proto.RuleGroup{
		{File: "/etc/shop.yaml", Name: "shop", Interval: 15, Limit: 7, Rules: []proto.Rule{
			{ID: "workload:p99", Kind: proto.RuleRecording, Name: "workload:p99", Query: "vector(1)"},
			{ID: "Slow", Kind: proto.RuleAlerting, Name: "Slow", Query: slowQuery, For: 30, KeepFiringFor: 60,
				Labels: map[string]string{"severity": "page"}, Annotations: map[string]string{"summary": "{{ $value }}"}},
			{ID: "Slow#2", Kind: proto.RuleAlerting, Name: "Slow", Query: "vector(2)"},
		}},
		{Name: "weir", Interval: 60, Rules: []proto.Rule{{ID: "WeirIsBehind", Kind: proto.RuleAlerting, Name: "WeirIsBehind", Query: "vector(3)"}}},
		{File: "slo", Name: "weir-slo-cart-99", Interval: 60, Rules: []proto.Rule{}, Objective: &proto.Objective{
			SLO: "cart", Service: "shop", Target: 0.99, Period: 30 * 86400, Text: "99% of requests of host/cart within 5ms over 30d",
			Labels:     map[string]string{"slo": "cart", "workload": "cart"},
			ErrorRatio: `clamp_min(1 - histogram_fraction(0, 0.005, sum(rate(http_server_request_duration_seconds{workload="cart"}[{{.window}}]))), 0) >= 0`,
		}},
		{File: "slo", Name: "weir-slo-nobody-99", Rules: []proto.Rule{}, Objective: &proto.Objective{
			SLO: "nobody", Target: 0.99, Labels: map[string]string{"slo": "nobody"}, ErrorRatio: `sum(rate(nothing[{{.window}}]))`}},
		{File: "slo", Name: "weir-slo-wrong-99", Rules: []proto.Rule{}, Objective: &proto.Objective{
			SLO: "wrong", Target: 0.99, Labels: map[string]string{"slo": "wrong"}, ErrorRatio: `sum(rate(nothing[{{.window}}])`}},
	}}
}

type alertRow struct {
	State, Name, Severity, Summary, Group, Rule string

	Labels       map[string]string
	Value        proto.Number
	Since, Until int64
	Silenced     bool
	SilencedBy   []string `json:"silenced_by"`
}

type alertsAnswer struct {
	At        int64
	Old, Past bool
	Groups    int
	Failing   []struct{ Group, Rule, Error string }
	Active    []alertRow
	History   []alertRow
	Missing   string
}

// alerts has an alerter begin to speak, and asks what it said.
func (r *rig) alerts() {
	var none alertsAnswer
	r.get("/api/alerts", http.StatusOK, &none)
	if none.At != 0 || none.Active == nil || none.History == nil || len(none.Active)+len(none.History) > 0 {
		r.Errorf("without an alerter: %+v", none)
	}
	lane, err := r.bus.OpenLane(r.Context(), bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
	if err != nil {
		r.Fatal(err)
	}
	a := &alerter{rig: r, lane: lane}
	now := time.Now().UTC().Truncate(time.Second)
	const group = "/etc/shop.yaml;shop"
	night := r.silence("Slow", "workload=silent")
	slow := &proto.Alert{
		Group: group, Rule: "Slow", State: proto.AlertFiring, Labels: map[string]string{"alertname": "Slow", "severity": "page", "workload": shop.Hostile},
		Annotations: map[string]string{"summary": "it is slow"}, Value: proto.Number(math.Inf(1)), ActiveAt: now.Add(-2 * time.Minute), FiredAt: now.Add(-90 * time.Second),
	}
	silent := &proto.Alert{Group: group, Rule: "Slow#2", State: proto.AlertFiring, Labels: map[string]string{"alertname": "Slow", "workload": "silent"},
		ActiveAt: now.Add(-48 * time.Hour), FiredAt: now.Add(-48 * time.Hour), SilencedBy: []string{night}} // for longer than changes are kept
	soon := &proto.Alert{Group: group, Rule: "Slow#2", State: proto.AlertPending, Labels: map[string]string{"alertname": "Slow"}, Value: 2, ActiveAt: now.Add(-time.Second)}
	before := *slow
	before.State, before.FiredAt, before.ResolvedAt = proto.AlertResolved, now.Add(-time.Hour), now.Add(-50*time.Minute)
	began := before
	began.State, began.ResolvedAt = proto.AlertFiring, time.Time{}
	a.record = proto.AlertRecord{
		Alerts: []*proto.Alert{slow, soon, &before, silent},
		Groups: map[string]proto.AlertGroup{
			group: {Evaluated: now, Interval: 15, Took: 0.25, Rules: 3, Errors: map[string]string{"workload:p99": "it is wrong"}}, ";weir": {Evaluated: now},
		},
	}
	rules := alertRules()
	data, _, err := rules.Encode()
	if err != nil {
		r.Fatal(err)
	}
	a.store(bus.Part{Subject: proto.SubjectAlertRules, Data: data}, a.change(&began), a.change(&before), a.change(slow))
	// What isn't an alerter's is passed over.
	bustest.Publish(r.T, r.server.URL, proto.SubjectAlertCommit, []byte(`{"v":1,"alerts":[]}`))

	r.firing(1)
	r.Run("now", func(t *testing.T) { r.as(t).alertsNow(slow, now) })
	r.Run("then", func(t *testing.T) { r.as(t).alertsThen(now) })
	r.Run("budgets", func(t *testing.T) { r.as(t).budgets() })
	client, err := api.NewClient(api.Config{Address: r.url})
	if err != nil {
		r.Fatal(err)
	}
	c := v1.NewAPI(client)
	r.Run("rules", func(t *testing.T) { r.as(t).promRules(c, now) })
	r.Run("filters", func(t *testing.T) { r.as(t).ruleFilters() })

	r.Run("silences", func(t *testing.T) { r.as(t).silences(night) })
	r.Run("values", func(t *testing.T) { r.as(t).values(a, c) })

	// It is over: who looks hears of it, though nothing else has happened.
	over := *slow
	over.State, over.ResolvedAt = proto.AlertResolved, now
	a.record.Alerts = []*proto.Alert{soon, &over}
	a.store(a.change(&over))
	r.firing(0)
	var got alertsAnswer
	r.get("/api/alerts", http.StatusOK, &got)
	if len(got.Active) != 2 || got.History[0].State != "resolved" || got.History[0].Until != now.UnixMilli() {
		r.Errorf("%+v", got)
	}
}

// firing waits until viewers are told how many fire.
func (r *rig) firing(n int) {
	r.Helper()
	r.stream("live", "", func(_ string, data []byte) bool {
		var l struct {
			Alerts *struct{ Firing, Pending int }
		}
		if err := json.Unmarshal(data, &l); err != nil {
			r.Fatal(err)
		}
		return l.Alerts == nil || l.Alerts.Firing != n || l.Alerts.Pending != 1
	})
}

// silence stores one, and returns its ID.
func (r *rig) silence(matchers ...string) string {
	r.Helper()
	s, err := silence.New(matchers, time.Hour, "ann", "it is night", time.Now())
	if err == nil {
		err = s.Store(r.Context(), r.bus)
	}
	if err != nil {
		r.Fatal(err)
	}
	return s.ID
}

// Silences are those that haven't ended, and those by which an alert is silenced
// still.
func (r *rig) silences(night string) {
	type row struct {
		ID, Author, Comment string
		Matchers            []string
		Since, Until        int64
		Alerts              int
	}
	var got struct {
		Rows    []row
		Missing string
	}
	ask := func(wanted func() bool) {
		r.Helper()
		bustest.Eventually(r.T, func() bool { // an answer holds for a while
			r.get("/api/silences", http.StatusOK, &got)
			return wanted()
		}, "silences are %+v", &got)
	}
	ask(func() bool {
		return len(got.Rows) == 1 && got.Rows[0].ID == night && got.Rows[0].Alerts == 1 && got.Rows[0].Author == "ann" && got.Rows[0].Comment == "it is night" &&
			slices.Equal(got.Rows[0].Matchers, []string{`alertname="Slow"`, `workload="silent"`}) && got.Rows[0].Until-got.Rows[0].Since == 3_600_000 && got.Missing == ""
	})
	other := r.silence("Other")
	ask(func() bool { return len(got.Rows) == 2 && got.Rows[1].ID == other && got.Rows[1].Alerts == 0 })
	for _, id := range []string{night, other} {
		if err := silence.End(r.Context(), r.bus, id, time.Now()); err != nil {
			r.Fatal(err)
		}
	}
	ask(func() bool {
		return len(got.Rows) == 1 && got.Rows[0].ID == night && got.Rows[0].Until <= time.Now().UnixMilli()
	})
}

// values tells of a round that stores nothing: its values are shown.
func (r *rig) values(a *alerter, c v1.API) {
	later := a.record
	later.Time = a.record.Time.Add(time.Minute)
	later.Groups = map[string]proto.AlertGroup{";weir": {Evaluated: later.Time}}
	soon := *a.record.Alerts[1]
	soon.Value = 7
	later.Alerts = []*proto.Alert{a.record.Alerts[0], &soon}
	data, err := json.Marshal(later)
	if err == nil {
		err = a.lane.Tell(proto.SubjectAlertLive, data, a.seq)
	}
	if err != nil {
		r.Fatal(err)
	}
	var now alertsAnswer
	bustest.Eventually(r.T, func() bool {
		r.get("/api/alerts", http.StatusOK, &now)
		return now.At == later.Time.UnixMilli() && len(now.Active) == 2 && now.Active[1].Value == 7
	}, "what is shown is %+v", &now)
	alerts, err := c.Alerts(r.Context())
	if err != nil || len(alerts.Alerts) != 2 || alerts.Alerts[1].Value != "7e+00" {
		r.Errorf("%+v %v", alerts, err)
	}
	rules, err := c.Rules(r.Context(), nil)
	if err != nil || !rules.Groups[1].Rules[0].(v1.AlertingRule).LastEvaluation.Equal(later.Time) {
		r.Errorf("%+v %v", rules, err)
	}
}

func (r *rig) alertsNow(slow *proto.Alert, now time.Time) {
	var got alertsAnswer
	r.get("/api/alerts", http.StatusOK, &got)
	if got.Old || got.Past || got.Groups != 2 || got.Missing != "" || len(got.Active) != 4 || len(got.History) != 3 {
		r.Fatalf("%+v", got)
	}
	f := got.Active[0]
	if f.State != "firing" || f.Name != "Slow" || f.Severity != "page" || f.Summary != "it is slow" || f.Labels["workload"] != shop.Hostile ||
		!math.IsInf(float64(f.Value), 1) || f.Since != slow.FiredAt.UnixMilli() || f.Until != 0 {
		r.Errorf("%+v", f)
	}
	if p, o := got.Active[1], got.Active[2]; p.State != "pending" || p.Since != now.Add(-time.Second).UnixMilli() || o.State != "resolved" || o.Until == 0 {
		r.Errorf("%+v %+v", p, o)
	}
	if s := got.Active[3]; !s.Silenced || len(s.SilencedBy) != 1 || s.State != "firing" || f.Silenced || got.History[2].Labels["workload"] != "silent" {
		r.Errorf("%+v in %+v", s, got.History)
	}
	newest, oldest := got.History[0], got.History[1]
	if newest.State != "firing" || newest.Labels["cluster"] != "eu" || oldest.State != "resolved" || oldest.Until-oldest.Since != 600_000 {
		r.Errorf("%+v\n%+v", newest, oldest)
	}
	if len(got.Failing) != 1 || got.Failing[0].Rule != "workload:p99" || got.Failing[0].Error != "it is wrong" {
		r.Errorf("%+v", got.Failing)
	}
}

// At another time it is as it was then.
func (r *rig) alertsThen(now time.Time) {
	at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	var got alertsAnswer
	r.get(fmt.Sprintf("/api/alerts?to=%d", at(55*time.Minute)), http.StatusOK, &got)
	if !got.Past || len(got.Active) != 2 || got.Active[0].State != "firing" || len(got.History) != 2 || got.History[0].Until != 0 {
		r.Errorf("as it fired: %+v", got)
	}
	r.get(fmt.Sprintf("/api/alerts?from=%d&to=%d", at(40*time.Minute), at(10*time.Minute)), http.StatusOK, &got)
	if len(got.Active) != 1 || len(got.History) != 1 || got.History[0].Labels["workload"] != "silent" {
		r.Errorf("between: %+v", got)
	}
	for _, q := range []string{"to=soon", "from=2&to=1", fmt.Sprintf("from=%d", at(-time.Hour))} {
		var wrong struct{ Error string }
		r.get("/api/alerts?"+q, http.StatusBadRequest, &wrong)
		if wrong.Error == "" {
			r.Errorf("%s: no error", q)
		}
	}
	r.get(fmt.Sprintf("/api/alerts?from=%d", at(48*time.Hour)), http.StatusOK, &got)
	if got.Missing == "" {
		r.Error("changes of two days ago aren't said to be missing")
	}
}

// The budget is what the same PromQL gives.
func (r *rig) budgets() {
	var got struct {
		At   int64
		Now  float64 `json:"now_s"`
		Long float64 `json:"long_s"`
		Rows []struct {
			SLO, Service, Text, Error string
			Labels                    map[string]string
			Target, Period            float64
			RatioNow                  *float64 `json:"ratio_now"`
			Ratio, Burn, Used         *float64
		}
		Missing string
	}
	r.get("/api/budgets", http.StatusOK, &got)
	if len(got.Rows) != 3 || got.Missing != "" || got.At%60_000 != 0 || got.Long < 480 || got.Long > 1200 || got.Now != got.Long {
		r.Fatalf("%+v", got)
	}
	cart := got.Rows[0]
	var want struct {
		Data struct{ Result []struct{ Value []any } }
	}
	expr := fmt.Sprintf(`1 - histogram_fraction(0, 0.005, sum(rate(http_server_request_duration_seconds{workload="cart"}[%ds])))`, int(got.Long))
	r.get("/api/v1/query?time="+fmt.Sprint(got.At/1000)+"&query="+url.QueryEscape(expr), http.StatusOK, &want)
	if cart.Ratio == nil || len(want.Data.Result) != 1 || fmt.Sprint(*cart.Ratio) != want.Data.Result[0].Value[1] || *cart.Ratio < 0.05 || *cart.Ratio > 0.9 {
		r.Fatalf("%+v, want %v", cart, want)
	}
	if math.Abs(*cart.Used-*cart.Ratio/0.01) > 1e-9 || math.Abs(*cart.Burn-*cart.RatioNow/0.01) > 1e-9 || cart.Labels["workload"] != "cart" || cart.Text == "" {
		r.Errorf("%+v", cart)
	}
	if nobody := got.Rows[1]; nobody.Ratio != nil || nobody.Burn != nil || nobody.Error != "" {
		r.Errorf("of nobody's requests: %+v", nobody)
	}
	if wrong := got.Rows[2]; wrong.Error == "" {
		r.Errorf("%+v", wrong)
	}
}

func (r *rig) promRules(c v1.API, now time.Time) {
	alerts, err := c.Alerts(r.Context())
	if err != nil || len(alerts.Alerts) != 3 {
		r.Fatalf("%+v %v", alerts, err)
	}
	if a := alerts.Alerts[0]; a.State != v1.AlertStateFiring || a.Value != "+Inf" || !a.ActiveAt.Equal(now.Add(-2*time.Minute)) || a.Labels["workload"] != shop.Hostile || a.Annotations["summary"] == "" {
		r.Errorf("%+v", a)
	}
	if a := alerts.Alerts[1]; a.State != v1.AlertStatePending || a.Value != "2e+00" {
		r.Errorf("%+v", a)
	}
	found, err := c.Rules(r.Context(), nil)
	if err != nil || len(found.Groups) != 2 {
		r.Fatalf("%+v %v", found, err)
	}
	g, weir := found.Groups[0], found.Groups[1]
	if g.Name != "shop" || g.File != "/etc/shop.yaml" || g.Interval != 15 || len(g.Rules) != 3 || weir.File != "weir" {
		r.Fatalf("%+v", g)
	}
	if rec := g.Rules[0].(v1.RecordingRule); rec.Name != "workload:p99" || rec.Health != v1.RuleHealthBad || rec.LastError != "it is wrong" || !rec.LastEvaluation.Equal(now) {
		r.Errorf("%+v", rec)
	}
	slow := g.Rules[1].(v1.AlertingRule)
	if slow.Query != slowQuery || slow.Duration != 30 || slow.Labels["severity"] != "page" || slow.State != "firing" || slow.Health != v1.RuleHealthGood ||
		len(slow.Alerts) != 1 || slow.Alerts[0].State != v1.AlertStateFiring {
		r.Errorf("%+v", slow)
	}
	if second := g.Rules[2].(v1.AlertingRule); second.State != "firing" || len(second.Alerts) != 2 {
		r.Errorf("%+v", second)
	}
	if w := weir.Rules[0].(v1.AlertingRule); w.State != "inactive" || len(w.Alerts) != 0 {
		r.Errorf("%+v", w)
	}
}

// The keys are Prometheus's, and so are the filters.
func (r *rig) ruleFilters() {
	type answer struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []map[string]any
			}
			GroupNextToken string
		}
	}
	ask := func(q string) (names []string, a answer) {
		r.Helper()
		r.get("/api/v1/rules?"+q, http.StatusOK, &a)
		for _, g := range a.Data.Groups {
			for _, rule := range g.Rules {
				names = append(names, g.Name+" "+rule["name"].(string))
			}
		}
		return names, a
	}
	all := []string{"shop workload:p99", "shop Slow", "shop Slow", "weir WeirIsBehind"}
	for q, want := range map[string][]string{
		"":                                    all,
		"type=record":                         all[:1],
		"type=alert":                          all[1:],
		"rule_name[]=Slow":                    all[1:3],
		"rule_group[]=weir":                   all[3:],
		"match[]=%7Bseverity%3D%22page%22%7D": all[1:2],
		"match[]=%7Bseverity%3D%22no%22%7D&match[]=%7Bseverity%3D~%22p.%2B%22%7D": all[1:2],
		"file[]=/etc/shop.yaml&type=record":                                       all[:1],
		"file[]=weir&rule_name[]=Slow":                                            nil,
		"rule_group[]=weir&rule_group[]=shop&rule_name[]=WeirIsBehind":            all[3:],
	} {
		if names, _ := ask(q); !slices.Equal(names, want) {
			r.Errorf("%s: %q, want %q", q, names, want)
		}
	}
	_, a := ask("type=alert&exclude_alerts=true")
	rule := a.Data.Groups[0].Rules[0]
	if alerts, there := rule["alerts"]; !there || alerts != nil {
		r.Errorf("alerts are excluded, and are %v", alerts)
	}
	delete(rule, "lastEvaluation")
	want := map[string]any{
		"alerts": nil, "annotations": map[string]any{"summary": "{{ $value }}"}, "duration": 30.0, "evaluationTime": 0.0, "health": "ok", "keepFiringFor": 60.0,
		"labels": map[string]any{"severity": "page"}, "name": "Slow", "query": slowQuery, "state": "firing", "type": "alerting",
	}
	if !reflect.DeepEqual(rule, want) {
		r.Errorf("%v, want %v", rule, want)
	}
	names, a := ask("group_limit=1")
	if !slices.Equal(names, all[:3]) || a.Data.GroupNextToken == "" {
		r.Errorf("the first page is %q", names)
	}
	names, last := ask("group_limit=1&group_next_token=" + a.Data.GroupNextToken)
	if !slices.Equal(names, all[3:]) || last.Data.GroupNextToken != "" {
		r.Errorf("the second page is %q", names)
	}
	for _, q := range []string{"type=both", "exclude_alerts=maybe", "group_limit=0", "match[]=%7B", "match[]=%7B%7D", "group_next_token=x", "group_limit=1&group_next_token=x"} {
		var got struct{ Status, ErrorType string }
		r.get("/api/v1/rules?"+q, http.StatusBadRequest, &got)
		if got.Status != "error" || got.ErrorType != "bad_data" {
			r.Errorf("%s: %+v", q, got)
		}
	}
}
