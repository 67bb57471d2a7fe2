package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/recorded"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

var quiet = slog.New(slog.DiscardHandler)

const slowRule = `
groups:
- name: shop
  interval: 30s
  rules:
  - record: workload:p90
    expr: histogram_quantile(0.9, sum by (namespace, workload) (rate(http_server_request_duration_seconds[2m])))
  - alert: Slow
    expr: avg_over_time(workload:p90[1m]) > 0.5
    for: 1m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.workload }} takes {{ $value | humanizeDuration }}"}
`

// moreRules look at what the others record.
const moreRules = `- name: more
  interval: 1m
  query_offset: 30s
  rules:
  - record: workload:worst
    expr: max_over_time(workload:p90[10m])
  - record: workload:slow
    expr: workload:p90 > 0.5
  - record: workload:rate
    expr: sum by (workload) (rate(http_server_request_duration_seconds[2m]))
  - record: alerts
    expr: sum by (alertname, alertstate) (ALERTS)
`

// past is a stream with an hour of cart's requests, which were slow from 40 to 6
// minutes ago.
type past struct {
	*testing.T
	server *bustest.Server
	conn   *bus.Conn
	rules  string
	began  time.Time // the hour
}

func newPast(t *testing.T) *past {
	t.Helper()
	server := bustest.Start(t)
	p := &past{T: t, server: server, conn: bustest.Connect(t, server.URL), rules: filepath.Join(t.TempDir(), "rules.yaml")}
	bustest.Provision(t, p.conn, 1, 1)
	if err := os.WriteFile(p.rules, []byte(slowRule), 0o600); err != nil {
		t.Fatal(err)
	}
	lane, err := p.conn.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p.began = now.Add(-time.Hour).Truncate(time.Minute)
	seq := uint64(0)
	for at := p.began; at.Before(now.Add(10 * time.Second)); at = at.Add(10 * time.Second) {
		took := int64(5 * time.Millisecond)
		if ago := now.Sub(at); ago < 40*time.Minute && ago > 6*time.Minute {
			took = int64(900 * time.Millisecond)
		}
		point := proto.Point{
			StartNS: at.UnixNano(), WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
			Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/", proto.AttrStatus: "200"},
		}
		for range 20 {
			point.Hist.Record(took)
		}
		data, err := proto.EncodeLatency(&proto.Latency{V: 1, Namespace: "shop", Workload: "cart", WorkloadKind: "Deployment", Points: []proto.Point{point}})
		if err != nil {
			t.Fatal(err)
		}
		seq++
		record, err := proto.EncodeCommit(&proto.Commit{
			V: 1, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: seq, WatermarkNS: now.Add(time.Hour).UnixNano(), LogNS: now.UnixNano(), Messages: 1, Events: 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Commit(t.Context(), []bus.Part{{Subject: proto.LatencySubject("shop", "cart"), Data: data}}, record, seq, seq, 20); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// wasEvaluated leaves the record of an alerter that evaluated nothing for 50 minutes.
func (p *past) wasEvaluated() {
	p.Helper()
	lane, err := p.conn.OpenLane(p.Context(), bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
	if err != nil {
		p.Fatal(err)
	}
	at := p.began.Add(10 * time.Minute).UTC()
	data, err := json.Marshal(Record{V: 1, Time: at, Groups: map[string]GroupRecord{p.rules + ";shop": {Evaluated: at}, p.rules + ";more": {Evaluated: at}}})
	if err != nil {
		p.Fatal(err)
	}
	if _, err := lane.Commit(p.Context(), nil, data, 1, 0, 0); err != nil {
		p.Fatal(err)
	}
}

func (p *past) config(c *bus.Conn, holder string) Config {
	page, _ := url.Parse("http://weir.example.com/")
	return Config{Bus: c, Holder: holder, Resend: DefaultResend, Rules: []string{p.rules}, Page: page, ExternalLabels: map[string]string{"cluster": "eu"}}
}

// run runs an alerter until stop is called.
func (p *past) run(cfg Config) (stop func()) {
	ctx, cancel := context.WithCancel(p.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, quiet) }()
	return func() {
		p.Helper()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			p.Error(err)
		}
	}
}

// caughtUp reports whether the rounds of the last minutes are evaluated.
func (p *past) caughtUp() bool {
	last, err := p.conn.LastMessages(p.Context(), proto.StreamRecorded, proto.RecordedSubject(p.rules+";shop"))
	if err != nil || len(last) == 0 {
		return false
	}
	m, err := proto.DecodeRecorded(last[0].Data)
	return err == nil && time.Since(time.Unix(0, m.EvaluatedNS)) < 2*time.Minute
}

// evaluated is how far the last record says that the rules are, zero without one.
func (p *past) evaluated() time.Time {
	last, err := p.conn.LastMessages(p.Context(), proto.StreamAlerts, proto.SubjectAlertCommit)
	if err != nil || len(last) == 0 {
		return time.Time{}
	}
	r, err := proto.DecodeAlertRecord(last[0].Data)
	if err != nil {
		p.Fatal(err)
	}
	return r.Groups[p.rules+";shop"].Evaluated
}

// events are the changes in WEIR_ALERTS, by their ids.
func (p *past) events() (ids []string, data map[string]eventData) {
	p.Helper()
	data = map[string]eventData{}
	for _, m := range bustest.ReadStored(p, p.server.URL, proto.StreamAlerts) {
		if m.Subject == proto.SubjectAlertCommit || m.Subject == proto.SubjectAlertRules {
			continue
		}
		var e eventData
		if err := json.Unmarshal(m.Data, &e); err != nil {
			p.Fatal(err)
		}
		if m.Subject != "weir.alert.page.Slow" || !strings.HasPrefix(m.Header.Get("ce-type"), "io.weir.alert.") || m.Header.Get("ce-specversion") != "1.0" {
			p.Errorf("%s: %v", m.Subject, m.Header)
		}
		ids = append(ids, m.Header.Get("ce-id"))
		data[m.Header.Get("ce-id")] = e
	}
	return ids, data
}

// recorded is what is in WEIR_RECORDED, by series. Each of its times is there once.
func (p *past) recorded() map[string][]string {
	p.Helper()
	out := map[string][]string{}
	last := map[string]int64{}
	err := recorded.Read(p.Context(), p.conn, recorded.ReadConfig{}, func(_ *bus.Message, m *proto.Recorded, samples []recorded.Sample, err error) bool {
		if err != nil {
			p.Error(err)
		}
		for _, s := range samples {
			key := s.Labels.String()
			if m.TimeNS <= last[key] {
				p.Errorf("%s has a sample of %s after one of %s", key, time.Unix(0, m.TimeNS), time.Unix(0, last[key]))
			}
			last[key] = m.TimeNS
			out[key] = append(out[key], fmt.Sprintf("%s %x %v", time.Unix(0, m.TimeNS).UTC().Format(time.TimeOnly), math.Float64bits(s.F), s.H))
		}
		return true
	})
	if err != nil {
		p.Error(err)
	}
	return out
}

// Two alerters make up for the rounds of 50 minutes. Whether they are ended at
// random or not: an alert fires once and is over once, at the same times, and
// rules record the same, without gaps.
func TestEndedAnywhere(t *testing.T) {
	p := newPast(t)
	if err := os.WriteFile(p.rules, []byte(slowRule+moreRules), 0o600); err != nil {
		t.Fatal(err)
	}
	p.wasEvaluated()
	ended, err := silence.New([]string{"workload=cart"}, time.Hour, "", "", time.Now().Add(-80*time.Minute)) // until 20 minutes ago, while it fires
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.Store(t.Context(), p.conn); err != nil {
		t.Fatal(err)
	}
	stop := p.run(p.config(bustest.Connect(t, p.server.URL), "a"))
	bustest.Eventually(t, p.caughtUp, "the past isn't evaluated")
	stop()
	want, data := p.events()
	if len(want) != 3 {
		t.Fatalf("%v", want)
	}
	firing, told, resolved := data[want[0]], data[want[1]], data[want[2]]
	if !firing.Silenced || told.Silenced || resolved.Silenced || told.Status != "firing" || !told.StartsAt.Equal(firing.StartsAt) || !strings.HasSuffix(want[1], "-unsilenced") {
		t.Errorf("%v: %+v\n%+v", want, firing, told)
	}
	if firing.Status != "firing" || resolved.Status != "resolved" || !resolved.StartsAt.Equal(firing.StartsAt) ||
		firing.Labels["cluster"] != "eu" || firing.Labels["workload"] != "cart" || !strings.HasPrefix(firing.Annotations["summary"], "cart takes ") ||
		!strings.HasPrefix(firing.Page, "http://weir.example.com/?") || !strings.Contains(firing.Page, "w=cart") {
		t.Errorf("%+v\n%+v", firing, resolved)
	}
	now := time.Now()
	if after := firing.StartsAt.Sub(now.Add(-40 * time.Minute)); after < time.Minute || after > 5*time.Minute {
		t.Errorf("it fired %s after it began", after)
	}
	if after := resolved.EndsAt.Sub(now.Add(-6 * time.Minute)); after < 0 || after > 4*time.Minute {
		t.Errorf("it is over %s after it ended", after)
	}

	series := p.recorded()
	bustest.DeleteStream(t, p.server.URL, proto.StreamAlerts)
	bustest.DeleteStream(t, p.server.URL, proto.StreamRecorded)
	bustest.Provision(t, p.conn, 1, 1)
	p.wasEvaluated()
	ctx, cancel := context.WithCancel(t.Context())
	var rivals sync.WaitGroup
	ends := 0
	var mu sync.Mutex
	for i := range 3 {
		conn := bustest.Connect(t, p.server.URL)
		rivals.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, rand.N(800*time.Millisecond))
				cfg := p.config(conn, fmt.Sprint(i))
				cfg.Alertmanagers = []*url.URL{{Scheme: "http", Host: "127.0.0.1:1"}} // it must not keep a rival from ending
				a := &alerter{cfg: cfg, log: quiet, m: newMetrics(prometheus.NewRegistry()), now: time.Now, keepTime: keepTime}
				a.history = history.New(history.Config{Bus: conn, Bytes: 64 << 20}, quiet)
				groups, err := a.load()
				if err != nil {
					t.Error(err)
				}
				a.groups = groups
				go a.history.Run(life) //nolint:errcheck // it ends with life
				err = a.work(life)     // without a lease
				end()
				if err != nil && !errors.Is(err, bus.ErrRival) && life.Err() == nil {
					t.Error(err)
				}
				mu.Lock()
				ends++
				mu.Unlock()
			}
		})
	}
	bustest.Eventually(t, func() bool { return p.caughtUp() && !p.evaluated().Before(resolved.EndsAt) }, "the past isn't evaluated")
	cancel()
	rivals.Wait()
	got, same := p.events()
	t.Logf("%d ends", ends)
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(same, data) {
		t.Errorf("changes %v, want %v\n%+v\n%+v", got, want, same, data)
	}
	again := p.recorded()
	if len(again) != len(series) || len(series) < 8 {
		t.Errorf("%d series, want %d:\n%v", len(again), len(series), series)
	}
	for key, want := range series {
		got := again[key]
		n := min(len(got), len(want)) // they went on for another while
		t.Logf("%s: %d samples, and %d", key, len(got), len(want))
		if n < len(want)-20 || n == 0 || !slices.Equal(got[:n], want[:n]) {
			t.Errorf("%s:\n%s\nwant\n%s", key, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if p90 := again[`{__name__="workload:p90", namespace="shop", workload="cart"}`]; len(p90) < 90 {
		t.Errorf("%d samples of 50 minutes, two a minute", len(p90))
	}
}

// An Alertmanager that answers 500 at first, one that isn't there, a webhook that
// fails twice, and one whose template is wrong: nobody holds up anybody, and all
// that can be told is told.
func TestSinks(t *testing.T) {
	p := newPast(t)
	p.wasEvaluated()
	var mu sync.Mutex
	var told []amAlert
	var hooked []string
	failures := map[string]int{"/api/v2/alerts": 2, "/hook": 2}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if failures[r.URL.Path] > 0 {
			failures[r.URL.Path]--
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		switch r.URL.Path {
		case "/api/v2/alerts":
			var alerts []amAlert
			if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
				t.Error(err)
			}
			told = append(told, alerts...)
		case "/hook":
			var e eventData
			if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
				t.Error(err)
			}
			hooked = append(hooked, e.Status)
		}
	}))
	defer s.Close()
	good, _ := url.Parse(s.URL)
	away, _ := url.Parse("http://127.0.0.1:1")
	hook := func(name, path, body string) *Webhook {
		return &Webhook{Name: name, URL: good.JoinPath(path), Body: template.Must(template.New("").Funcs(template.FuncMap{
			"json": func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
		}).Parse(body))}
	}
	cfg := p.config(bustest.Connect(t, p.server.URL), "a")
	cfg.Alertmanagers = []*url.URL{away, good}
	cfg.Webhooks = []*Webhook{hook("wrong", "/wrong", "{{.Nothing}}"), hook("good", "/hook", "{{json .}}")}
	stop := p.run(cfg)
	defer stop()
	bustest.Eventually(t, p.caughtUp, "the past isn't evaluated")
	bustest.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(hooked) == 2 && len(told) > 0
	}, "not all is told")
	mu.Lock()
	defer mu.Unlock()
	if !reflect.DeepEqual(hooked, []string{"firing", "resolved"}) {
		t.Errorf("the webhook heard %v", hooked)
	}
	for _, a := range told {
		if a.Labels["alertname"] != "Slow" || a.StartsAt.IsZero() || a.EndsAt.IsZero() || a.GeneratorURL == "" {
			t.Errorf("%+v", a)
		}
	}
}

