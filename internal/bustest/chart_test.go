package bustest_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/chart"
)

var components = []string{"agent", "enricher", "aggregator", "alerter", "provisioner", "subscriber", "events", "operator", "gateway"}

// installed is the NATS cluster of the chart, on loopback: its configuration,
// certificates and users are those that the chart was rendered to.
type installed struct {
	objects chart.Objects
	dir     string
	clients []string // host:port of the servers
	ca      string
}

func startInstalled(t *testing.T) *installed {
	t.Helper()
	i := &installed{objects: chart.Render(t), dir: t.TempDir()}
	i.ca = filepath.Join(i.dir, "ca.crt")
	for _, file := range []string{"ca.crt", "tls.crt", "tls.key"} {
		i.write(t, file, i.objects.Secret(t, "weir-nats-tls", file))
	}
	for _, c := range components { // as the StatefulSet does
		t.Setenv(strings.ToUpper(c)+"_PASSWORD", i.objects.Secret(t, "weir-nats-"+c, "password"))
	}
	routes := []string{bustest.FreeAddr(t), bustest.FreeAddr(t), bustest.FreeAddr(t)}
	var servers []*server.Server
	for n := range routes {
		servers = append(servers, i.start(t, n, routes))
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	for _, s := range servers {
		if !s.ReadyForConnections(bustest.Timeout) {
			t.Fatal("nats-server is not ready")
		}
		i.clients = append(i.clients, s.Addr().String())
		bustest.Eventually(t, func() bool { return s.NumRoutes() > 0 && s.JetStreamIsCurrent() }, "servers don't find each other")
	}
	return i
}

// start runs one server on the chart's configuration, with nothing changed but
// folders and addresses.
func (i *installed) start(t *testing.T, n int, routes []string) *server.Server {
	t.Helper()
	name := fmt.Sprintf("weir-nats-%d", n)
	conf, _ := i.objects["ConfigMap/weir-nats"].At("data", "nats.conf").(string)
	replace := func(old, by string, times int) {
		t.Helper()
		if strings.Count(conf, old) != times {
			t.Fatalf("%q is not %d times in the configuration:\n%s", old, times, conf)
		}
		conf = strings.ReplaceAll(conf, old, by)
	}
	replace("/etc/nats-tls/", i.dir+"/", 6)
	replace(`"/data"`, `"`+filepath.Join(i.dir, name)+`"`, 1)
	replace("/var/run/nats/nats.pid", filepath.Join(i.dir, name+".pid"), 1)
	replace("port: 4222", "port: -1", 1)
	replace(`"0.0.0.0"`, `"127.0.0.1"`, 1)
	replace(`http: "0.0.0.0:8222"`, "", 1)
	replace("port: 6222", "listen: "+routes[n], 1)
	conf = regexp.MustCompile(`weir-nats-([0-2])\.weir-nats-headless\.weir\.svc:6222`).ReplaceAllStringFunc(conf, func(host string) string {
		return routes[host[len("weir-nats-")]-'0']
	})
	t.Setenv("POD_NAME", name)
	opts, err := server.ProcessConfigFile(i.write(t, name+".conf", conf))
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // returns at once
	return s
}

func (i *installed) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// url is what the component's Secret says, at loopback.
func (i *installed) url(t *testing.T, component string) string {
	t.Helper()
	u, err := url.Parse(i.objects.Secret(t, "weir-nats-"+component, "server"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "weir-nats.weir.svc:4222"; u.Host != want {
		t.Errorf("the Secret of %s names %s, want %s", component, u.Host, want)
	}
	var all []string
	for _, host := range i.clients {
		u.Host = host
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// connect connects as a component does.
func (i *installed) connect(t *testing.T, component string) *bus.Conn {
	t.Helper()
	var c *bus.Conn
	var err error
	bustest.Eventually(t, func() bool {
		c, err = bus.Connect(t.Context(), bus.Options{URL: i.url(t, component), TLSCA: i.ca, Name: component}, bustest.Logger(t))
		return err == nil
	}, "connect as "+component+": %v", &err)
	t.Cleanup(c.Close)
	return c
}

// provision makes the streams as the Job does: again until all servers are there.
func (i *installed) provision(t *testing.T, c *bus.Conn, layout bus.Layout) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(bustest.Timeout); ; time.Sleep(100 * time.Millisecond) {
		if err = c.Provision(t.Context(), layout); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
