package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/page"
	"github.com/weirstream/weir/test/rig"
)

const pageDir = "../page"

// mesh is a node on which services call each other, each call seen at both
// ends: about 1,000 series.
type mesh struct {
	lane   *bus.Lane
	frames [][]proto.Event // whose times are offsets from the frame's end
	frame  proto.Frame
	buf    []byte
	last   uint64 // sequence of the last frame in WEIR_RAW
}

func newMesh(t *testing.T, c *bus.Conn) *mesh {
	t.Helper()
	m := &mesh{frame: proto.Frame{Cluster: "bench", Node: "bench"}}
	var err error
	if m.lane, err = c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, m.frame.Node), Direct: true}); err != nil {
		t.Fatal(err)
	}
	m.frame.Epoch = m.lane.Epoch()
	const services, routes = 20, 5
	r := rand.New(rand.NewPCG(1, 2))
	process := func(n int) proto.Process {
		name := fmt.Sprintf("service-%02d", n)
		return proto.Process{PID: uint32(100 + n), Name: name, Unit: name + ".service"}
	}
	for range 50 {
		var events []proto.Event
		for len(events) < proto.MaxFrameEvents {
			to := 1 + r.IntN(services-1)
			from := max(to-1-r.IntN(3), 0)
			e := proto.Event{
				Side: proto.SideServer, Protocol: "http", EndNS: -r.Int64N(5e6),
				WaitNS: r.Int64N(50_000), ProcessingNS: int64(r.ExpFloat64() * 2e6 * float64(1+to%4)), TransferNS: r.Int64N(20_000),
				RequestBytes: 100 + r.Uint64N(200), ResponseBytes: 200 + r.Uint64N(2000),
				Method: "GET", Route: fmt.Sprintf("/route-%c/{id}", 'a'+rune(r.IntN(routes))), Status: 200,
				Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20_000+from*100+to)),
				Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(8000+to)),
				NetNS:       1, Process: process(to),
			}
			if r.IntN(50) == 0 {
				e.Status, e.Error = 500, "500"
			}
			e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
			client := e
			client.Side, client.Process = proto.SideClient, process(from)
			client.ProcessingNS, client.WaitNS = e.ProcessingNS+e.WaitNS, 0
			events = append(events, e, client)
		}
		m.frames = append(m.frames, events)
	}
	return m
}

// publish sends a full frame of what ended just before a time.
func (m *mesh) publish(t *testing.T, at time.Time) {
	t.Helper()
	f := &m.frame
	f.Events = append(f.Events[:0], m.frames[f.Seq%uint64(len(m.frames))]...)
	f.Seq++
	f.WatermarkNS = at.UnixNano()
	for i := range f.Events {
		f.Events[i].StartNS += f.WatermarkNS
		f.Events[i].EndNS += f.WatermarkNS
	}
	var err error
	if m.buf, err = f.Append(m.buf[:0]); err != nil {
		t.Fatal(err)
	}
	if m.last, err = m.lane.Publish(t.Context(), m.buf, f.Seq, 0, len(f.Events)); err != nil {
		t.Fatal(err)
	}
	f.Before += uint64(len(f.Events))
}

