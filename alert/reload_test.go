package alert

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirstream/weir/internal/bustest"
)

// lines is a log.
type lines struct {
	sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.Lock()
	defer l.Unlock()
	return l.text.String()
}

// Files with a mistake leave the rules as they are, and what is asked for counts
// at once when they have none.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(slowRule)
	ask := make(chan os.Signal)
	said := new(lines)
	a := &alerter{cfg: Config{Rules: []string{file}, Interval: time.Minute, Reload: ask}, log: slog.New(slog.NewTextHandler(said, nil)), m: newMetrics(prometheus.NewRegistry())}
	groups, err := a.load()
	if err != nil {
		t.Fatal(err)
	}
	a.groups = groups
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.reload(ctx) }()
	rules := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		n := 0
		for _, g := range a.groups {
			n += len(g.Rules)
		}
		return n
	}

	failed := func() float64 {
		var m dto.Metric
		if err := a.m.reloadFailed.Write(&m); err != nil {
			t.Error(err)
		}
		return m.Gauge.GetValue()
	}

	write(slowRule + "  - alert: Wrong\n    expr: rate(a\n")
	ask <- syscall.SIGHUP
	bustest.Eventually(t, func() bool { return failed() == 1 && strings.Contains(said.String(), file+":14:") }, "no word of the mistake in %s", said)
	if n := rules(); n != 2 {
		t.Errorf("after a mistake there are %d rules", n)
	}
	write(slowRule + "  - alert: Right\n    expr: vector(1)\n")
	ask <- syscall.SIGHUP
	bustest.Eventually(t, func() bool { return rules() == 3 }, "the new rule isn't there")
	if n := failed(); n != 0 {
		t.Errorf("reload_failed is %v after a good one", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
