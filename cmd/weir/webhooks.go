package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/internal/yamlfile"
	"github.com/weirstream/weir/proto"
)

// webhookFile is what --webhooks names.
type webhookFile struct {
	Webhooks []struct {
		Name       string            `yaml:"name"`
		URL        string            `yaml:"url"`
		Preset     string            `yaml:"preset"`
		Template   string            `yaml:"template"`
		Severities []string          `yaml:"severities"`
		Headers    map[string]string `yaml:"headers"`
		RoutingKey string            `yaml:"routing_key"` // of the preset pagerduty
	} `yaml:"webhooks"`
}

// presets are bodies that some receivers want. {{json …}} writes a value as JSON,
// {{cut …}} and {{slack …}} what there is room for.
var presets = map[string]string{
	"json": `{{json .}}`,
	// docs.slack.dev/messaging/formatting-message-text: three characters are markup, of which <!channel> calls everybody.
	// A section has 3,000 characters; one whose link doesn't fit is left out.
	"slack": `{{$text := slack 2000 (or .Annotations.summary .Annotations.description) | printf "%s *%s* %s\n%s" (icon .Status) (slack 200 .Labels.alertname) .Status}}` +
		`{"text": {{json $text}}{{with .Page}}{{$section := printf "%s\n<%s|See it on the page>" $text .}}` +
		`{{if eq $section (cut 3000 $section)}}, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": {{json $section}}}}]{{end}}{{end}}}`,
	// developer.pagerduty.com/docs/events-api-v2/trigger-events: the summary has 1,024 characters.
	"pagerduty": `{"routing_key": {{json routingKey}}, "event_action": "{{if eq .Status "firing"}}trigger{{else}}resolve{{end}}", "dedup_key": {{json .Fingerprint}}, ` +
		`"payload": {"summary": {{json (cut 1024 (or .Annotations.summary .Labels.alertname))}}, "source": "weir", "severity": {{json (pagerdutySeverity .Labels)}}, "custom_details": {{json .Labels}}}` +
		`{{with .Page}}, "links": [{"href": {{json .}}, "text": "See it on the page"}]{{end}}}`,
}

// webhookFuncs are those of templates.
func webhookFuncs(routingKey string) template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"icon": func(status string) string {
			if status == "firing" {
				return ":red_circle:"
			}
			return ":large_green_circle:"
		},
		"cut":               func(most int, text string) string { return cut(most, text, func(r rune) string { return string(r) }) },
		"slack":             func(most int, text string) string { return cut(most, text, slackRune) },
		"routingKey":        func() string { return routingKey },
		"pagerdutySeverity": pagerdutySeverity,
	}
}

// cut writes a text's characters, as many as there is room for.
func cut(room int, text string, write func(rune) string) string {
	var all []string
	size, fits := 0, 0 // characters written; how many of all leave room for …
	for _, r := range text {
		all = append(all, write(r))
		if size += utf8.RuneCountInString(all[len(all)-1]); size < room {
			fits = len(all)
		}
	}
	if size > room {
		all = append(all[:fits], "…")
	}
	return strings.Join(all, "")
}

func slackRune(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	}
	return string(r)
}

// pagerdutySeverity is one that PagerDuty knows: it refuses others.
func pagerdutySeverity(labels map[string]string) string {
	for _, name := range []string{"pagerduty_severity", "severity"} {
		switch of := labels[name]; of {
		case "critical", "error", "warning", "info":
			return of
		}
	}
	return "error"
}

func readWebhooks(file string) ([]*alert.Webhook, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f webhookFile
	document, err := yamlfile.Decode(file, data, &f)
	if err != nil {
		return nil, usageError{err}
	}
	var out []*alert.Webhook
	names := map[string]bool{}
	for i, w := range f.Webhooks {
		wrong := func(key, format string, args ...any) error {
			return usageError{document.Wrong(document.At("webhooks", i, key), "webhook %d: %s", i+1, fmt.Sprintf(format, args...))}
		}
		u, err := url.Parse(w.URL)
		switch {
		case w.Name == "" || names[proto.Token(w.Name)]:
			return nil, wrong("name", "name %q is empty, or as good as another's (letters, digits and - count): the stream remembers by it what was told", w.Name)
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return nil, wrong("url", "url is not an http or https address") // which may be a secret, so it isn't said
		case w.Preset != "" && w.Template != "":
			return nil, wrong("template", "preset and template contradict each other: give one of them")
		case w.Preset == "pagerduty" && w.RoutingKey == "":
			return nil, wrong("preset", "the preset pagerduty needs a routing_key")
		}
		for k, v := range w.Headers {
			if !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
				return nil, wrong("headers", "header %q is none that HTTP has: expected a name of letters, digits and -, and a value in one line", k)
			}
		}
		names[proto.Token(w.Name)] = true
		text := w.Template
		if text == "" {
			preset, known := presets[cmp.Or(w.Preset, "json")]
			if !known {
				return nil, wrong("preset", "preset %q is not json, slack or pagerduty", w.Preset)
			}
			text = preset
		}
		body, err := template.New("").Option("missingkey=zero").Funcs(webhookFuncs(w.RoutingKey)).Parse(text)
		if err == nil {
			err = alert.TryWebhook(body)
		}
		if err != nil {
			return nil, usageError{wrongTemplate(document, document.At("webhooks", i, "template"), fmt.Sprintf("webhook %d: template: ", i+1), err)}
		}
		out = append(out, &alert.Webhook{Name: w.Name, URL: u, Header: w.Headers, Severities: w.Severities, Body: body})
	}
	return out, nil
}

// wrongTemplate is a mistake of one. text/template says "template: name:line:column: …",
// of some without the column, which are bytes from 0.
func wrongTemplate(d *yamlfile.Document, n *yaml.Node, what string, err error) error {
	text := strings.TrimPrefix(err.Error(), "template: :")
	m := templatePlace.FindStringSubmatch(text)
	if m == nil {
		return d.Wrong(n, "%s%s", what, text)
	}
	line, _ := strconv.Atoi(m[1]) // they are digits
	column, _ := strconv.Atoi(m[2])
	return d.WrongIn(n, yamlfile.LineOffset(n.Value, line)+column, "%s%s", what, strings.TrimPrefix(text, m[0]))
}

var templatePlace = regexp.MustCompile(`^(\d+):(?:(\d+):)? (?:executing "" )?`)