// A webhook that says when to ask again isn't asked before, and what is wrong with
// it is said once.
func TestRetryAfter(t *testing.T) {
	answers := []int{http.StatusTooManyRequests, http.StatusTooManyRequests, http.StatusPermanentRedirect, http.StatusOK, http.StatusTooManyRequests}
	var asked []time.Time
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answers[len(asked)] == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(answers[len(asked)])
		asked = append(asked, time.Now())
	}))
	defer s.Close()
	to, _ := url.Parse(s.URL)
	var log strings.Builder
	a := &alerter{log: slog.New(slog.NewTextHandler(&log, nil)), m: newMetrics(prometheus.NewRegistry())}
	hook, said := &Webhook{Name: "hook", URL: to, Body: template.Must(template.New("").Parse("{}"))}, &complaint{}
	for _, want := range []string{"429", "429", "308: redirects aren't followed", "", "429"} {
		if err := a.webhook(t.Context(), hook, &bus.Message{Data: []byte(`{}`)}, said); fmt.Sprint(err) != "<nil>" && want == "" || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if asked[1].Sub(asked[0]) < time.Second || asked[2].Sub(asked[1]) < time.Second {
		t.Errorf("asked at %v", asked)
	}
	if n := strings.Count(log.String(), "webhook_not_told"); n != 3 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// What differs from try to try makes no new complaint of the same.
func TestComplaint(t *testing.T) {
	var said complaint
	lookup := func(port int) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: fmt.Sprintf("read udp 10.0.0.1:%d->10.0.0.53:53: i/o timeout", port), Name: "hooks", IsTimeout: true}}
	}
	for i, c := range []struct {
		err error
		new bool
	}{
		{lookup(41234), true}, {lookup(41235), false},
		{&statusError{code: 500, text: "request 1"}, true}, {&statusError{code: 500, text: "request 2"}, false}, {&statusError{code: 503}, true},
		{errors.New("no"), true}, {errors.New("no"), false},
	} {
		if got := said.new(fmt.Errorf("tell: %w", c.err)); got != c.new {
			t.Errorf("%d, %v: new is %t", i, c.err, got)
		}
	}
}

