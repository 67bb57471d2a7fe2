package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/weirstream/weir/agent"
	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/bpf"
	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
	"github.com/weirstream/weir/internal/demo"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
)

const (
	defaultDataDir = "/var/lib/weir"
	defaultNATS    = "127.0.0.1:4222"
)

type upFlags struct {
	dataDir, nats, http string
	cgroup, node        string
	cluster             string
	routes              []string
	leaveOut            []string
	level               string
	demo                bool
	otlp                otlpFlags
	remote              remoteWriteFlags
	alerts              alertFlags
}

func (a *app) upCommand() *cobra.Command {
	f := &upFlags{}
	host, _ := os.Hostname()
	cmd := &cobra.Command{
		Use:     "up",
		GroupID: groupHost,
		Short:   "Measure this host: everything in one process",
		Long: `Runs the agent, the enricher, the aggregator, the page and a nats-server with
JetStream on disk in one process, and prints a line for each when it works. From then on the
latency of every HTTP request of every process on this host is in the stream
WEIR_LATENCY, a few seconds after its ten-second window has ended. Ctrl-C stops
everything in order; the streams stay in the data folder.

It needs root (or the capabilities BPF, PERFMON and NET_ADMIN), Linux 5.10 or
later with BTF, and cgroup v2. ` + "`weir doctor`" + ` tells what is missing.`,
		Example: `  sudo weir up
  sudo weir up --demo                        # also a shop of five services under load
  sudo weir up --data-dir /tmp/weir --nats 127.0.0.1:14222 --http 127.0.0.1:17070`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			otlp, err := f.otlp.config(cmd.Flags(), a.lookupEnv)
			if err != nil {
				return err
			}
			remote, err := f.remote.config()
			if err != nil {
				return err
			}
			if f.http == "" && (otlp.Metrics != "" || otlp.Traces != "" || remote.URL != "") {
				return usagef("--http is empty, so that nothing is sent by OTLP or remote write either: give an address")
			}
			alerts, err := f.alerts.config("")
			if err != nil {
				return err
			}
			return a.up(cmd.Context(), f, otlp, remote, alerts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.demo, "demo", false, "also run a small shop of services that call each other")
	flags.StringVar(&f.dataDir, "data-dir", defaultDataDir, "`folder` of the streams")
	flags.StringVar(&f.nats, "nats", defaultNATS, "`address` where the nats-server listens")
	flags.StringVar(&f.http, "http", defaultHTTP, "`address` of the page, /healthz, /readyz and /metrics")
	flags.StringVar(&f.cgroup, "cgroup", "", "watch only the processes of this cgroup v2 `folder` (default the whole host)")
	flags.StringVar(&f.node, "node", host, "`name` of this host")
	flags.StringVar(&f.cluster, "cluster", "", "`name` carried in every message")
	flags.StringSliceVar(&f.routes, "routes", nil, "route `patterns` such as /users/{name}, before the built-in rules")
	flags.StringSliceVar(&f.leaveOut, "leave-out", nil, "`names` of processes, or cgroups such as /system.slice/backup.service, that aren't measured")
	f.otlp.add(flags)
	f.remote.add(flags)
	f.alerts.add(flags)
	flags.StringVar(&f.level, "log-level", "warn", "debug, info, warn or error")
	flags.String("config", "", "YAML `file` of these settings")
	return cmd
}

// host is what the parts of `weir up` share.
type host struct {
	app     *app
	flags   *upFlags
	otlp    export.OTLP
	remote  export.RemoteWrite
	alerts  alert.Config
	history *history.History // of the page and of the alerter
	log     *slog.Logger
	metrics *prometheus.Registry
	server  *natsserver.Server
	address string // of the server, host:port
	page    string // its address, "" if it isn't served
	ready   atomic.Bool
}

func (a *app) up(ctx context.Context, f *upFlags, otlp export.OTLP, remote export.RemoteWrite, alerts alert.Config) error {
	log, err := service.Logger(a.stderr, f.level)
	if err != nil {
		return usageError{err}
	}
	if f.node == "" {
		return usagef("this host has no name: give one with --node")
	}
	// What can be known to fail is found out before anything is started.
	if err := bpf.CheckHost(); err != nil {
		return err
	}
	if _, err := bpf.FindCgroup(f.cgroup); err != nil {
		return err
	}
	if err := service.CheckHTTP(f.http); err != nil {
		return err
	}
	h := &host{app: a, flags: f, otlp: otlp, remote: remote, alerts: alerts, log: log, metrics: service.Metrics()}
	return runParts(ctx, h.parts(), h.up)
}

// parts in the order they are started; they stop the other way round.
func (h *host) parts() []part {
	parts := []part{
		{"nats-server", h.runNATS},
		{"history", h.runHistory},
		{"alerter", h.runAlerter},
		{"page", h.runPage},
		{"aggregator", h.runAggregator},
		{"enricher", h.runEnricher},
		{"agent", h.runAgent},
		{"api", h.runAPI},
	}
	if h.flags.demo {
		parts = append(parts, part{"demo", h.runDemo})
	}
	return parts
}

// say prints the line of a part that came up.
func (h *host) say(name, format string, args ...any) {
	fmt.Fprintf(h.app.stdout, "%-12s %s\n", name, fmt.Sprintf(format, args...))
}

// up says what can be done now.
func (h *host) up() {
	h.ready.Store(true)
	server := ""
	if h.address != defaultNATS {
		server = " --server nats://" + h.address
	}
	fmt.Fprint(h.app.stdout, "\nEvery HTTP request of this host is measured now.")
	if h.page != "" {
		fmt.Fprintf(h.app.stdout, " See it at\n\n  %s\n\nor", h.page)
	}
	fmt.Fprint(h.app.stdout, " in another terminal:\n\n")
	var t table
	for _, hint := range [][2]string{
		{"weir latency" + server, "who is slow, and is it working or waiting"},
		{"weir observe" + server, "requests as they happen"},
		{"weir map" + server, "who calls whom"},
		{"nats sub -s nats://" + h.address + " '" + proto.SubjectsLive + "'", "the stream itself"},
	} {
		t.add(cell{text: "  " + hint[0]}, cell{text: hint[1]})
	}
	_ = t.write(h.app.stdout) // as with every line here: there is no one to tell
	fmt.Fprint(h.app.stdout, "\nCtrl-C stops.\n")
}

// runPage serves the page beside /metrics, /healthz and /readyz.
func (h *host) runPage(ctx context.Context, ready func()) error {
	if h.flags.http == "" {
		ready()
		<-ctx.Done()
		return nil
	}
	token, err := pageToken(h.flags.http, h.flags.dataDir)
	if err != nil {
		return err
	}
	c, err := h.connect(ctx, "gateway")
	if err != nil {
		return err
	}
	defer c.Close()
	h.page = pageURL(h.flags.http, token)
	h.say("page", "%s; also /metrics/latency, /metrics, /healthz, /readyz", h.page)
	for _, out := range [][2]string{{"histograms", h.otlp.Metrics}, {"spans", h.otlp.Traces}, {"histograms by remote write", h.remote.URL}} {
		if out[1] != "" {
			h.say("export", "%s to %s", out[0], export.Redacted(out[1]))
		}
	}
	ready()
	return gateway.Run(ctx, gateway.Config{
		Bus: c, HTTP: h.flags.http, Registry: h.metrics, Token: token, OTLP: h.otlp, RemoteWrite: h.remote, History: h.history,
		Ready: func() error {
			if !h.ready.Load() {
				return errors.New("not everything is up yet")
			}
			return nil
		},
	}, h.log)
}

// runNATS runs the server and, before anything uses it, makes the streams.
func (h *host) runNATS(ctx context.Context, ready func()) error {
	server, err := natsserver.Start(ctx, natsserver.Config{Dir: h.flags.dataDir, Addr: h.flags.nats, Name: "weir"}, h.log)
	if err != nil {
		return err
	}
	defer server.Stop()
	h.server, h.address = server, strings.TrimPrefix(server.URL(), "nats://")
	h.say("nats-server", "%s, data in %s", server.URL(), h.flags.dataDir)
	c, err := h.connect(ctx, "provision")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Provision(ctx, bus.Layout{}); err != nil {
		return err
	}
	h.say("streams", "%s, %s, %s, %s, %s, %s, %s; subscribe to %s", proto.StreamRaw, proto.StreamEnriched, proto.StreamLatency, proto.StreamRollup, proto.StreamHistory, proto.StreamAlerts, proto.StreamRecorded, proto.SubjectsLive)
	ready()
	<-ctx.Done()
	return nil
}

// connect gives a part a connection of its own to the server in this process.
func (h *host) connect(ctx context.Context, name string) (*bus.Conn, error) {
	return bus.Connect(ctx, bus.Options{URL: h.server.URL(), Name: "weir " + name, InProcess: h.server}, h.log)
}

// runHistory keeps in memory what the page shows and rules are evaluated over.
func (h *host) runHistory(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "history")
	if err != nil {
		return err
	}
	defer c.Close()
	h.history = history.New(history.Config{Bus: c, Bytes: gateway.DefaultCacheBytes, Keep: alert.HistoryKeep}, h.log)
	ready()
	return h.history.Run(ctx)
}

