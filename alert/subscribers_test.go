package alert

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// TestExamples kills and restarts the programs of examples/ at random while
// alerts fire and end. What they have printed in the end, all lives together, is
// each change of their severity once, in order. Only a kill in the moment between
// printing and remembering may repeat a line, as they say.
func TestExamples(t *testing.T) {
	program := filepath.Join(t.TempDir(), "alerts")
	if out, err := exec.Command("go", "build", "-o", program, "../examples/go/alerts").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, command := range map[string][]string{"go": {program}, "python": {"/usr/bin/python3", "../examples/python/alerts.py"}} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(command[0]); err != nil {
				if os.Getenv("WEIR_REQUIRE") == "all" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			t.Parallel()
			server := bustest.Start(t)
			conn := bustest.Connect(t, server.URL)
			bustest.Provision(t, conn, 1, 1)
			// One that no alerter published.
			bustest.Publish(t, server.URL, proto.AlertSubject("page", "Slow"), []byte(`{"status":"firing","labels":{},"annotations":{"summary":"foreign"}}`))

			lane, err := conn.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
			if err != nil {
				t.Fatal(err)
			}
			// One that an earlier life has printed and remembered, and didn't acknowledge.
			handled := change(t, "page", "handled", 100, 0)
			publish(t, lane, 1, handled)

			dir := t.TempDir()
			last, output := filepath.Join(dir, "last"), filepath.Join(dir, "output")
			for file, text := range map[string]string{last: handled.Header["ce-id"], output: ""} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			command := append(command, "--server", server.URL, "--severity", "page", "--file", last)
			told := make(chan []string, 1)
			go func() { told <- fireAndResolve(t, lane) }()
			var want []string
			kills := 0
			for want == nil {
				end := startExample(t, command, output)
				size, until := len(read(t, output)), time.Now().Add(rand.N(700*time.Millisecond))
				for time.Now().Before(until) && (kills%2 == 0 || len(read(t, output)) == size) { // every other one dies as it prints
					time.Sleep(100 * time.Microsecond)
				}
				select {
				case want = <-told:
				default:
				}
				kills++
				end()
			}
			defer startExample(t, command, output)()
			bustest.Eventually(t, func() bool { return strings.Contains(read(t, output), want[len(want)-1]) }, "not all is printed")
			var got []string
			repeated := 0
			for line := range strings.Lines(read(t, output)) {
				line = strings.TrimSpace(line)
				if len(got) > 0 && line == got[len(got)-1] {
					repeated++
					continue
				}
				got = append(got, line)
			}
			t.Logf("%d kills, %d of %d lines repeated, such as %s", kills, repeated, len(got), got[0])
			if len(got) != len(want) || repeated > kills {
				t.Fatalf("%d lines, %d repeated, of %d changes:\n%s", len(got), repeated, len(want), strings.Join(got, "\n"))
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]) {
					t.Errorf("line %d is %s, want %s", i, got[i], want[i])
				}
			}
		})
	}
}

// startExample appends what a program prints to a file, until it is killed.
func startExample(t *testing.T, command []string, output string) (kill func()) {
	f, err := os.OpenFile(output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = f.Close()
		if stderr.Len() > 0 {
			t.Error(stderr.String())
		}
	}
}

func read(t *testing.T, file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// fireAndResolve publishes changes as an alerter does, for some seconds, and
// returns what lines of those that page have in them.
func fireAndResolve(t *testing.T, lane *bus.Lane) (want []string) {
	for n := range 40 {
		var parts []bus.Part
		for i := range 1 + rand.N(3) {
			severity := []string{"page", "ticket"}[rand.N(2)]
			summary := fmt.Sprintf("change %d.%d\n\"as said\"", n, i)
			parts = append(parts, change(t, severity, summary, n, i))
			if severity == "page" {
				want = append(want, strconv.Quote(summary))
			}
		}
		publish(t, lane, n+2, parts...)
		time.Sleep(rand.N(300 * time.Millisecond))
	}
	return want
}

// change is a change of an alert, which fires if n is even.
func change(t *testing.T, severity, summary string, n, i int) bus.Part {
	at := time.Now().UTC()
	a := proto.Alert{
		State: Firing, FiredAt: at, Value: 0.9, Annotations: map[string]string{"summary": summary},
		Labels: map[string]string{labels.AlertName: "Slow", "severity": severity, "workload": fmt.Sprintf("cart-%d-%d", n, i)},
	}
	if n%2 == 1 {
		a.State, a.ResolvedAt = Resolved, at
	}
	part, err := (&Change{Alert: *newAlert(a), At: at}).event("eu", nil, nil)
	if err != nil {
		t.Error(err)
	}
	return part
}

func publish(t *testing.T, lane *bus.Lane, seq int, parts ...bus.Part) {
	if _, err := lane.Commit(t.Context(), parts, []byte(`{"v":1}`), uint64(seq), 0, len(parts)); err != nil {
		t.Error(err)
	}
}