// A clock that is set back is waited for, but not for long.
func TestNextRound(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	g := &Group{Name: "g", Interval: time.Minute}
	for back, want := range map[time.Duration]time.Time{
		0:                         now,
		catchUp - 2*time.Minute:   now,
		catchUp + 2*time.Minute:   now.Add(-catchUp - 2*time.Minute - behind).Truncate(time.Minute),
		-catchUp - 10*time.Minute: now.Add(10*time.Minute - behind).Truncate(time.Minute).Add(time.Minute),
	} {
		a := &turn{
			alerter:   &alerter{log: quiet, now: func() time.Time { return now.Add(-back) }},
			evaluated: map[string]time.Time{g.Key(): now.Add(-time.Minute)},
		}
		if got := a.next(g); !got.Equal(want) {
			t.Errorf("%s back: the next round is of %s, want %s", back, got, want)
		}
	}
}

// A group that is evaluated seldom has left nothing out; one that nobody evaluated for
// long has, and goes on an hour back.
func TestRareRound(t *testing.T) {
	now := time.Now().Truncate(24 * time.Hour)
	for _, c := range []struct {
		interval, ago time.Duration
		want          time.Duration // after the day began, which is now
		said          int
	}{
		{6 * time.Hour, 0, 6 * time.Hour, 0},
		{24 * time.Hour, 24 * time.Hour, 0, 0},
		{2 * time.Hour, 24 * time.Hour, 0, 1},
		{time.Minute, time.Hour, -59 * time.Minute, 0},
		{time.Minute, 3 * time.Hour, -time.Hour, 1},
	} {
		var log strings.Builder
		g := &Group{Name: "g", Interval: c.interval}
		a := &turn{
			alerter:   &alerter{log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }},
			evaluated: map[string]time.Time{g.Key(): now.Add(-c.ago)},
		}
		for later := range 3 { // each round asks again
			a.now = func() time.Time { return now.Add(time.Duration(later) * time.Second) }
			if got := a.next(g); !got.Equal(now.Add(c.want)) {
				t.Errorf("every %s, last %s ago: the next round is of %s, want %s", c.interval, c.ago, got, now.Add(c.want))
			}
		}
		if n := strings.Count(log.String(), "rounds_left_out"); n != c.said {
			t.Errorf("every %s, last %s ago: said %d times, want %d", c.interval, c.ago, n, c.said)
		}
	}
}

