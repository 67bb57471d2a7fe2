package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/retry"
	"github.com/weirstream/weir/internal/silence"
	"github.com/weirstream/weir/proto"
)

const (
	// DefaultResend is how often Alertmanagers are told again of what fires.
	DefaultResend = time.Minute

	// missable is how often an Alertmanager may not be told again of an alert, until
	// it takes it for over. So long no alerter may be there.
	missable = 4

	sinkTime  = 10 * time.Second
	maxAnswer = 16 << 20
)

// Webhook is an address that is told of changes, one after the other.
type Webhook struct {
	Name       string            // unique; the stream remembers under it what was told
	URL        *url.URL          //
	Header     map[string]string // such as Authorization
	Severities []string          // those told of; none means all
	Body       *template.Template
}

// startSinks starts what tells others. tell is called after each round with all
// alerts and silences there are.
func (a *alerter) startSinks(ctx context.Context, g *errgroup.Group, epoch proto.Epoch) (tell func([]*Alert, []*silence.Silence)) {
	var all []*mailbox
	adding := make(chan struct{}, 1)
	for _, to := range a.cfg.Alertmanagers {
		box := newMailbox()
		all = append(all, box)
		g.Go(func() error {
			a.alertmanager(ctx, &mirror{alerter: a, url: to, adding: adding}, box, epoch)
			return nil
		})
	}
	var waiting sync.WaitGroup // for those that are new: they must not miss the first change
	for _, hook := range a.cfg.Webhooks {
		waiting.Add(1)
		ready := sync.OnceFunc(waiting.Done)
		said := &complaint{}
		g.Go(func() error {
			defer ready()
			return a.cfg.Bus.Consume(ctx, proto.StreamAlerts, proto.SubjectsAlert, "weir-alerter-"+proto.Token(hook.Name), ready,
				func(ctx context.Context, m *bus.Message) error { return a.webhook(ctx, hook, m, said) })
		})
	}
	begun := make(chan struct{})
	go func() {
		waiting.Wait()
		close(begun)
	}()
	select {
	case <-begun:
	case <-time.After(sinkTime): // alerts come first
		a.log.Warn("webhooks_not_ready")
	case <-ctx.Done():
	}
	return func(alerts []*Alert, silences []*silence.Silence) {
		data := make([]Alert, len(alerts))
		for i, alert := range alerts {
			data[i] = *alert
		}
		for _, box := range all {
			box.put(letter{data, silences})
		}
	}
}

// mailbox holds the newest letter: whoever is slow misses those between.
type mailbox struct {
	mu     sync.Mutex
	letter letter
	new    chan struct{}
}

// letter is what an Alertmanager is told.
type letter struct {
	alerts   []Alert
	silences []*silence.Silence
}

func newMailbox() *mailbox { return &mailbox{new: make(chan struct{}, 1)} }

func (b *mailbox) put(l letter) {
	b.mu.Lock()
	b.letter = l
	b.mu.Unlock()
	b.again()
}

// again has the letter read again.
func (b *mailbox) again() {
	select {
	case b.new <- struct{}{}:
	default:
	}
}

func (b *mailbox) get() letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.letter
}

// amAlert is an alert as Alertmanager's API v2 has it.
type amAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanager tells one of all alerts that fire, and of those that are over: at
// once when there is a change, and now and then, as what it isn't told of again
// is over for it.
func (a *alerter) alertmanager(ctx context.Context, m *mirror, box *mailbox, epoch proto.Epoch) {
	to := m.url
	api := to.JoinPath("api/v2/alerts").String()
	name := "alertmanager " + to.Redacted()
	var said complaint
	again := func(err error) bool { // after a while; false if ctx ends
		if said.new(err) {
			a.log.Warn("alertmanager_not_told", "url", to.Redacted(), "error", err)
		}
		box.again()
		return sleep(ctx, 5*time.Second) == nil
	}
	var last map[string]State
	for sentAt := (time.Time{}); ; {
		select {
		case <-box.new:
		case <-time.After(a.cfg.Resend):
		case <-ctx.Done():
			return
		}
		letter, states := box.get(), map[string]State{}
		alerts := letter.alerts
		if err := a.current(ctx, epoch); err != nil {
			if !again(err) {
				return
			}
			continue
		}
		m.show(ctx, letter.silences) // first: it mustn't tell of what is silenced
		changed := false
		for i := range alerts {
			key := alerts[i].key()
			states[key] = alerts[i].State
			changed = changed || alerts[i].State != Pending && last[key] != alerts[i].State
		}
		if !changed && time.Since(sentAt) < a.cfg.Resend {
			continue
		}
		body := a.amAlerts(alerts)
		if len(body) == 0 {
			said = complaint{} // it doesn't matter whether it is there
			last, sentAt = states, time.Now()
			continue
		}
		data, err := json.Marshal(body)
		if err == nil {
			err = a.post(ctx, name, api, nil, data)
		}
		if err != nil {
			if !again(err) {
				return
			}
			continue
		}
		said = complaint{}
		last, sentAt = states, time.Now()
	}
}

// complaint is what the log said last of a sink: it is tried often, and said once.
type complaint struct{ text string }