func (h *host) runAlerter(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "alerter")
	if err != nil {
		return err
	}
	defer c.Close()
	h.alerts.Bus, h.alerts.Holder, h.alerts.Registry, h.alerts.History = c, h.flags.node, h.metrics, h.history
	if page, err := parsePage(hostPage(h.flags.http, h.address)); err == nil {
		h.alerts.Page = page
	}
	h.say("alerter", "%s → %s, %s", proto.StreamLatency, proto.StreamAlerts, proto.StreamRecorded)
	ready()
	return alert.Run(ctx, h.alerts, h.log)
}

func (h *host) runEnricher(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "enricher")
	if err != nil {
		return err
	}
	defer c.Close()
	h.say("enricher", "%s → %s", proto.StreamRaw, proto.StreamEnriched)
	ready()
	return enricher.Run(ctx, enricher.Config{Bus: c, Holder: h.flags.node, Registry: h.metrics}, h.log)
}

func (h *host) runAggregator(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "aggregator")
	if err != nil {
		return err
	}
	defer c.Close()
	h.say("aggregator", "%s → %s", proto.StreamEnriched, proto.StreamLatency)
	ready()
	return aggregator.Run(ctx, aggregator.Config{Bus: c, Holder: h.flags.node, Registry: h.metrics}, h.log)
}

