package main

import (
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/query"
)

func TestRetentionCheck(t *testing.T) {
	for _, tt := range []struct {
		name         string
		r            query.Retention
		status, want string
	}{
		{"room", query.Retention{Stream: "WEIR_RAW", MaxAge: 2 * time.Hour, MaxBytes: 3816e6, BytesPerHour: 720e6}, statusOK,
			"keeps 2 h; full after 5.3 h at the present 12.0 MB/min"},
		{"days of it", query.Retention{Stream: "WEIR_LATENCY", MaxAge: 24 * time.Hour, MaxBytes: 3 << 30, BytesPerHour: 60e3}, statusOK,
			"keeps 24 h; never full at the present 1.0 kB/min"},
		{"a week", query.Retention{Stream: "WEIR_LATENCY", MaxAge: 24 * time.Hour, MaxBytes: 7 * 24 * 60e6, BytesPerHour: 60e6}, statusOK,
			"keeps 24 h; full after 7 days at the present 1.0 MB/min"},
		{"too little", query.Retention{Stream: "WEIR_LATENCY", MaxAge: 24 * time.Hour, MaxBytes: 3e9, BytesPerHour: 1e9}, statusWarn,
			"keeps only 3 h of 24 h, then it is full at the present 16.7 MB/min"},
		{"quiet", query.Retention{Stream: "WEIR_RAW", MaxAge: 2 * time.Hour, MaxBytes: 1 << 30}, statusOK,
			"keeps 2 h; nothing was written lately"},
		{"no bound", query.Retention{Stream: "WEIR_RAW", MaxAge: 2 * time.Hour, MaxBytes: -1, BytesPerHour: 6e12}, statusOK,
			"keeps 2 h; never full at the present 100.0 GB/min"},
	} {
		c := retentionCheck(tt.r)
		if c.Status != tt.status || c.Found != tt.want {
			t.Errorf("%s: got %s %q, want %s %q", tt.name, c.Status, c.Found, tt.status, tt.want)
		}
		if tt.status == statusWarn && c.Fix != "weir provision --latency-bytes 30000000000" {
			t.Errorf("%s: fix %q", tt.name, c.Fix)
		}
		if strings.Contains(c.Found, "NaN") {
			t.Errorf("%s: %q", tt.name, c.Found)
		}
	}
}

func TestAgentVersions(t *testing.T) {
	now := time.Now()
	agents := func(versions ...string) []query.Stage {
		s := query.Stage{Agents: map[string]query.Agent{}}
		for i, v := range versions {
			s.Agents[string(rune('a'+i))] = query.Agent{Heard: now, Version: v}
		}
		return []query.Stage{s}
	}
	for _, tt := range []struct {
		stages []query.Stage
		want   string
	}{
		{agents("v1", "v1"), "2 heard from in the last 10s, version v1"},
		{agents("v2", "v1", "", "v1"), "4 heard from in the last 10s, 1 of version unknown, 2 of version v1, 1 of version v2"},
	} {
		if c := stageChecks(tt.stages, now)[0]; c.Status != statusOK || c.Found != tt.want {
			t.Errorf("got %+v, want %s", c, tt.want)
		}
	}
}

func TestNamingCheck(t *testing.T) {
	for _, tt := range []struct {
		n            query.Naming
		status, want string
	}{
		{query.Naming{}, statusOK, "no requests in the last 10s"},
		{query.Naming{Events: 200, Unresolved: 3}, statusOK, "of 200 requests seen in the last 10s, 3 have an end that could not be named"},
		{query.Naming{Events: 200, Stale: 150}, statusWarn, "stale for 150 of 200 requests of the last 10s: an enricher can't hear the Kubernetes API"},
	} {
		if c := namingCheck(tt.n); c.Status != tt.status || c.Found != tt.want || (c.Fix == "") != (tt.status == statusOK) {
			t.Errorf("%+v: got %+v", tt.n, c)
		}
	}
}
