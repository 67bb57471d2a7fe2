package silence

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMatchers(t *testing.T) {
	of := map[string]string{"alertname": "Slow", "workload": "cart", "severity": "page"}
	for text, want := range map[string]bool{
		"Slow":                          true,
		"Slower":                        false,
		`alertname = "Slow"`:            true,
		"workload=~ca.*|x":              true,
		"workload=~ca":                  false, // of the whole value
		"Slow,workload!=cart":           false,
		"workload!~pay.*,severity=page": true,
		"Slow,namespace=":               true, // it has none
		`workload=~"c\u0061rt"`:         true,
	} {
		s, err := New(strings.Split(text, ","), time.Hour, "me", "why", time.Now())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if s.Matches(of) != want {
			t.Errorf("%s (%v) matches: %v", text, s.Matchers, !want)
		}
	}
	for text, want := range map[string]string{
		"":                `matcher "alertname=" `,
		"workload=~(":     "missing closing )",
		"work load=x":     "is not LABEL=VALUE",
		`workload="x`:     "the quotes don't close",
		"workload!=cart":  "at least one matcher must ask for a label",
		"workload=~.*":    "at least one matcher must ask for a label",
		"=x":              "is not LABEL=VALUE",
		"workload==~cart": "",
	} {
		_, err := New([]string{text}, time.Hour, "", "", time.Now())
		if text == "" {
			want = "at least one matcher must ask for a label"
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	long := "workload=~" + strings.Repeat(`a\.b|`, 200) + "x" // with its quotes it is longer than who reads it takes
	if _, err := New([]string{long}, time.Hour, "", "", time.Now()); err == nil || !strings.Contains(err.Error(), "at most 1024 bytes") {
		t.Error(err)
	}
	if _, err := New(nil, time.Hour, "", "", time.Now()); err == nil || !strings.Contains(err.Error(), "there are 0") {
		t.Error(err)
	}
	for _, lasts := range []time.Duration{0, -time.Hour, 366 * 24 * time.Hour} {
		if _, err := New([]string{"Slow"}, lasts, "", "", time.Now()); err == nil || !strings.Contains(err.Error(), "a year at most") {
			t.Errorf("%s: %v", lasts, err)
		}
	}
}

// Silences are bounded, end once, and go away by themselves.
func TestStoredSilences(t *testing.T) {
	server := bustest.Start(t)
	conn := bustest.Connect(t, server.URL)
	bustest.Provision(t, conn, 1, 1)
	silence := func(lasts time.Duration) *Silence {
		s, err := New([]string{"Slow"}, lasts, "", "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := silence(time.Hour)
	if err := s.Store(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(time.Second)
	if err := End(t.Context(), conn, s.ID, now); err != nil {
		t.Error(err)
	}
	if err := End(t.Context(), conn, s.ID, now.Add(time.Second)); err == nil || !strings.Contains(err.Error(), "has ended at") {
		t.Error(err)
	}
	if err := End(t.Context(), conn, "none", now); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	table, err := conn.OpenTable(t.Context(), proto.BucketSilences)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.PutFor(t.Context(), "broken", []byte("{"), time.Minute); err != nil {
		t.Fatal(err)
	}
	gone := silence(time.Hour)
	if err := gone.put(t.Context(), table, time.Now().Add(time.Second-keepEnded)); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, func() bool {
		all, unreadable, err := All(t.Context(), conn)
		return err == nil && len(all) == 1 && all[0].ID == s.ID && !all[0].EndsAt.After(now) && unreadable != nil && strings.Contains(unreadable.Error(), "read silence broken")
	}, "there are other silences than the one that has ended")
	if table, err = conn.OpenTable(t.Context(), proto.BucketSilences); err != nil {
		t.Fatal(err)
	}
	for len(table.Keys()) < Max {
		s := silence(time.Hour)
		if err := s.put(t.Context(), table, s.EndsAt); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range table.Keys()[:2] { // one that was ended by hand long ago has no place
		ended, err := decode(id, table.Get(id))
		if err != nil {
			continue // broken
		}
		ended.EndsAt = time.Now().Add(-2 * keepEnded)
		if err := ended.put(t.Context(), table, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := silence(time.Hour).Store(t.Context(), conn); err != nil {
			t.Error(err)
		}
		break
	}
	if err := silence(time.Hour).Store(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "there are 500 silences, which is the most") {
		t.Error(err)
	}
}
