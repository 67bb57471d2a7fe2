package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bus/natsserver"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main, pluginName: main, "forwarder": forwarder})
}

// TestScript runs the scripts in testdata/script: what a person types, and
// what comes back. See testdata/script/README.md for the commands they have.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"nats":     startNATS,
			"secure":   startSecure,
			"fill":     fill,
			"stream":   createStream,
			"listen":   listen,
			"terminal": terminal,
			"keys":     keys,
			"screen":   screen,
			"api":      serveAPI,
			"request":  request,
			"record":   storeRecord,
			"publish":  publish,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// condition root is true where weir up can start, tmux where that is: a script
// that needs it is skipped elsewhere, and fails instead where everything is
// required.
func condition(name string) (ok bool, err error) {
	switch name {
	case "root":
		ok = os.Geteuid() == 0
	case "tmux":
		_, missing := exec.LookPath("tmux")
		ok = missing == nil
	default:
		return false, fmt.Errorf("unknown condition %q", name)
	}
	if !ok && os.Getenv("WEIR_REQUIRE") == "all" {
		return false, fmt.Errorf("WEIR_REQUIRE=all, but there is no %s", name)
	}
	return ok, nil
}

// startNATS starts a nats-server with Weir's streams (nats), without them
// (nats -empty), or with its data in a folder (nats -dir D). $WEIR_SERVER says
// where it is.
func startNATS(ts *testscript.TestScript, _ bool, args []string) {
	dir := filepath.Join(ts.Getenv("WORK"), "nats")
	if len(args) == 2 && args[0] == "-dir" {
		dir = ts.MkAbs(args[1])
	}
	server, err := natsserver.Start(context.Background(), natsserver.Config{Dir: dir, Addr: "127.0.0.1:0"}, quiet())
	ts.Check(err)
	ts.Defer(server.Stop)
	ts.Setenv("WEIR_SERVER", server.URL())
	if len(args) == 1 && args[0] == "-empty" {
		return
	}
	provision(ts)
}

// startSecure starts a nats-server with TLS, Weir's streams and the users of a
// file: secure FILE. $WEIR_HOST is where it is, $WEIR_TLS_CA its CA.
func startSecure(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs("secure")
	ts.Check(os.Mkdir(dir, 0o700))
	server, err := bustest.StartSecure(dir, ts.ReadFile(args[0])+"{user: admin, password: p}", false)
	ts.Check(err)
	ts.Defer(server.Stop)
	_, port, _ := strings.Cut(server.Host, ":")
	ts.Setenv("WEIR_HOST", "localhost:"+port)
	ts.Setenv("WEIR_TLS_CA", server.CA)
	ts.Setenv("WEIR_SERVER", "tls://admin:p@localhost:"+port)
	provision(ts)
}

func provision(ts *testscript.TestScript) {
	withBus(ts, func(ctx context.Context, c *bus.Conn) {
		ts.Check(c.Provision(ctx, bus.Layout{RawBytes: 8 << 20, EnrichedBytes: 8 << 20, LatencyBytes: 8 << 20, RollupBytes: 8 << 20, HistoryBytes: 8 << 20}))
	})
}

// createStream creates a stream as somebody else would: stream NAME SUBJECT.
func createStream(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("WEIR_SERVER"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: args[0], Subjects: []string{args[1]}})
	ts.Check(err)
}

// listen takes a port until the script ends and puts its address into $NAME.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// serveAPI answers weir.api.* until the script ends, and says where its page is:
// api [PAGE].
func serveAPI(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithCancel(context.Background())
	c, err := bus.Connect(ctx, bus.Options{URL: ts.Getenv("WEIR_SERVER"), Name: "api"}, quiet())
	ts.Check(err)
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx, c, strings.Join(args, " ")) }()
	ts.Defer(func() {
		cancel()
		err := <-ended
		c.Close()
		ts.Check(err)
	})
}

// storeRecord stores a record of the alerter: record JSON.
func storeRecord(ts *testscript.TestScript, _ bool, args []string) {
	withBus(ts, func(ctx context.Context, c *bus.Conn) {
		lane, err := c.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
		ts.Check(err)
		_, err = lane.Publish(ctx, []byte(strings.Join(args, " ")), 1, 0, 0)
		ts.Check(err)
	})
}

// publish publishes as no part of Weir does: publish SUBJECT DATA.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	withBus(ts, func(_ context.Context, c *bus.Conn) { ts.Check(c.Tell(args[0], []byte(strings.Join(args[1:], " ")))) })
}

// request asks a NATS service: request SUBJECT [BODY]. An error of the service
// is one of the command.
func request(ts *testscript.TestScript, neg bool, args []string) {
	withBus(ts, func(ctx context.Context, c *bus.Conn) {
		var answer bus.Answer
		for { // until it is there
			var err error
			answer, err = c.Ask(ctx, args[0], []byte(strings.Join(args[1:], " ")))
			if err == nil {
				break
			}
			if ctx.Err() != nil || !errors.Is(err, nats.ErrNoResponders) {
				ts.Fatalf("%v", err)
			}
		}
		fmt.Fprintf(ts.Stdout(), "%s\n", answer.Data)
		if answer.Code != "" {
			fmt.Fprintf(ts.Stderr(), "%s %s\n", answer.Code, answer.Description)
		}
		if neg != (answer.Code != "") {
			ts.Fatalf("answered %s %s %s", answer.Code, answer.Description, answer.Data)
		}
	})
}

func withBus(ts *testscript.TestScript, do func(context.Context, *bus.Conn)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := bus.Connect(ctx, bus.Options{URL: ts.Getenv("WEIR_SERVER"), TLSCA: ts.Getenv("WEIR_TLS_CA"), Name: "test"}, quiet())
	ts.Check(err)
	defer c.Close()
	do(ctx, c)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fill writes a file of requests into all three streams, as agent, enricher
// and aggregator would: fill FILE [WATERMARK AGO].
func fill(ts *testscript.TestScript, _ bool, args []string) {
	f := newFixture(time.Now())
	if len(args) == 2 {
		ago, err := time.ParseDuration(args[1])
		ts.Check(err)
		f.watermark = f.now.Add(-ago)
	}
	for i, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if err := f.line(line); err != nil {
			ts.Fatalf("%s:%d: %v", args[0], i+1, err)
		}
	}
	withBus(ts, func(ctx context.Context, c *bus.Conn) { ts.Check(f.publish(ctx, c)) })
}