// unread is how many frames enricher or aggregator have yet to read.
func (m *mesh) unread(t *testing.T, c *bus.Conn, aggregator string) (frames uint64) {
	t.Helper()
	last, err := c.LastMessages(t.Context(), proto.StreamEnriched, proto.EnrichedSubject(0))
	if err != nil {
		t.Fatal(err)
	}
	if len(last) == 0 {
		return m.last
	}
	resp, err := http.Get(aggregator + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, lag, _ := strings.Cut(string(body), "weir_aggregator_lag_frames{partition=\"p00\"} ")
	lag, _, _ = strings.Cut(lag, "\n")
	behind, err := strconv.ParseFloat(lag, 64)
	if err != nil {
		t.Fatalf("the aggregator's lag: %v", err)
	}
	return m.last - last[0].Src + uint64(behind)
}

// publishAt publishes so many events a second until stop, which is asked after
// every frame. It returns how many there were.
func (m *mesh) publishAt(t *testing.T, rate float64, stop func() bool) (events int) {
	t.Helper()
	for began := time.Now(); ; {
		m.publish(t, time.Now())
		events += proto.MaxFrameEvents
		if stop() {
			return events
		}
		time.Sleep(time.Until(began.Add(time.Duration(float64(events) / rate * 1e9))))
	}
}

// pages measures what the page costs whom: viewers the pipeline, and a busy
// pipeline a viewer.
func pages(t *testing.T, out *table) {
	page.Need(t, pageDir)
	c := machine.Idle(t)
	c.Services[0].Start() // one enricher
	c.Services[2].Start() // one aggregator
	conn := connect(t, c.URL)
	m := newMesh(t, conn)
	history := 24 * time.Hour
	if !full() {
		history = time.Hour
	}
	for at := time.Now().Add(-history); at.Before(time.Now()); at = at.Add(time.Minute) {
		m.publish(t, at)
	}
	g := startGateway(t, c, "gateway")
	viewed(t, c, conn, m, g, out)
	smooth(t, m, g.url, out)
}

// busyRate is how many events a second a busy page has behind it.
const busyRate = 200_000

type gateway struct {
	*rig.Process
	url string
}

// startGateway returns one that has read all of the history.
func startGateway(t *testing.T, c *rig.Cluster, name string) gateway {
	t.Helper()
	at := bustest.FreeAddr(t)
	p := rig.NewProcess(t, name, filepath.Join(t.TempDir(), name+".log"), machine.Weir, "gateway", "--server", c.URL, "--http", at)
	p.Start()
	rig.Eventually(t, 2*time.Minute, name+" has its history", func() bool {
		resp, err := http.Get("http://" + at + "/api/services?last=24h")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && !strings.Contains(string(body), "still being read")
	})
	return gateway{p, "http://" + at}
}

// viewed compares how far the pipeline is behind, and the CPU it takes, while
// viewers of several kinds look and while nobody does, in turns.
func viewed(t *testing.T, c *rig.Cluster, conn *bus.Conn, m *mesh, gateway gateway, out *table) {
	lasting, rounds := 8*time.Second, 3
	if !full() {
		lasting, rounds = time.Second, 1
	}
	pipeline := []*rig.Process{c.NATS, c.Services[0], c.Services[2]}
	_, port, _ := net.SplitHostPort(c.Services[2].Args[len(c.Services[2].Args)-1])
	aggregator := "http://127.0.0.1:" + port
	// steady publishes busyRate for a while. Unread is how much of the traffic the
	// pipeline has not counted yet, at p99.
	steady := func() (unread time.Duration, cpu, cores float64) {
		used := func() (sum time.Duration) {
			for _, p := range pipeline {
				sum += p.CPU()
			}
			return sum
		}
		before, viewing, began := used(), gateway.CPU(), time.Now()
		var samples []float64
		n := m.publishAt(t, busyRate, func() bool {
			if looked := time.Duration(len(samples)) * 100 * time.Millisecond; time.Since(began) > looked {
				samples = append(samples, float64(m.unread(t, conn, aggregator)))
			}
			return time.Since(began) > lasting
		})
		cores = float64(gateway.CPU()-viewing) / float64(time.Since(began))
		rig.Eventually(t, 2*time.Minute, "last frame read", func() bool { return m.unread(t, conn, aggregator) == 0 })
		slices.Sort(samples)
		frame := time.Duration(float64(time.Second) * proto.MaxFrameEvents / busyRate)
		return time.Duration(samples[len(samples)*99/100]) * frame, float64(used()-before) / float64(n), cores
	}
	kinds := []struct {
		name  string
		start func(v *viewers)
	}{
		{"one page", func(v *viewers) { v.page(gateway.url) }},
		{"16 pages and 16 followers of events", func(v *viewers) {
			for range 16 {
				v.page(gateway.url)
				v.read(gateway.url+"/api/events", 1<<30)
			}
		}},
		{"viewers who read 1 kB/s", func(v *viewers) {
			for _, path := range []string{"/api/live", "/api/events", "/api/services?last=24h", "/api/map?last=24h"} {
				v.read(gateway.url+path, 1000)
			}
		}},
		{"viewers who read nothing", func(v *viewers) {
			for _, path := range []string{"/api/live", "/api/events", "/api/services?last=24h", "/api/map?last=24h"} {
				v.read(gateway.url+path, 0)
			}
		}},
		{"a gateway that begins, and reads 24 h", func(v *viewers) { v.do(func() { startGateway(t, c, "late") }) }},
	}
	type figures struct{ unread, alone, cpu, cores []float64 }
	of := make([]figures, len(kinds))
	steady() // warm
	for range rounds {
		for i, k := range kinds {
			alone, aloneCPU, _ := steady()
			v := &viewers{t: t, ended: make(chan struct{})}
			k.start(v)
			unread, cpu, cores := steady()
			close(v.ended)
			v.wait.Wait()
			f := &of[i]
			f.alone, f.unread = append(f.alone, alone.Seconds()*1e3), append(f.unread, unread.Seconds()*1e3)
			f.cpu, f.cores = append(f.cpu, cpu/aloneCPU), append(f.cores, cores)
		}
	}
	for i, k := range kinds {
		f := &of[i]
		out.atMost(fmt.Sprintf("200,000 exchanges/s with %s: not yet counted at p99, ms of traffic (%.0f without; the running gateway takes %.2f cores)",
			k.name, median(f.alone), median(f.cores)), median(f.unread), 1000, "%.0f")
		out.atMost(fmt.Sprintf("200,000 exchanges/s with %s: the pipeline's CPU per event, with / without", k.name), median(f.cpu), 1.1, "%.2f")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// viewers look until ended.
type viewers struct {
	t     *testing.T
	ended chan struct{}
	wait  sync.WaitGroup
}

func (v *viewers) do(look func()) {
	v.wait.Add(1)
	go func() {
		defer v.wait.Done()
		look()
	}()
}

// page does what a page does: it asks anew whenever it hears of something new.
func (v *viewers) page(gateway string) {
	v.do(func() {
		resp, err := http.Get(gateway + "/api/live")
		if err != nil {
			v.t.Error(err)
			return
		}
		defer resp.Body.Close()
		go func() { <-v.ended; resp.Body.Close() }()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), "data: ") {
				continue
			}
			if answer, err := http.Get(gateway + "/api/services?last=15m&side=server"); err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		}
	})
}

