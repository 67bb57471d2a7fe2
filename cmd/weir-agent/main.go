// Command weir-agent watches one host and publishes its exchanges to WEIR_RAW.
// It is the only privileged binary of a cluster install: it links neither a
// Kubernetes client nor the page nor a NATS server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/agent"
	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/status"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the process at once; but timeout(1) sends two together.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	// One goroutine reads and parses, another publishes: with more processors they
	// and the collector's only look for work and wake each other up, which took a
	// sixth of the agent's CPU under load.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	var usage usageError
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "weir-agent: %s\nSee: weir-agent --help\n", err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "weir-agent: %s\n", err)
		os.Exit(1)
	}
}

// usageError is a person's mistake on the command line.
type usageError struct{ error }

type options struct {
	node, cluster  string
	nats           service.NATS
	cgroup, procfs string
	http           string
	lockFile       string
	handover       string
	routes         []string
	leaveOut       []string
	config, levels string
	wait           time.Duration
}

func parse(args []string, stdout io.Writer) (*options, error) {
	host, _ := os.Hostname()
	o := &options{}
	flags := pflag.NewFlagSet("weir-agent", pflag.ContinueOnError)
	flags.SortFlags = false
	o.nats.Add(flags)
	flags.StringVar(&o.node, "node", host, "`name` of this host, unique in the cluster")
	flags.StringVar(&o.cluster, "cluster", "", "`name` of the cluster, carried in every message")
	flags.StringVar(&o.cgroup, "cgroup", "", "watch only the processes of this cgroup v2 `folder` (default the whole host)")
	flags.StringVar(&o.procfs, "procfs", "/proc", "`folder` where the host's /proc is mounted")
	flags.StringSliceVar(&o.routes, "routes", nil, "route `patterns` such as /users/{name}, before the built-in rules")
	flags.StringSliceVar(&o.leaveOut, "leave-out", nil, "`names` of processes, or cgroups such as /system.slice/backup.service, that aren't measured")
	flags.StringVar(&o.http, "http", "127.0.0.1:7071", "`address` of /healthz, /readyz and /metrics")
	flags.StringVar(&o.lockFile, "lock-file", "/run/weir-agent.lock", "held while running: one agent a host")
	flags.StringVar(&o.handover, "handover", "", "`folder` in a BPF file system: capture goes on there for the agent that follows this one")
	flags.StringVar(&o.levels, "log-level", "info", "debug, info, warn or error")
	service.WaitFlag(flags, &o.wait)
	flags.StringVar(&o.config, "config", "", "YAML `file` of these settings")
	flags.Usage = func() {
		fmt.Fprintf(stdout, "Watches this host and publishes its HTTP exchanges to WEIR_RAW. Needs root, or the\n"+
			"capabilities BPF, PERFMON, NET_ADMIN, SYS_PTRACE and DAC_READ_SEARCH; once it\n"+
			"watches it keeps the last two alone.\n\nUsage:\n  weir-agent [flags]\n\nFlags (or WEIR_… in the environment, or keys of --config):\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if flags.NArg() > 0 {
		return nil, usageError{fmt.Errorf("unknown argument %q", flags.Arg(0))}
	}
	if err := service.Settings(flags, o.config, os.LookupEnv); err != nil {
		return nil, usageError{err}
	}
	if o.node == "" {
		return nil, usageError{errors.New("this host has no name: give one with --node")}
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stdout)
	if err != nil {
		return err
	}
	log, err := service.Logger(stderr, o.levels)
	if err != nil {
		return usageError{err}
	}
	// What can be known to fail is found out before anything is started.
	if err := agent.CheckPrivileges(); err != nil {
		return err
	}
	if err := agent.CheckProcfs(o.procfs); err != nil {
		return err
	}
	if err := service.CheckHTTP(o.http); err != nil {
		return err
	}
	// The port is served until the agent has delivered what it has.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	metrics := service.Metrics()
	var capturing, connected atomic.Bool
	connect := func(ctx context.Context) (*bus.Conn, int, error) {
		c, err := service.Connect(ctx, o.nats.Options("weir-agent "+o.node), o.wait, log)
		if err != nil {
			return nil, 0, err
		}
		context.AfterFunc(serving, c.Close)
		partitions, err := service.Streams(ctx, c, o.wait, log)
		if err != nil {
			return nil, 0, err
		}
		status.RegisterBus(metrics, "agent", c)
		connected.Store(true)
		return c, partitions, nil
	}

	g, gctx := errgroup.WithContext(serving)
	g.Go(func() error {
		return status.Serve(gctx, o.http, metrics, func() error {
			switch {
			case !capturing.Load():
				return errors.New("not capturing yet")
			case !connected.Load():
				return errors.New("not connected to NATS yet")
			}
			return nil
		})
	})
	watching, cancel := context.WithCancel(gctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	g.Go(func() error {
		defer stop()
		return agent.Run(watching, agent.Config{
			Node: o.node, Cluster: o.cluster, Version: status.Version(), Connect: connect,
			Cgroup: o.cgroup, Procfs: o.procfs, OwnPorts: service.Ports(o.http), LockFile: o.lockFile, Handover: o.handover, Routes: o.routes, LeaveOut: o.leaveOut,
			Metrics: metrics,
			Ready: func(agent.Info) {
				if err := agent.DropPrivileges(); err != nil {
					log.Warn("privileges_kept", "error", err)
				}
				capturing.Store(true)
			},
		}, log)
	})
	return g.Wait()
}