// runAPI answers what the commands do, over NATS.
func (h *host) runAPI(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "api")
	if err != nil {
		return err
	}
	defer c.Close()
	h.say("api", "%s, %s, %s", api.Subject("latency"), api.Subject("map"), api.Subject("events"))
	ready()
	return api.Run(ctx, c, hostPage(h.flags.http, h.address))
}

func (h *host) runAgent(ctx context.Context, ready func()) error {
	c, err := h.connect(ctx, "agent")
	if err != nil {
		return err
	}
	defer c.Close()
	status.RegisterBus(h.metrics, "agent", c)
	return agent.Run(ctx, agent.Config{
		Node: h.flags.node, Cluster: h.flags.cluster, Version: status.Version(),
		Connect: func(ctx context.Context) (*bus.Conn, int, error) {
			partitions, err := c.Partitions(ctx)
			return c, partitions, err
		},
		Cgroup: h.flags.cgroup, OwnPorts: service.Ports(h.address, h.flags.http), Routes: h.flags.routes, LeaveOut: h.flags.leaveOut,
		Metrics: h.metrics,
		Ready: func(i agent.Info) {
			h.say("agent", "watches %s as %s", i.Cgroup, h.flags.node)
			if i.NoWait != "" {
				h.say("", "the wait is not measured: %s", i.NoWait)
			}
			ready()
		},
	}, h.log)
}

func (h *host) runDemo(ctx context.Context, ready func()) error {
	config, err := h.app.shop(h.flags.dataDir)
	if err != nil {
		return err
	}
	config.Ready = func(frontend string) {
		h.say("demo", "a shop at %s: %.0f requests/s; counts in %s", frontend, demo.Rate, config.Dir)
		ready()
	}
	return demo.Run(ctx, config)
}