// Who consumes under a name hears of each change once, across its own lives.
func TestConsumer(t *testing.T) {
	p := newPast(t)
	p.wasEvaluated()
	var heard []string
	consume := func(begun func()) {
		ctx, cancel := context.WithCancel(t.Context())
		err := p.conn.Consume(ctx, proto.StreamAlerts, proto.SubjectsAlert, "pager", begun, func(_ context.Context, m *bus.Message) error {
			heard = append(heard, string(m.Data))
			if len(heard) == 1 {
				return errors.New("not yet") // it comes again
			}
			time.AfterFunc(300*time.Millisecond, cancel) // after it is known to be done
			return nil
		})
		cancel()
		if err != nil {
			t.Error(err)
		}
	}
	var stop func()
	consume(func() {
		if stop == nil {
			stop = p.run(p.config(bustest.Connect(t, p.server.URL), "a"))
		}
	})
	defer stop()
	if len(heard) < 3 {
		consume(func() {})
	}
	if len(heard) != 3 || heard[0] != heard[1] || !strings.Contains(heard[1], "firing") || !strings.Contains(heard[2], "resolved") {
		t.Errorf("heard %d: %v", len(heard), heard)
	}
}

// What Prometheus's promtool finds right is right here too (test/rules asks it),
// and what isn't as expected is said.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*_test.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "rules/weir_test.yaml") {
		failures, err := TestFile(t.Context(), file)
		if err != nil || len(failures) > 0 {
			t.Errorf("%s: %v %s", file, err, strings.Join(failures, "\n"))
		}
		// Without what is expected it fails, if something is.
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"severity: page", "severity: ticket"} {
			if strings.Contains(string(data), key) {
				wrong := filepath.Join(filepath.Dir(file), "wrong.tmp.yaml")
				if err := os.WriteFile(wrong, []byte(strings.Replace(string(data), key, "severity: other", 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				failures, err := TestFile(t.Context(), wrong)
				os.Remove(wrong) //nolint:errcheck // it is a copy
				if err != nil || len(failures) == 0 {
					t.Errorf("%s: with another severity: %v, %v", file, failures, err)
				}
				break
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	const group = "groups:\n- name: a\n  rules:\n" // what follows begins in line 4
	for text, want := range map[string]string{
		group + "  - alert: X\n    expr: sum(rate(x[5m])\n":                        `5:26: group "a", rule 1, "X": expr: unclosed left parenthesis`,
		group + "  - record: x\n    expr: |\n      sum(\n        y[5m}\n      )\n": `7:13: group "a", rule 1, "x": expr: unexpected character: '}'`,
		group + "  - expr: x\n":                                          `4:5: group "a", rule 1, "": one of 'record' or 'alert' must be set`,
		group + "  - alert: X\n":                                         `4:5: group "a", rule 1, "X": field 'expr' must be set in rule`,
		group + "  - record: x\n    expr: x\n    for: 1m\n":              `6:5: group "a", rule 1, "x": invalid field 'for' in recording rule`,
		group + "  - record: x{}\n    expr: x\n":                         `4:13: group "a", rule 1, "x{}": braces present in the recording rule name; should it be in expr?: x{}`,
		group + "  - alert: X\n    expr: x\n    labels: {__name__: a}\n": `6:14: group "a", rule 1, "X": invalid label name: __name__`,
		group + "  - alert: X\n    expr: x\n    labels: {a: '{{ .B'}\n":  `6:18: group "a", rule 1, "X": label "a": unclosed action`,
		group + "  - alert: X\n    expr: x\n    annotations:\n      a: |\n        b\n        {{ .Value | humanise }}\n": `9:9: group "a", rule 1, "X": annotation "a": function "humanise" not defined`,
		group + "  - alert: X\n    expr: x\n    for: soon\n":                                                            `6:10: not a valid duration string: "soon": expected one such as 90s, 5m or 1h30m`,
		group + "  - alert: X\n    expr: x\n  - record: http_server_request_duration_seconds_count\n    expr: x\n":      `6:13: group "a", rule 2, "http_server_request_duration_seconds_count": this is the name of one of Weir's own metrics: record another`,
		"groups:\n- name: a\n  rules: []\n- name: a\n  rules: []\n":                                                     `4:9: there is a group "a" already, in line 2: expected another name`,
		"groups:\n- rules: []\n":                                     `2:3: the group has no name`,
		"groups:\n- name: a\n  labels: {__name__: b}\n  rules: []\n": `3:12: group "a": invalid label name: __name__`,
		"groups:\n- name: a\n  rulez: []\n":                          `3:3: unknown key "rulez": expected one of interval, labels, limit, name, query_offset, rules`,
		group + "  -\n  - record: y\n    expr: '('\n":                `6:13: group "a", rule 1, "y": expr: unclosed left parenthesis`,
		"&a\n<<: *a\n": `1:1: anchor 'a' value contains itself`,
		utf16LE("groups: [{name: a, rules: [{record: y, labels: {a: " + strings.Repeat("é", 99) + "}, expr: '('}]}]"): `1:160: group "a", rule 1, "y": expr: unclosed left parenthesis`,
		"nothing: here\n": `1:1: unknown key "nothing": expected one of groups`,
		"kind: PrometheusRule\nspec: {groups: []}\n": `1:7: a PrometheusRule is a manifest of Kubernetes: expected what is below its spec, groups and their rules`,
	} {
		if _, err := Parse("rules.yaml", []byte(text), time.Minute); err == nil || err.Error() != "rules.yaml:"+want {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, none := range []string{"", "# none yet\n", "groups:\n", "groups: []\n"} { // promtool takes them
		if groups, err := Parse("rules.yaml", []byte(none), time.Minute); err != nil || len(groups) > 0 {
			t.Errorf("%q: %v, %v", none, groups, err)
		}
	}
	if _, err := LoadFiles([]string{filepath.Join(t.TempDir(), "none.yaml")}, time.Minute); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Error(err)
	}
}

// What is wrong in a unit test has its place, and isn't a test that failed.
func TestMistakesInTests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a_test.yaml")
	try := func(text string) ([]string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return TestFile(t.Context(), file)
	}
	const series = "tests:\n- input_series: [{series: x, values: '{{schema:0 sum:1 count:2 buckets:[1 1]}}x3'}]\n  promql_expr_test: " // what follows is in line 3
	for text, want := range map[string]string{
		"tests:\n- nme: x\n":                                      `2:3: unknown key "nme": expected one of alert_rule_test, external_labels, external_url, input_series, interval, name, promql_expr_test, start_timestamp`,
		"group_eval_order: [a, b, a]\n":                           `1:26: group "a" is here twice`,
		"tests:\n- start_timestamp: tomorrow\n":                   `2:20: "tomorrow" is no time: expected one such as 2026-03-01T10:00:00Z, or seconds since 1970`,
		"tests:\n- input_series: [{series: 'x{', values: 1x3}]\n": `2:30: unexpected end of input inside braces`,
		"tests:\n- input_series: [{series: x, values: 1 2x}]\n":   `2:42: unexpected end of input in series values`,
		"tests:\n- alert_rule_test: [{eval_time: 1m}]\n":          `2:21: the test has no alertname`,
		series + "[{expr: 'sum(x', eval_time: 1m}]\n":             `3:35: unclosed left parenthesis`,
	} {
		if failures, err := try(text); err == nil || err.Error() != file+":"+want {
			t.Errorf("%q: %v, %v, want %q", text, failures, err, want)
		}
	}
	// A histogram's hint about resets counts, as for promtool.
	if failures, err := try(series + "[{expr: x, eval_time: 1m, exp_samples: [{labels: x, histogram: '{{schema:0 sum:1 count:2 buckets:[1 1]}}'}]}]\n"); err != nil || len(failures) != 1 {
		t.Error(failures, err)
	}
}
