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

// read polls until enricher and aggregator have read the last frame.
func (m *mesh) read(t *testing.T, c *bus.Conn, aggregator string) {
	t.Helper()
	rig.Eventually(t, 2*time.Minute, "last frame read", func() bool {
		last, err := c.LastMessages(t.Context(), proto.StreamEnriched, proto.EnrichedSubject(0))
		if err != nil || len(last) == 0 || last[0].Src < m.last {
			return false
		}
		resp, err := http.Get(aggregator + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(body), "weir_aggregator_lag_frames{partition=\"p00\"} 0\n")
	})
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
	gateway := startGateway(t, c, "gateway")
	viewed(t, c, conn, m, gateway, out)
	smooth(t, m, gateway, out)
}

// startGateway returns its address when it has read all of the history.
func startGateway(t *testing.T, c *rig.Cluster, name string) (url string) {
	t.Helper()
	at := bustest.FreeAddr(t)
	p := rig.NewProcess(t, name, filepath.Join(t.TempDir(), name+".log"), machine.Weir, "gateway", "--server", c.URL, "--http", at)
	p.Start()
	rig.Eventually(t, time.Minute, name+" has its history", func() bool {
		resp, err := http.Get("http://" + at + "/api/services?last=24h")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && !strings.Contains(string(body), "still being read")
	})
	return "http://" + at
}

// viewed compares how many events a second go through with viewers of several
// kinds and without any, in turns.
func viewed(t *testing.T, c *rig.Cluster, conn *bus.Conn, m *mesh, gateway string, out *table) {
	frames, rounds := 1500, 5
	if !full() {
		frames, rounds = 150, 1
	}
	pipeline := []*rig.Process{c.NATS, c.Services[0], c.Services[2]}
	_, port, _ := net.SplitHostPort(c.Services[2].Args[len(c.Services[2].Args)-1])
	burst := func() (rate, cpu float64) {
		used := func() (sum time.Duration) {
			for _, p := range pipeline {
				sum += p.CPU()
			}
			return sum
		}
		before, began := used(), time.Now()
		for range frames {
			m.publish(t, time.Now())
		}
		m.read(t, conn, "http://127.0.0.1:"+port)
		n := float64(frames * proto.MaxFrameEvents)
		return n / time.Since(began).Seconds(), float64(used()-before) / n
	}
	kinds := []struct {
		name  string
		start func(v *viewers)
	}{
		{"one page", func(v *viewers) { v.page(gateway) }},
		{"16 pages and 16 followers of events", func(v *viewers) {
			for range 16 {
				v.page(gateway)
				v.read(gateway+"/api/events", 1<<30)
			}
		}},
		{"viewers who read 1 kB/s", func(v *viewers) {
			for _, path := range []string{"/api/live", "/api/events", "/api/services?last=24h", "/api/map?last=24h"} {
				v.read(gateway+path, 1000)
			}
		}},
		{"viewers who read nothing", func(v *viewers) {
			for _, path := range []string{"/api/live", "/api/events", "/api/services?last=24h", "/api/map?last=24h"} {
				v.read(gateway+path, 0)
			}
		}},
		{"a gateway that begins, and reads 24 h", func(v *viewers) { v.do(func() { startGateway(t, c, "late") }) }},
	}
	rates, costs := make([][]float64, len(kinds)), make([][]float64, len(kinds))
	burst() // warm
	for range rounds {
		for i, k := range kinds {
			alone, aloneCPU := burst()
			v := &viewers{t: t, ended: make(chan struct{})}
			k.start(v)
			rate, cpu := burst()
			close(v.ended)
			v.wait.Wait()
			rates[i] = append(rates[i], rate/alone)
			costs[i] = append(costs[i], cpu/aloneCPU)
		}
	}
	for i, k := range kinds {
		out.atLeast(fmt.Sprintf("raw → latency with %s / without, on the same cores (the pipeline's own CPU per event: %.2f)", k.name, median(costs[i])),
			median(rates[i]), 0.9, "%.2f")
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
	quiet, busy := look(t, m, gateway, 1000), look(t, m, gateway, 200_000)
	for _, name := range []string{"Services", "Service heatmap", "Map", "Events"} {
		q, b := quiet[name], busy[name]
		var longest, sum float64
		for _, task := range b.Tasks {
			longest, sum = max(longest, task), sum+task-50
		}
		out.atMost(fmt.Sprintf("%s: longest task of the page over 200,000 exchanges/s, ms (%d of more than 50 ms in %v, together %.0f ms beyond)",
			name, len(b.Tasks), spell(), sum), longest, 100, "%.0f")
		slices.Sort(q.Keys)
		slices.Sort(b.Keys)
		p95 := func(v []float64) float64 { return v[len(v)*95/100] }
		out.add(fmt.Sprintf("%s: from a key to the next frame, p95, 200,000 exchanges/s / 1,000 (%.0f ms, %.0f ms)", name, p95(b.Keys), p95(q.Keys)),
			"–", fmt.Sprintf("%.2f", p95(b.Keys)/p95(q.Keys)), 0)
	}
}

// look drives a browser over all views while the node has so many exchanges a
// second.
func look(t *testing.T, m *mesh, gateway string, rate int) (views map[string]view) {
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
	every := time.NewTicker(time.Duration(float64(time.Second) * proto.MaxFrameEvents / float64(rate)))
	defer every.Stop()
	for {
		select {
		case <-every.C:
			m.publish(t, time.Now())
		case r := <-ended:
			if r.err == nil {
				r.err = json.Unmarshal(r.out, &views)
			}
			if r.err != nil {
				t.Fatalf("busy.mjs: %v\n%s", r.err, stderr.String())
			}
			return views
		}
	}
}
