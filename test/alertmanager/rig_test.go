package alertmanager

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/chart"
	"github.com/weirstream/weir/test/rig"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil { // they wait, most of the time
		panic(err)
	}
	bustest.Main(m)
}

const (
	// resend is so short that alerters are away for longer, and four times of it so
	// long that none has to hurry on a busy machine.
	resend = 8 * time.Second

	rules = `
groups:
- name: shop
  interval: 5s
  rules:
  - alert: Slow
    expr: histogram_quantile(0.9, sum by (workload) (rate(http_server_request_duration_seconds[20s]))) > 0.5
    labels: {severity: page}
    annotations: {summary: "{{ $labels.workload }} is slow"}
`
)

// scene is a stream with the requests of some workloads, an Alertmanager whose
// receiver counts, and alerters that don't run yet.
type scene struct {
	testing.TB
	server       *bustest.Server
	conn         *bus.Conn
	dir, weir    string
	receiver     *receiver
	alertmanager *rig.Process
	api          string // of the Alertmanager
}

// slow is when requests are: seconds from the start of the scene.
type slow struct{ from, to int }

// start starts a scene. Its requests are there at once, also those of the next
// two minutes.
func start(t testing.TB, weir string, workloads map[string][]slow) *scene {
	t.Helper()
	program := chart.Program(t, "alertmanager")
	s := &scene{TB: t, weir: weir, server: bustest.Start(t), dir: t.TempDir(), receiver: listen(t)}
	s.conn = bustest.Connect(t, s.server.URL)
	bustest.Provision(t, s.conn, 1, 1)
	config := fmt.Sprintf(`
route: {receiver: counted, group_by: [workload], group_wait: 1s, group_interval: 1s, repeat_interval: 12h}
receivers:
- name: counted
  webhook_configs: [{url: %q, send_resolved: true}]
`, s.receiver.URL+"/alertmanager")
	s.write("alertmanager.yml", config)
	s.write("rules.yaml", rules)
	address := bustest.FreeAddr(t)
	s.api = "http://" + address
	s.alertmanager = rig.NewProcess(t, "alertmanager", filepath.Join(s.dir, "alertmanager.log"), program,
		"--config.file="+s.path("alertmanager.yml"), "--storage.path="+s.path("data"), "--web.listen-address="+address, "--cluster.listen-address=")
	s.startAlertmanager()
	s.publish(workloads)
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// startAlertmanager starts it, again with what it remembers, and waits until it is ready.
func (s *scene) startAlertmanager() {
	s.Helper()
	s.alertmanager.Start()
	rig.Eventually(s, bustest.Timeout, "the Alertmanager is ready", func() bool {
		resp, err := http.Get(s.api + "/-/ready")
		if err == nil {
			resp.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

// alerter describes a replica that tells the Alertmanager.
func (s *scene) alerter(name string, more ...string) *rig.Process {
	args := append([]string{s.weir, "alerter", "--server", s.server.URL, "--http", bustest.FreeAddr(s), "--name", name, "--rules", s.path("rules.yaml"),
		"--alertmanager", s.api, "--alertmanager-resend", resend.String()}, more...)
	return rig.NewProcess(s, "alerter "+name, s.path(name+".log"), args...)
}

// run runs a command of weir, and returns what it prints.
func (s *scene) run(args ...string) string {
	s.Helper()
	out, err := exec.Command(s.weir, append(args, "--server", s.server.URL)...).CombinedOutput()
	if err != nil {
		s.Fatalf("weir %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// silences is how many silences of a state the Alertmanager has.
func (s *scene) silences(state string) (n int) {
	s.Helper()
	resp, err := http.Get(s.api + "/api/v2/silences")
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	var all []struct{ Status struct{ State string } }
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		s.Fatal(err)
	}
	for _, one := range all {
		if one.Status.State == state {
			n++
		}
	}
	return n
}

// publish publishes the windows from a minute ago until two minutes ahead.
func (s *scene) publish(workloads map[string][]slow) {
	s.Helper()
	lane, err := s.conn.OpenLane(s.Context(), bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true})
	if err != nil {
		s.Fatal(err)
	}
	now := time.Now()
	first := now.Add(-time.Minute).UnixNano() / proto.WindowNS * proto.WindowNS
	var parts []bus.Part
	for name, when := range workloads {
		latency := &proto.Latency{V: proto.LatencyVersion, Namespace: "shop", Workload: name, WorkloadKind: "Deployment"}
		for at := first; at < now.Add(2*time.Minute).UnixNano(); at += proto.WindowNS {
			latency.Points = append(latency.Points, point(at, int((at-now.UnixNano())/1e9), when))
		}
		data, err := proto.EncodeLatency(latency)
		if err != nil {
			s.Fatal(err)
		}
		parts = append(parts, bus.Part{Subject: proto.LatencySubject("shop", name), Data: data})
	}
	record, err := proto.EncodeCommit(&proto.Commit{
		V: proto.LatencyVersion, Epoch: lane.Epoch().Number, EpochID: lane.Epoch().ID, Seq: 1,
		WatermarkNS: now.Add(time.Hour).UnixNano(), LogNS: now.UnixNano(), Messages: len(parts),
	})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := lane.Commit(s.Context(), parts, record, 1, 1, 0); err != nil {
		s.Fatal(err)
	}
}

// point is twenty requests in a window that begins some seconds from the start.
func point(at int64, seconds int, when []slow) proto.Point {
	p := proto.Point{
		StartNS: at, WindowNS: proto.WindowNS, Metric: proto.MetricHTTPServer, Side: proto.SideServer,
		Attrs: map[string]string{proto.AttrMethod: "GET", proto.AttrRoute: "/", proto.AttrStatus: "200"},
	}
	took := 5 * time.Millisecond
	if slices.ContainsFunc(when, func(w slow) bool { return seconds >= w.from && seconds < w.to }) {
		took = 900 * time.Millisecond
	}
	p.Exemplars = []proto.Exemplar{{ValueNS: int64(took), TimeNS: at + 1, TraceID: fmt.Sprintf("%032x", at)}}
	for range 20 {
		p.Hist.Record(int64(took))
	}
	return p
}

// notice is what somebody is told of an alert: that it fires, or is over.
type notice struct {
	Status      string
	StartsAt    time.Time
	Annotations struct{ Exemplar string }
}

// changes are those in WEIR_ALERTS, by workload.
func (s *scene) changes() map[string][]notice {
	s.Helper()
	all := map[string][]notice{}
	if s.records() == 0 { // nothing is stored
		return all
	}
	for _, m := range bustest.ReadStored(s, s.server.URL, proto.StreamAlerts) {
		if m.Subject == proto.SubjectAlertCommit {
			continue
		}
		var e struct {
			notice
			Labels map[string]string
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			s.Fatal(err)
		}
		if e.Labels["alertname"] == "Slow" { // Weir has rules of its own
			all[e.Labels["workload"]] = append(all[e.Labels["workload"]], e.notice)
		}
	}
	return all
}

// count is how many changes of a workload there are.
func (s *scene) count(workload string) int { return len(s.changes()[workload]) }

// records is how many records alerters have stored that are still there.
func (s *scene) records() int {
	s.Helper()
	last, err := s.conn.LastMessages(s.Context(), proto.StreamAlerts, proto.SubjectAlertCommit)
	if err != nil {
		s.Fatal(err)
	}
	return len(last)
}

// same waits until the receiver has heard all changes, and a little more: it
// must have heard nothing else, and nothing in another order.
func (s *scene) same() {
	s.Helper()
	want := s.changes()
	rig.Eventually(s, bustest.Timeout, "the receiver has heard of every change", func() bool {
		return reflect.DeepEqual(s.receiver.heard("/alertmanager"), want)
	})
	time.Sleep(resend + 2*time.Second)
	if got := s.receiver.heard("/alertmanager"); !reflect.DeepEqual(got, want) {
		s.Errorf("the receiver heard %v\nthe changes are %v", got, want)
	}
}

// receiver counts what it is told, by path and workload.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	all map[string]map[string][]notice
}

func listen(t testing.TB) *receiver {
	r := &receiver{all: map[string]map[string][]notice{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		type told struct {
			notice
			Labels map[string]string
		}
		var body struct {
			told
			Alerts []told // of an Alertmanager
		}
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
			t.Error(err)
			return
		}
		if body.Alerts == nil {
			body.Alerts = []told{body.told}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		of := r.all[q.URL.Path]
		if of == nil {
			of = map[string][]notice{}
			r.all[q.URL.Path] = of
		}
		for _, a := range body.Alerts {
			if a.Labels["alertname"] == "Slow" {
				of[a.Labels["workload"]] = append(of[a.Labels["workload"]], a.notice)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// heard is what was told at a path so far, by workload.
func (r *receiver) heard(path string) map[string][]notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]notice{}
	for workload, all := range r.all[path] {
		out[workload] = slices.Clone(all)
	}
	return out
}

// lives is how often a replica has begun to work.
func lives(p *rig.Process) int { return strings.Count(p.Log(), "alerts_restored") }