func (c *complaint) new(err error) bool {
	before := c.text
	c.text = err.Error()
	// What may be another each time is left out: ports, and texts of answers.
	var (
		name    *net.DNSError
		network *net.OpError
		status  *statusError
	)
	switch {
	case errors.As(err, &name):
		c.text = fmt.Sprint(name.Name, name.IsTimeout)
	case errors.As(err, &network):
		c.text = network.Op + " " + network.Err.Error()
	case errors.As(err, &status):
		c.text = strconv.Itoa(status.code)
	}
	return c.text != before
}

// current is an error if another alerter has stored something since: one that was
// paused may not know yet, and would say that what is over fires.
func (a *alerter) current(ctx context.Context, epoch proto.Epoch) error {
	ctx, cancel := context.WithTimeout(ctx, sinkTime)
	defer cancel()
	last, err := a.cfg.Bus.LastMessage(ctx, proto.StreamAlerts, proto.SubjectAlertCommit)
	if err != nil {
		return err
	}
	if last != nil && last.FromLane() && last.Epoch != epoch && last.Epoch.Number >= epoch.Number {
		return bus.ErrRival
	}
	return nil
}

func (a *alerter) amAlerts(alerts []Alert) (out []amAlert) {
	firing := map[string]bool{} // an alert is its labels to it, whatever rule they come from
	for i := range alerts {
		alert := &alerts[i]
		labels := alert.labels.String()
		if alert.State == Pending || alert.State == Resolved && firing[labels] {
			continue
		}
		firing[labels] = alert.State == Firing // those that fire come first
		of := amAlert{
			Labels: withExternal(alert.Labels, a.cfg.ExternalLabels), Annotations: alert.Annotations,
			StartsAt: alert.FiredAt, EndsAt: alert.ResolvedAt, GeneratorURL: alert.pageURL(a.cfg.Page),
		}
		if alert.State == Firing {
			of.EndsAt = a.now().Add(missable * a.cfg.Resend).UTC()
		}
		out = append(out, of)
	}
	return out
}

// webhook tells one of one change. What can't be told to it ever isn't told.
func (a *alerter) webhook(ctx context.Context, hook *Webhook, m *bus.Message, said *complaint) error {
	name := "webhook " + hook.Name
	var event eventData
	if err := json.Unmarshal(m.Data, &event); err != nil {
		a.m.sent.WithLabelValues(name, "unreadable").Inc()
		return nil
	}
	if event.Silenced {
		a.m.sent.WithLabelValues(name, "silenced").Inc()
		return nil
	}
	if len(hook.Severities) > 0 && !contains(hook.Severities, event.Labels["severity"]) {
		return nil
	}
	var body bytes.Buffer
	if err := hook.Body.Execute(&body, &event); err != nil {
		a.m.sent.WithLabelValues(name, "template_failed").Inc()
		a.log.Error("webhook_template_failed", "webhook", hook.Name, "error", err)
		return nil
	}
	err := a.post(ctx, name, hook.URL.String(), hook.Header, body.Bytes())
	var status *statusError
	final := errors.As(err, &status) && status.final()
	switch {
	case err == nil:
		*said = complaint{}
	case final:
		a.log.Warn("webhook_refused", "webhook", hook.Name, "error", err)
		return nil
	case said.new(err):
		a.log.Warn("webhook_not_told", "webhook", hook.Name, "error", err)
	}
	if status != nil {
		if err := sleep(ctx, status.after); err != nil {
			return err
		}
	}
	return err
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if strings.EqualFold(s, one) {
			return true
		}
	}
	return false
}

// statusError is an answer that isn't a success.
type statusError struct {
	code  int
	text  string
	after time.Duration // in which it doesn't want to be asked again
}

func (e *statusError) Error() string {
	if e.code/100 == 3 {
		return fmt.Sprintf("the answer is %d: redirects aren't followed, give the address that this one leads to", e.code)
	}
	return fmt.Sprintf("the answer is %d: %s", e.code, e.text)
}

// final reports whether sending the same again is useless.
func (e *statusError) final() bool {
	return e.code >= 400 && e.code < 500 && e.code != http.StatusTooManyRequests && e.code != http.StatusRequestTimeout
}

// post sends JSON.
func (a *alerter) post(ctx context.Context, sink, to string, header map[string]string, data []byte) (err error) {
	defer func() {
		result := "sent"
		if err != nil {
			result = "failed"
		}
		a.m.sent.WithLabelValues(sink, result).Inc()
	}()
	_, err = request(ctx, http.MethodPost, to, header, data)
	return err
}

// request sends JSON, and returns an answer's first mebibytes.
func request(ctx context.Context, method, to string, header map[string]string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sinkTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := client.Do(r)
	var of *url.Error
	if errors.As(err, &of) {
		return nil, of.Err // without the address, which may be a secret
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what there is of it
		return nil, &statusError{resp.StatusCode, strings.TrimSpace(string(text)), retry.After(resp.Header)}
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// client doesn't follow redirects: a POST would become a GET.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// TryWebhook executes a webhook's template with a change that looks like others.
func TryWebhook(body *template.Template) error {
	return body.Execute(io.Discard, &eventData{
		Status: string(Firing), Labels: map[string]string{"alertname": "Slow", "severity": "page", "workload": "cart"},
		Annotations: map[string]string{"summary": "cart is slow"}, Fingerprint: "0123456789abcdef", StartsAt: time.Unix(0, 0),
	})
}
