package bustest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

const partitions = 4

// TestPermissions runs every part as its own user of the chart's NATS: they can
// do all they need, and nothing of what is another's.
func TestPermissions(t *testing.T) {
	i := startInstalled(t)
	everything(t, i)
	for _, user := range components {
		t.Run(user, func(t *testing.T) { matrix(t, i, user) })
	}
}

// everything goes once through the pipeline. Not one publish may be denied.
func everything(t *testing.T, i *installed) {
	conns := map[string]*bus.Conn{}
	for _, user := range components {
		conns[user] = i.connect(t, user)
	}
	if _, err := conns["agent"].Partitions(t.Context()); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("before the streams are made an agent is told %v", err)
	}
	layout := bus.Layout{Partitions: partitions, Replicas: 3, RawBytes: 64 << 20, EnrichedBytes: 64 << 20, LatencyBytes: 64 << 20, RollupBytes: 64 << 20, HistoryBytes: 64 << 20}
	i.provision(t, conns["provisioner"], layout)
	layout.RawBytes *= 2 // an upgrade that enlarges a stream
	i.provision(t, conns["provisioner"], layout)

	leftOut(t, conns)
	silences(t, conns)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var g errgroup.Group
	for _, holder := range []string{"a", "b"} {
		g.Go(func() error {
			return enricher.Run(ctx, enricher.Config{Bus: conns["enricher"], Holder: holder}, discard)
		})
		g.Go(func() error {
			return aggregator.Run(ctx, aggregator.Config{Bus: conns["aggregator"], Holder: holder, CommitEvery: time.Second}, discard)
		})
	}
	g.Go(func() error { return api.Run(ctx, conns["gateway"], "https://weir.example.com/") })
	live := make(chan string, 1)
	g.Go(func() error {
		return conns["subscriber"].Subscribe(ctx, proto.StreamLatency, proto.SubjectsLive, func(m bus.Message) {
			select {
			case live <- m.Subject:
			default:
			}
		})
	})
	alerts := alerting(ctx, t, conns, &g)
	want := publishAll(t, conns["agent"])
	got := uint64(0)
	bustest.Eventually(t, func() bool {
		got = 0
		ledger, err := query.ReadLedger(t.Context(), conns["events"], query.Between(time.Now().Add(-time.Hour), time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range ledger.Accounts {
			got += a.Delivered
		}
		return got == want
	}, "not all of %d events are counted", want)
	if subject := <-live; !strings.HasPrefix(subject, proto.LivePrefix) {
		t.Errorf("a live message is on %s", subject)
	}
	read(t, conns, want)
	ask(t, conns)
	alerts()
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for user, c := range conns {
		// A subscriber would like to know whether there is more to come.
		if n := c.Stats().Denied; n > 0 && user != "subscriber" {
			t.Errorf("%s was denied something %d times", user, n)
		}
	}
}

// alerting runs two alerters with a rule that fires. The result waits until a
// webhook of theirs, subscribers and the command line have heard of it.
func alerting(ctx context.Context, t *testing.T, conns map[string]*bus.Conn, g *errgroup.Group) (wait func()) {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	err := os.WriteFile(rules, []byte(`
groups:
- name: requests
  interval: 10s
  rules:
  - record: requests:count
    expr: count(http_server_request_duration_seconds)
  - alert: Fires
    expr: count(http_server_request_duration_seconds) > 0
    labels: {severity: page}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- "webhook " + string(body)
	}))
	t.Cleanup(receiver.Close)
	to, err := url.Parse(receiver.URL)
	if err != nil {
		t.Fatal(err)
	}
	readers := []string{"subscriber", "events", "gateway"}
	for _, user := range readers {
		ready := make(chan struct{})
		g.Go(func() error {
			return conns[user].Consume(ctx, proto.StreamAlerts, proto.SubjectsAlert, "of-"+user, sync.OnceFunc(func() { close(ready) }),
				func(_ context.Context, m *bus.Message) error {
					told <- user + " " + m.Subject
					return nil
				})
		})
		select {
		case <-ready:
		case <-time.After(bustest.Timeout):
			t.Fatalf("%s can't consume alerts", user)
		}
	}
	for _, holder := range []string{"a", "b"} {
		g.Go(func() error {
			return alert.Run(ctx, alert.Config{
				Bus: conns["alerter"], Holder: holder, Rules: []string{rules},
				Webhooks: []*alert.Webhook{{Name: "hook", URL: to, Body: template.Must(template.New("").Parse(`{{.Status}}`))}},
			}, discard)
		})
	}
	return func() {
		t.Helper()
		want := map[string]bool{"webhook firing": true}
		for _, user := range readers {
			want[user+" "+proto.AlertSubject("page", "Fires")] = true
		}
		for deadline := time.After(2 * time.Minute); len(want) > 0; {
			select {
			case what := <-told:
				delete(want, what)
			case <-deadline:
				t.Fatalf("not told of the alert: %v", want)
			}
		}
		for _, user := range readers {
			last, err := conns[user].LastMessages(t.Context(), proto.StreamAlerts, proto.SubjectAlertCommit)
			if err != nil || len(last) != 1 {
				t.Errorf("%s reads %d records of alerts: %v", user, len(last), err)
				continue
			}
			record, err := proto.DecodeAlertRecord(last[0].Data)
			if err != nil || len(record.Alerts) == 0 || record.Groups[rules+";requests"].Error != "" {
				t.Errorf("%s reads that %+v: %v", user, record, err)
			}
			names := map[string]bool{}
			err = recorded.Read(t.Context(), conns[user], recorded.ReadConfig{}, func(_ *bus.Message, _ *proto.Recorded, samples []recorded.Sample, err error) bool {
				for _, s := range samples {
					names[s.Labels.Get(model.MetricNameLabel)] = true
				}
				return err == nil
			})
			if err != nil || !names["requests:count"] || !names["ALERTS"] {
				t.Errorf("%s reads that rules recorded %v: %v", user, names, err)
			}
			told, err := conns[user].LastMessages(t.Context(), proto.StreamAlerts, proto.SubjectAlertRules)
			if err != nil || len(told) != 1 {
				t.Errorf("%s reads %d messages of rules: %v", user, len(told), err)
			}
		}
	}
}

// leftOut has an enricher say what is left out, and an agent hear it.
func leftOut(t *testing.T, conns map[string]*bus.Conn) {
	t.Helper()
	key := proto.LeftOutKey("node.1")
	for _, value := range []string{"pods", ""} {
		table, err := conns["enricher"].OpenTable(t.Context(), proto.BucketLeftOut)
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		bustest.Eventually(t, func() bool { // any replica answers
			got, err = conns["agent"].Value(t.Context(), proto.BucketLeftOut, key)
			return err == nil && string(got) == value
		}, "an agent doesn't hear what is left out: %v", &err)
	}
}

// silences has the operator silence what never fires, and others see it.
func silences(t *testing.T, conns map[string]*bus.Conn) {
	t.Helper()
	s, err := silence.New([]string{"Never"}, time.Hour, "", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store(t.Context(), conns["operator"]); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"operator", "alerter", "events", "gateway"} {
		all, unreadable, err := silence.All(t.Context(), conns[user])
		if err != nil || unreadable != nil || len(all) != 1 {
			t.Errorf("%s reads %d silences: %v %v", user, len(all), unreadable, err)
		}
	}
	if err := silence.End(t.Context(), conns["operator"], s.ID, time.Now()); err != nil {
		t.Error(err)
	}
}

// publishAll publishes as the agents of a few nodes and returns the number of events.
func publishAll(t *testing.T, c *bus.Conn) (events uint64) {
	t.Helper()
	for n, node := range []string{"node1", "node2", "node3", "node4"} {
		lane, err := c.OpenLane(t.Context(), bus.LaneConfig{
			Stream: proto.StreamRaw, Subject: proto.RawSubject(proto.Partition(node, partitions), node), Direct: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		a := &agent{lane: lane, load: bustest.NewLoad(node, lane.Epoch(), uint64(n))}
		for range 3 {
			if err := a.publish(t.Context(), 100, time.Now().Add(-time.Minute).UnixNano()); err != nil {
				t.Fatal(err)
			}
			events += 100
		}
		if err := a.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// read asks what the command line does.
func read(t *testing.T, conns map[string]*bus.Conn, want uint64) {
	t.Helper()
	all := query.Between(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for _, user := range []string{"subscriber", "events"} {
		result, err := query.Latency(t.Context(), conns[user], query.Options{Interval: all})
		if err != nil {
			t.Fatal(err)
		}
		var got uint64
		for _, row := range result.Rows {
			got += row.Hist.Count
		}
		if got != want {
			t.Errorf("%s reads %d requests in weir latency, %d were published", user, got, want)
		}
	}
	seen := uint64(0)
	err := query.Events(t.Context(), conns["events"], query.EventOptions{Interval: all}, func(*query.Event) error { seen++; return nil })
	if err != nil || seen != want {
		t.Errorf("weir observe shows %d of %d events: %v", seen, want, err)
	}
	if _, err := query.ReadStages(t.Context(), conns["events"]); err != nil {
		t.Error(err)
	}
	if err := conns["events"].Verify(t.Context()); err != nil {
		t.Error(err)
	}
	page(t, conns["gateway"], want)
	var denied *bus.DeniedError
	if err := query.Events(t.Context(), conns["subscriber"], query.EventOptions{Interval: all}, func(*query.Event) error { return nil }); !errors.As(err, &denied) {
		t.Errorf("a subscriber of latencies reads single requests: %v", err)
	}
}

// page asks what a viewer of the page does.
func page(t *testing.T, c *bus.Conn, want uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	address := bustest.FreeAddr(t)
	done := make(chan error, 1)
	go func() {
		done <- gateway.Run(ctx, gateway.Config{Bus: c, HTTP: address, Registry: prometheus.NewRegistry()}, discard)
	}()
	get := func(path string) string {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	bustest.Eventually(t, func() bool {
		var answer struct{ Rows []struct{ Count uint64 } }
		if json.Unmarshal([]byte(get("/api/services?last=1h")), &answer) != nil {
			return false
		}
		var got uint64
		for _, r := range answer.Rows {
			got += r.Count
		}
		return got == want
	}, "the page does not show %d requests", want)
	for path, in := range map[string]string{
		"/api/health?last=15m": `"delivered":` + strconv.FormatUint(want, 10), "/api/events?last=1h&limit=3": `"shown":3`,
		"/api/exemplars?namespace=host&workload=cart&last=1h": `"value_ms"`,
	} {
		if got := get(path); !strings.Contains(got, in) {
			t.Errorf("%s has no %s: %.500s", path, in, got)
		}
	}
	bustest.Eventually(t, func() bool { return strings.Contains(get("/api/v1/rules"), `"name":"Fires"`) }, "the gateway doesn't hear of the rules")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// ask asks the gateway's service as those who may.
func ask(t *testing.T, conns map[string]*bus.Conn) {
	t.Helper()
	for user, endpoints := range map[string][]string{"subscriber": {"latency", "map"}, "events": {"latency", "map", "events"}} {
		for _, endpoint := range endpoints {
			a, err := conns[user].Ask(t.Context(), api.Subject(endpoint), []byte(`{"since":"1h"}`))
			if err != nil || a.Code != "" || len(a.Data) < 100 {
				t.Errorf("%s asks for %s: %v %s %s %s", user, endpoint, err, a.Code, a.Description, a.Data)
			}
		}
	}
	for _, user := range []string{"subscriber", "events"} {
		metadata, err := conns[user].Metadata(t.Context(), api.Name)
		if err != nil || metadata[api.PageKey] != "https://weir.example.com/" {
			t.Errorf("%s asks where the page is: %v %v", user, metadata, err)
		}
	}
	var denied *bus.DeniedError
	if _, err := conns["subscriber"].Ask(t.Context(), api.Subject("events"), nil); !errors.As(err, &denied) {
		t.Errorf("a subscriber of latencies asks for single requests: %v", err)
	}
}

// allowed are the users who may publish to a subject; nobody else may, and
// nobody to what isn't listed here.
var allowed = map[string]string{
	"weir.raw.p00.node1":                             "agent",
	"$JS.API.DIRECT.GET.WEIR_RAW.weir.raw.p00.node1": "agent",

	"weir.enriched.p00":              "enricher",
	"weir.seen.p00":                  "enricher",
	"$KV.WEIR_LEASES.enricher.p00":   "enricher",
	"weir.latency.shop.cart":         "aggregator",
	"weir.commit.p00":                "aggregator",
	"weir.rollup.shop.cart":          "aggregator",
	"weir.rollup-commit":             "aggregator",
	"weir.history.shop.cart":         "aggregator",
	"weir.history-commit":            "aggregator",
	"$KV.WEIR_LEASES.aggregator.p00": "aggregator",
	"$KV.WEIR_LEFT_OUT.node1":        "enricher",
	"weir.alert.critical.slow":       "alerter",
	"weir.alert-commit":              "alerter",
	"weir.recorded.shop":             "alerter",
	"weir.recorded-commit":           "alerter",
	"weir.alert-rules":               "alerter",
	"weir.live.alert-commit":         "alerter",
	"$KV.WEIR_LEASES.alerter.rules":  "alerter",

	"$KV.WEIR_LEFT_OUT.install.retired":                                     "provisioner",
	"$JS.API.DIRECT.GET.KV_WEIR_LEFT_OUT.$KV.WEIR_LEFT_OUT.install.retired": "agent provisioner",

	"$JS.API.DIRECT.GET.KV_WEIR_LEFT_OUT.$KV.WEIR_LEFT_OUT.node1":      "agent",
	"$JS.API.DIRECT.GET.KV_WEIR_LEASES.$KV.WEIR_LEASES.enricher.p00":   "enricher",
	"$JS.API.DIRECT.GET.KV_WEIR_LEASES.$KV.WEIR_LEASES.aggregator.p00": "aggregator",
	"$JS.API.DIRECT.GET.KV_WEIR_LEASES.$KV.WEIR_LEASES.alerter.rules":  "alerter",

	"$JS.API.INFO":         "provisioner",
	"$JS.API.STREAM.NAMES": "subscriber events",

	"$JS.API.STREAM.INFO.WEIR_RAW":       "agent enricher aggregator alerter provisioner subscriber events",
	"$JS.API.STREAM.INFO.WEIR_ENRICHED":  "aggregator provisioner events",
	"$JS.API.STREAM.INFO.WEIR_LATENCY":   "aggregator alerter provisioner subscriber events",
	"$JS.API.STREAM.INFO.WEIR_ROLLUP":    "aggregator alerter provisioner subscriber events",
	"$JS.API.STREAM.INFO.WEIR_HISTORY":   "alerter provisioner subscriber events",
	"$JS.API.STREAM.INFO.WEIR_RECORDED":  "alerter provisioner subscriber events",
	"$JS.API.STREAM.INFO.WEIR_ALERTS":    "provisioner operator subscriber events",
	"$JS.API.STREAM.INFO.KV_WEIR_LEASES": "enricher aggregator alerter provisioner",

	"$JS.API.STREAM.INFO.KV_WEIR_LEFT_OUT":                               "enricher provisioner",
	"$JS.API.CONSUMER.CREATE.KV_WEIR_LEFT_OUT.c.$KV.WEIR_LEFT_OUT.*":     "enricher",
	"$JS.API.CONSUMER.CREATE.KV_WEIR_LEFT_OUT.c.$KV.WEIR_LEFT_OUT.node1": "enricher",
	"$JS.API.CONSUMER.MSG.NEXT.KV_WEIR_LEFT_OUT.c":                       "enricher",
	"$JS.API.CONSUMER.DELETE.KV_WEIR_LEFT_OUT.c":                         "enricher",

	"$KV.WEIR_SILENCES.3f0c55aa":                                         "operator",
	"$JS.API.STREAM.INFO.KV_WEIR_SILENCES":                               "alerter provisioner operator events",
	"$JS.API.CONSUMER.CREATE.KV_WEIR_SILENCES.c.$KV.WEIR_SILENCES.*":     "alerter operator events",
	"$JS.API.CONSUMER.CREATE.KV_WEIR_SILENCES.c.$KV.WEIR_SILENCES.3f0c5": "alerter operator events",
	"$JS.API.CONSUMER.MSG.NEXT.KV_WEIR_SILENCES.c":                       "alerter operator events",
	"$JS.API.CONSUMER.DELETE.KV_WEIR_SILENCES.c":                         "alerter operator events",

	"$JS.API.STREAM.MSG.GET.WEIR_ENRICHED": "enricher aggregator",
	"$JS.API.STREAM.MSG.GET.WEIR_LATENCY":  "aggregator",
	"$JS.API.STREAM.MSG.GET.WEIR_ROLLUP":   "aggregator",
	"$JS.API.STREAM.MSG.GET.WEIR_HISTORY":  "aggregator",
	"$JS.API.STREAM.MSG.GET.WEIR_ALERTS":   "alerter",
	"$JS.API.STREAM.MSG.GET.WEIR_RECORDED": "alerter",

	"$JS.API.CONSUMER.CREATE.WEIR_RAW.c.weir.raw.p00.*":          "enricher events",
	"$JS.API.CONSUMER.CREATE.WEIR_RAW.c.weir.raw.>":              "events",
	"$JS.API.CONSUMER.CREATE.WEIR_RAW.c":                         "events",
	"$JS.API.CONSUMER.CREATE.WEIR_ENRICHED.c.weir.enriched.p00":  "aggregator events",
	"$JS.API.CONSUMER.CREATE.WEIR_ENRICHED.c":                    "events",
	"$JS.API.CONSUMER.CREATE.WEIR_LATENCY.c.weir.commit.*":       "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_LATENCY.c.weir.latency.>":      "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_LATENCY.c":                     "aggregator alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ROLLUP.c.weir.rollup-commit":   "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ROLLUP.c.weir.rollup.>":        "subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ROLLUP.c":                      "aggregator alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_HISTORY.c.weir.history-commit": "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_HISTORY.c.weir.history.>":      "subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_HISTORY.c":                     "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_RECORDED.c.weir.recorded.*":    "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_RECORDED.c":                    "subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ALERTS.c.weir.alert-commit":    "operator subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ALERTS.c.weir.alert-rules":     "subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ALERTS.c.weir.alert.>":         "alerter subscriber events",
	"$JS.API.CONSUMER.CREATE.WEIR_ALERTS.c":                      "subscriber events",
	"$JS.API.CONSUMER.DURABLE.CREATE.WEIR_ALERTS.c":              "subscriber events",
	"$JS.API.CONSUMER.INFO.WEIR_ALERTS.c":                        "alerter subscriber events",
	"$JS.API.CONSUMER.MSG.NEXT.WEIR_ALERTS.c":                    "alerter operator subscriber events",
	"$JS.API.CONSUMER.DELETE.WEIR_ALERTS.c":                      "operator subscriber events",
	"$JS.ACK.WEIR_ALERTS.c.1.1.1.1.0":                            "alerter subscriber events",
	"$JS.FC.WEIR_ALERTS.c.x":                                     "subscriber events",
}

func init() {
	for stream, readers := range map[string]string{
		"WEIR_RAW": "enricher events", "WEIR_ENRICHED": "aggregator events", "WEIR_LATENCY": "aggregator alerter subscriber events", "WEIR_ROLLUP": "aggregator alerter subscriber events", "WEIR_HISTORY": "alerter subscriber events",
		"WEIR_RECORDED": "alerter subscriber events",
	} {
		allowed["$JS.API.CONSUMER.MSG.NEXT."+stream+".c"] = readers
		allowed["$JS.API.CONSUMER.DELETE."+stream+".c"] = readers
		tools := strings.NewReplacer("enricher ", "", "aggregator ", "", "alerter ", "").Replace(readers)
		allowed["$JS.API.CONSUMER.INFO."+stream+".c"] = tools
		allowed["$JS.FC."+stream+".c.x"] = tools
	}
	for subject, users := range allowed { // the gateway reads as the command line does
		if strings.HasSuffix(users, "events") {
			allowed[subject] = users + " gateway"
		}
	}
	for subject, users := range map[string]string{
		"weir.api.latency": "subscriber events", "weir.api.map": "subscriber events", "weir.api.events": "events",
		"$SRV.PING": "subscriber events", "$SRV.INFO.weir": "subscriber events",
	} {
		allowed[subject] = users
	}
	for _, stream := range streams[:10] {
		allowed["$JS.API.STREAM.CREATE."+stream] = "provisioner"
		allowed["$JS.API.STREAM.UPDATE."+stream] = "provisioner"
	}
}

var streams = []string{"WEIR_RAW", "WEIR_ENRICHED", "WEIR_LATENCY", "WEIR_ROLLUP", "WEIR_HISTORY", "WEIR_ALERTS", "WEIR_RECORDED", "KV_WEIR_LEASES", "KV_WEIR_LEFT_OUT", "KV_WEIR_SILENCES", "OTHER"}

// subjects are all that there are to publish to: allowed to somebody, or to nobody.
func subjects() []string {
	all := slices.Collect(maps.Keys(allowed))
	for _, s := range streams {
		for _, verb := range []string{"INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.GET", "MSG.DELETE", "LEADER.STEPDOWN", "PEER.REMOVE"} {
			all = append(all, "$JS.API.STREAM."+verb+"."+s)
		}
		for _, verb := range []string{"CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "PAUSE", "RESET", "UNPIN", "LEADER.STEPDOWN"} {
			all = append(all, "$JS.API.CONSUMER."+verb+"."+s+".c")
		}
		for _, filter := range []string{"weir.raw.p00.*", "weir.raw.>", "weir.enriched.p00", "weir.latency.>", "weir.rollup.>", "weir.history.>", "weir.alert.>", "weir.recorded.*", "$KV.>", ">"} {
			all = append(all, "$JS.API.CONSUMER.CREATE."+s+".c."+filter)
		}
		all = append(all, "$JS.API.CONSUMER.LIST."+s, "$JS.API.CONSUMER.NAMES."+s,
			"$JS.API.DIRECT.GET."+s, "$JS.API.DIRECT.GET."+s+".weir.raw.p00.node1", "$JS.API.DIRECT.GET."+s+".weir.latency.shop.cart",
			"$JS.ACK."+s+".c.1.1.1.1.0", "$JS.FC."+s+".c.x", "$JS.SNAPSHOT.ACK."+s+".x")
	}
	all = append(all,
		"weir.raw.p00", "weir.raw.p00.node1.more", "weir.enriched.p00.more", "weir.commit.p00.more", "weir.live.latency.shop.cart",
		"weir.alert.critical", "weir.alert.critical.slow.more", "weir.recorded.shop.more", "weir.api.other.more", "weir.other", "other",
		"$KV.WEIR_LEASES.other.p00", "$KV.WEIR_LEFT_OUT.node1.more", "$KV.WEIR_LEFT_OUT", "$KV.WEIR_SILENCES.3f0c55aa.more", "$KV.WEIR_LEASES.enricher", "$KV.OTHER.enricher.p00",
		"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
		"$JS.API.ACCOUNT.PURGE.x", "$JS.API.ACCOUNT.STREAM.MOVE.x.WEIR_RAW", "$JS.API.OTHER",
		"$JS.EVENT.ADVISORY.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "_INBOX.x", "_R_.x")
	for _, user := range components {
		all = append(all, "_INBOX_"+user+".x")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// listen are subjects to subscribe to, and who may.
func listen() map[string]string {
	who := map[string]string{"weir.seen.p00": "enricher", "weir.live.latency.>": "subscriber events gateway", "weir.live.latency.shop.*": "subscriber events gateway",
		"weir.live.alert-commit": "subscriber events gateway",
		"weir.api.latency":       "gateway", "weir.api.*": "gateway", "$SRV.>": "gateway", "$SRV.PING.weir": "gateway"}
	for _, s := range []string{
		">", "*.>", "weir.>", "weir.api.latency.more", "weir.raw.>", "weir.raw.p00.node1", "weir.enriched.*", "weir.latency.>", "weir.commit.*", "weir.rollup.>", "weir.history.>", "weir.alert.>", "weir.live.>",
		"$JS.>", "$JS.API.>", "$JS.API.STREAM.INFO.WEIR_RAW", "$JS.ACK.>", "$JS.EVENT.ADVISORY.>", "$KV.>", "$SYS.>", "_INBOX.>", "_INBOX_*.>",
	} {
		who[s] = ""
	}
	for _, user := range components {
		who["_INBOX_"+user+".>"] = user
		who["_INBOX_"+user+".x.y"] = user
	}
	return who
}

var violation = regexp.MustCompile(`for (Publish|Subscription) to "([^"]+)"`)

// matrix tries every subject as one user.
func matrix(t *testing.T, i *installed, user string) {
	var mu sync.Mutex
	refused := map[string]bool{}
	nc, err := nats.Connect(i.url(t, user), nats.RootCAs(i.ca), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if m := violation.FindStringSubmatch(err.Error()); m != nil {
				mu.Lock()
				defer mu.Unlock()
				refused[m[1]+" "+m[2]] = true
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	want := map[string]bool{}
	for _, subject := range subjects() {
		if !slices.Contains(strings.Fields(allowed[subject]), user) {
			want["Publish "+subject] = true
		}
		if err := nc.Publish(subject, []byte("not a message of Weir")); err != nil {
			t.Fatal(err)
		}
	}
	for subject, who := range listen() {
		if !slices.Contains(strings.Fields(who), user) {
			want["Subscription "+subject] = true
		}
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	// The server answers in order, and its refusals are handed over in order: the
	// last of them is of this.
	if err := nc.Publish("the.end", nil); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return refused["Publish the.end"]
	}, "%s: the end is not refused", user)
	mu.Lock()
	defer mu.Unlock()
	delete(refused, "Publish the.end")
	for what := range refused {
		if !want[what] {
			t.Errorf("%s is refused: %s", user, what)
		}
	}
	for what := range want {
		if !refused[what] {
			t.Errorf("%s may: %s", user, what)
		}
	}
	t.Logf("%s: %d of %d refused", user, len(refused), len(subjects())+len(listen()))
}