// read asks once, and takes so many bytes a second.
func (v *viewers) read(url string, bytes int) {
	v.do(func() {
		host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
		conn, err := net.Dial("tcp", host)
		if err != nil {
			v.t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
		buf := make([]byte, max(min(bytes/10, 64<<10), 1))
		for {
			pause := 100 * time.Millisecond
			if bytes > 1<<20 {
				pause = 0
			}
			select {
			case <-v.ended:
				return
			case <-time.After(pause):
			}
			if bytes > 0 {
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				if _, err := conn.Read(buf); err != nil && !isTimeout(err) {
					return // it was dropped
				}
			}
		}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// view is what a browser tells of one: milliseconds.
type view struct{ Tasks, Keys []float64 }

// smooth measures how the page behaves while 200,000 exchanges a second pass
// behind it, against the same page over hardly any, in the same browser.
func smooth(t *testing.T, m *mesh, gateway string, out *table) {
	quiet, busy := look(t, m, gateway, 1000), look(t, m, gateway, busyRate)
	for _, name := range []string{"Services", "Service heatmap", "Map", "Events"} {
		q, b := quiet[name], busy[name]
		var longest, before, sum float64
		for _, task := range b.Tasks {
			longest, sum = max(longest, task), sum+task-50
		}
		for _, task := range q.Tasks {
			before = max(before, task)
		}
		out.atMost(fmt.Sprintf("%s: longest task of the page over 200,000 exchanges/s, ms (%d of more than 50 ms in %v, together %.0f ms beyond; longest over 1,000/s: %.0f)",
			name, len(b.Tasks), spell(), sum, before), longest, 100, "%.0f")
		slices.Sort(q.Keys)
		slices.Sort(b.Keys)
		p95 := func(v []float64) float64 { return v[len(v)*95/100] }
		out.add(fmt.Sprintf("%s: from a key to the next frame, p95, 200,000 exchanges/s / 1,000 (%.0f ms, %.0f ms)", name, p95(b.Keys), p95(q.Keys)),
			"–", fmt.Sprintf("%.2f", p95(b.Keys)/p95(q.Keys)), 0)
	}
}

// look drives a browser over all views while the node has so many exchanges a
// second.
func look(t *testing.T, m *mesh, gateway string, rate float64) (views map[string]view) {
	t.Helper()
	type result struct {
		out []byte
		err error
	}
	ended := make(chan result, 1)
	cmd := page.Node(t.Context(), pageDir, gateway, "busy.mjs", fmt.Sprint(spell().Seconds()))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	go func() {
		out, err := cmd.Output()
		ended <- result{out, err}
	}()
	var r result
	m.publishAt(t, rate, func() bool {
		select {
		case r = <-ended:
			return true
		default:
			return false
		}
	})
	if r.err == nil {
		r.err = json.Unmarshal(r.out, &views)
	}
	if r.err != nil {
		t.Fatalf("busy.mjs: %v\n%s", r.err, stderr.String())
	}
	return views
}
