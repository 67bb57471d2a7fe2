package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirstream/weir/proto"
)

// body is what a preset makes of a change.
func body(t *testing.T, preset string, change *proto.AlertChange) map[string]any {
	t.Helper()
	file := filepath.Join(t.TempDir(), "webhooks.yaml")
	if err := os.WriteFile(file, []byte("webhooks: [{name: a, url: 'http://127.0.0.1:1', routing_key: R, preset: "+preset+"}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	hooks, err := readWebhooks(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := hooks[0].Body.Execute(&out, change); err != nil {
		t.Fatal(err)
	}
	var read map[string]any
	if err := json.Unmarshal(out.Bytes(), &read); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	return read
}

// Slack's markup is none in what rules and traffic say, and there is room for it.
func TestSlack(t *testing.T) {
	const page = "http://weir.example/?from=1&to=2"
	b := body(t, "slack", &proto.AlertChange{
		Status: "firing", Labels: map[string]string{"alertname": "A<b>"}, Annotations: map[string]string{"summary": "<!channel> GET /a&b"}, Page: page,
	})
	const want = ":red_circle: *A&lt;b&gt;* firing\n&lt;!channel&gt; GET /a&amp;b"
	section := b["blocks"].([]any)[0].(map[string]any)["text"].(map[string]any)["text"]
	if b["text"] != want || section != want+"\n<"+page+"|See it on the page>" {
		t.Errorf("%q, %q, want %q and a link", b["text"], section, want)
	}
	b = body(t, "slack", &proto.AlertChange{Labels: map[string]string{"alertname": "A"}, Annotations: map[string]string{"description": strings.Repeat("ü<", 3000)}, Page: page})
	section = b["blocks"].([]any)[0].(map[string]any)["text"].(map[string]any)["text"]
	if text := section.(string); utf8.RuneCountInString(text) > 3000 || !strings.Contains(text, "…\n<"+page) {
		t.Errorf("%d characters: …%q", utf8.RuneCountInString(text), text[len(text)-100:])
	}
	b = body(t, "slack", &proto.AlertChange{Labels: map[string]string{"alertname": "A"}, Annotations: map[string]string{"summary": "slow"}, Page: page + strings.Repeat("%C3%BC", 500)})
	if b["text"] == "" || b["blocks"] != nil {
		t.Errorf("a link of 3,000 characters is in a section: %v", b)
	}
}

// PagerDuty refuses severities that it doesn't know, and long summaries.
func TestPagerDuty(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   string
	}{
		{map[string]string{"severity": "critical"}, "critical"},
		{map[string]string{"severity": "page"}, "error"},
		{map[string]string{"severity": "info", "pagerduty_severity": "warning"}, "warning"},
		{map[string]string{"severity": "info", "pagerduty_severity": "sev1"}, "info"},
		{nil, "error"},
	} {
		b := body(t, "pagerduty", &proto.AlertChange{Status: "firing", Fingerprint: "f", Labels: c.labels, Annotations: map[string]string{"summary": strings.Repeat("é", 2000)}})
		payload := b["payload"].(map[string]any)
		if payload["severity"] != c.want || utf8.RuneCountInString(payload["summary"].(string)) != 1024 || b["event_action"] != "trigger" || b["dedup_key"] != "f" || b["routing_key"] != "R" {
			t.Errorf("%v: %v, want the severity %s", c.labels, b, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{"": "", "abcd": "abcd", "abcde": "abc…", "ab&": "ab…", "&": "…", "üüüü": "üüüü"} {
		if got := cut(4, text, slackRune); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
