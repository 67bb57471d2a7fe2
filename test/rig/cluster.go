package rig

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Cluster is every service as a process of its own: a nats-server, the agent,
// and two enrichers and two aggregators that are rivals for one partition.
type Cluster struct {
	NATS      *Process
	Agent     *Process
	Services  []*Process // enricher-a, enricher-b, aggregator-a, aggregator-b
	URL       string
	Dir       string // of the nats-server's data
	AgentHTTP string // host:port
	rig       *Rig
	t         testing.TB
}

// Cluster starts all of them and waits until the agent captures.
func (r *Rig) Cluster(t testing.TB) *Cluster {
	t.Helper()
	c := r.Idle(t)
	for _, p := range c.Services {
		p.Start()
	}
	c.StartAgent()
	return c
}

// Idle starts the nats-server of a cluster and makes its streams, no more.
func (r *Rig) Idle(t testing.TB) *Cluster {
	t.Helper()
	dir := t.TempDir()
	at := freeAddr(t)
	c := &Cluster{URL: "nats://" + at, Dir: filepath.Join(dir, "nats"), AgentHTTP: freeAddr(t), rig: r, t: t}
	process := func(name string, args ...string) *Process {
		return NewProcess(t, name, filepath.Join(dir, name+".log"), args...)
	}
	c.NATS = process("nats", r.Weir, "nats", "--data-dir", c.Dir, "--nats", at)
	c.Agent = process("agent", r.Agent, "--server", c.URL, "--http", c.AgentHTTP)
	for _, name := range []string{"enricher-a", "enricher-b", "aggregator-a", "aggregator-b"} {
		service, _, _ := strings.Cut(name, "-")
		c.Services = append(c.Services, process(name, r.Weir, service, "--server", c.URL, "--http", freeAddr(t)))
	}
	c.StartNATS()
	if out, err := c.Streams().Weir("provision"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return c
}

// StartAgent starts the agent and waits until it captures.
func (c *Cluster) StartAgent() {
	c.t.Helper()
	c.Agent.Start()
	waitReady(c.t, c.Agent, c.AgentHTTP)
}

// StartNATS starts the server, again with its data if it ran before.
func (c *Cluster) StartNATS() {
	c.t.Helper()
	c.NATS.Start()
	Eventually(c.t, 20*time.Second, "nats listens", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "nats://"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// Streams of this cluster.
func (c *Cluster) Streams() Streams { return Streams{c.URL, c.rig, c.t} }

// Stop kills all of it.
func (c *Cluster) Stop() {
	for _, p := range append(c.Services, c.Agent, c.NATS) {
		p.Kill()
	}
}
