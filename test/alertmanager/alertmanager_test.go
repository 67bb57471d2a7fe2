package alertmanager

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/chart"
	"github.com/weirstream/weir/test/rig"
)

// random has the seed WEIR_SEED, or one that it prints.
func random(t *testing.T) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("WEIR_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestAlertmanager runs the scenes side by side: they wait, most of the time.
func TestAlertmanager(t *testing.T) {
	chart.Program(t, "alertmanager") // or there is nothing to build
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-o", weir, "../../cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, scene := range map[string]func(*testing.T, string){"killed": killed, "taken over": takenOver, "silenced": silenced} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scene(t, weir)
		})
	}
}

// An alerter is killed at random moments, before it has done anything and after,
// and sometimes away for longer than the time after which it tells again: the
// receiver hears of each change once. (All of them last longer than that: an
// Alertmanager doesn't tell of what it only hears of when it is over.)
func killed(t *testing.T, weir string) {
	r := random(t)
	s := start(t, weir, map[string][]slow{"cart": {{-20, 10}}, "payment": {{0, 20}}, "shipping": {{-20, -10}, {20, 45}}, "fast": nil})
	alerter := s.alerter("a")
	kills := 0
	for began := time.Now(); s.count("cart") < 2 || s.count("payment") < 2 || s.count("shipping") < 4; kills++ {
		if time.Since(began) > 4*time.Minute {
			t.Fatalf("not all has changed: %v", s.changes())
		}
		before := lives(alerter)
		alerter.Start()
		if kills%2 == 0 { // until it works: somebody has to, at times
			rig.Eventually(t, bustest.Timeout, "an alerter works", func() bool { return lives(alerter) > before || before == 0 && s.count("cart") > 0 })
		}
		time.Sleep(time.Duration(r.Int64N(int64(2 * time.Second))))
		alerter.Kill()
		if kills%5 == 4 {
			time.Sleep(resend + time.Duration(r.Int64N(int64(2*time.Second))))
		}
	}
	alerter.Start()
	t.Logf("%d kills", kills)
	s.same()
	want := []string{"firing", "resolved", "firing", "resolved"}
	for workload, n := range map[string]int{"cart": 2, "payment": 2, "shipping": 4} {
		var got []string
		for _, c := range s.changes()[workload] {
			got = append(got, c.Status)
			if !strings.HasPrefix(c.Annotations.Exemplar, "duration=900ms operation=\"GET /\" status=200 namespace=shop workload="+workload) {
				t.Errorf("the exemplar of %s is %q", workload, c.Annotations.Exemplar)
			}
		}
		if !reflect.DeepEqual(got, want[:n]) {
			t.Errorf("%s: %v, want %v", workload, got, want[:n])
		}
	}
}

// Of two replicas the one that works is killed while an Alertmanager goes away
// before an alert fires and before it is over, and paused while another is over.
func takenOver(t *testing.T, weir string) {
	s := start(t, weir, map[string][]slow{"cart": {{-20, 10}}, "payment": {{0, 60}}})
	a, b := s.alerter("a"), s.alerter("b")
	a.Start()
	rig.Eventually(t, bustest.Timeout, "a works", func() bool { return s.records() > 0 })
	b.Start()
	away := func(workload string, n int) { // until a change of a workload is stored, and some time more
		s.alertmanager.Stop(30 * time.Second)
		rig.Eventually(t, 2*bustest.Timeout, workload+" changes", func() bool { return s.count(workload) >= n })
		a.Kill()
		a, b = b, a
		b.Start()
		time.Sleep(2 * time.Second)
		s.startAlertmanager()
	}
	away("cart", 1)
	rig.Eventually(t, bustest.Timeout, "the receiver hears of cart", func() bool { return len(s.receiver.heard("/alertmanager")["cart"]) == 1 })
	away("cart", 2)
	// One that is paused, until its rival has told of an end, thinks that it has the lease still.
	last := strings.Count(a.Log(), "lease_acquired") + strings.Count(b.Log(), "lease_acquired")
	a.Signal(syscall.SIGSTOP)
	rig.Eventually(t, bustest.Timeout, "b takes over", func() bool {
		return strings.Count(a.Log(), "lease_acquired")+strings.Count(b.Log(), "lease_acquired") > last
	})
	rig.Eventually(t, 2*bustest.Timeout, "payment is over", func() bool { return s.count("payment") == 2 })
	rig.Eventually(t, bustest.Timeout, "the receiver hears of payment", func() bool { return len(s.receiver.heard("/alertmanager")["payment"]) == 2 })
	a.Signal(syscall.SIGCONT)
	s.same()
}

// Silences keep webhooks and receivers of the Alertmanager from hearing, until
// they end. What fires then still is told then, once, whatever is killed.
func silenced(t *testing.T, weir string) {
	r := random(t)
	s := start(t, weir, map[string][]slow{"cart": {{-20, 50}}, "payment": {{-10, 10}}, "shipping": {{-20, 50}}, "loud": {{-20, 0}}})
	s.write("webhooks.yaml", "webhooks: [{name: hook, url: \""+s.receiver.URL+"/hook\"}]")
	silence := func(args ...string) string {
		return strings.TrimSpace(s.run(append([]string{"alerts", "silence"}, args...)...))
	}
	silence("workload=cart", "--for", "35s", "--comment", "ends by itself")
	silence("workload=~pay.*", "severity!=ticket", "--for", "1h")
	shipping := silence("Slow", "workload=shipping", "--for", "1h", "--author", "me", "--comment", "ends by hand")
	a, b := s.alerter("a", "--webhooks", s.path("webhooks.yaml")), s.alerter("b", "--webhooks", s.path("webhooks.yaml"))
	a.Start()
	b.Start()
	rig.Eventually(t, bustest.Timeout, "three fire, and are silenced", func() bool {
		return s.count("cart") == 1 && s.count("shipping") == 1 && s.count("payment") >= 1
	})
	if out := s.run("alerts"); strings.Count(out, "silenced ") < 2 {
		t.Errorf("weir alerts prints\n%s", out)
	}
	rig.Eventually(t, bustest.Timeout, "the Alertmanager has three silences", func() bool { return s.silences("active") == 3 })
	s.run("alerts", "unsilence", shipping)
	for range 6 { // while the silences end
		time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
		a.Kill()
		time.Sleep(time.Duration(r.Int64N(int64(time.Second))))
		a.Start()
		a, b = b, a
	}
	rig.Eventually(t, 3*bustest.Timeout, "all is over", func() bool {
		return s.count("cart") == 3 && s.count("shipping") == 3 && s.count("payment") == 2 && s.count("loud") == 2
	})
	want := map[string][]notice{}
	for workload, all := range s.changes() {
		if workload != "payment" {
			want[workload] = all[len(all)-2:] // firing, resolved; those that were silenced fired before
		}
	}
	for _, path := range []string{"/hook", "/alertmanager"} {
		rig.Eventually(t, bustest.Timeout, path+" hears of all that isn't silenced", func() bool { return reflect.DeepEqual(s.receiver.heard(path), want) })
	}
	time.Sleep(resend + 2*time.Second)
	for _, path := range []string{"/hook", "/alertmanager"} {
		if got := s.receiver.heard(path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s heard %v\nwant %v", path, got, want)
		}
	}
	if active, expired := s.silences("active"), s.silences("expired"); active != 1 || expired != 2 {
		t.Errorf("the Alertmanager has %d silences and %d that have ended, want 1 and 2", active, expired)
	}
}
