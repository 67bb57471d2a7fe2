package kube

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// API is one that runs.
type API struct {
	URL        string
	Dir        string                // its files, removed by Stop
	Kubeconfig string                // of an administrator
	Client     *kubernetes.Clientset // an administrator's, without limits

	ca       *authority
	etcdURL  string
	bin      string
	port     int
	server   *process
	managers *process
	etcd     *process
}

const (
	startWithin = time.Minute
	// controllers that tests have a use for. Others would mind that there are
	// no kubelets.
	controllers = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller," +
		"job-controller,cronjob-controller,endpointslice-controller,garbage-collector-controller,namespace-controller"
	// Services is the range of IPv4 cluster addresses; IPv6 ones are in fd00:96::/112.
	Services = "10.96.0.0/16"
)

// Shared is an API that all tests of a package use, started by the first.
type Shared struct {
	once sync.Once
	api  *API
	err  error
}

// API starts it if it isn't yet. The test is skipped if it can't be for want
// of binaries.
func (s *Shared) API(t testing.TB) *API {
	t.Helper()
	need(t)
	s.once.Do(func() { s.api, s.err = start() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.api
}

// Stop ends it, if it was started: TestMain calls it last.
func (s *Shared) Stop() {
	if s.api != nil {
		s.api.Stop()
	}
}

// Start starts one for a test alone, and ends it with the test.
func Start(t testing.TB) *API {
	t.Helper()
	need(t)
	a, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	return a
}

// binaries is the folder that test/cluster builds into.
func binaries() string {
	cache := os.Getenv("WEIR_CLUSTER_CACHE")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache", "weir", "cluster")
	}
	return filepath.Join(cache, "bin")
}

func need(t testing.TB) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("runs a Kubernetes API for minutes; set WEIR_REQUIRE=all")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if _, err := os.Stat(filepath.Join(binaries(), name)); err != nil {
			t.Fatalf("%v: build it with test/cluster/build", err)
		}
	}
}

func start() (*API, error) {
	dir, err := os.MkdirTemp("", "weir-kube-")
	if err != nil {
		return nil, err
	}
	a := &API{Dir: dir, bin: binaries()}
	if err := a.start(); err != nil {
		a.Stop()
		return nil, fmt.Errorf("start a Kubernetes API: %w", err)
	}
	return a, nil
}

func (a *API) start() error {
	var err error
	if a.ca, err = newAuthority(); err != nil {
		return err
	}
	if err := a.ca.write(a.Dir); err != nil {
		return err
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	a.etcdURL, a.port = loopback("http", ports[0]), ports[1]
	a.URL = loopback("https", a.port)
	peer := loopback("http", ports[2])
	a.etcd, err = a.run("etcd", "--data-dir", filepath.Join(a.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+a.etcdURL, "--advertise-client-urls="+a.etcdURL,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}
	if a.Kubeconfig, err = a.User("admin", "system:masters"); err != nil {
		return err
	}
	config, err := a.Config(a.Kubeconfig)
	if err != nil {
		return err
	}
	if a.Client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := a.StartServer(); err != nil {
		return err
	}
	a.managers, err = a.run("kube-controller-manager", "--kubeconfig="+a.Kubeconfig,
		"--authentication-kubeconfig="+a.Kubeconfig, "--authorization-kubeconfig="+a.Kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(ports[3]), "--leader-elect=false",
		"--kube-api-qps=500", "--kube-api-burst=1000", "--controllers="+controllers,
		"--concurrent-endpoint-syncs=10", "--endpointslice-updates-batch-period=0s")
	return err
}

// StartServer starts the API server, which answers when it returns. Start does
// this; it is for after [API.StopServer].
func (a *API) StartServer() error {
	file := func(name string) string { return filepath.Join(a.Dir, name) }
	var err error
	a.server, err = a.run("kube-apiserver", "--etcd-servers="+a.etcdURL,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--secure-port="+strconv.Itoa(a.port), "--tls-cert-file="+file("server.crt"), "--tls-private-key-file="+file("server.key"),
		"--client-ca-file="+file("ca.crt"), "--authorization-mode=RBAC", "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("tokens.key"),
		"--service-account-signing-key-file="+file("tokens.key"), "--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range="+Services+",fd00:96::/112")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	for {
		text, err := a.Client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil && string(text) == "ok" {
			return nil
		}
		select {
		case <-a.server.done:
			return fmt.Errorf("kube-apiserver ended: %w\n%s", a.server.end, a.server.tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for kube-apiserver: %w: %w\n%s", ctx.Err(), err, a.server.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// StopServer kills the API server: from now on nobody answers at URL.
func (a *API) StopServer() { a.server.kill() }

// Stop ends everything and removes its files.
func (a *API) Stop() {
	for _, p := range []*process{a.managers, a.server, a.etcd} {
		p.kill()
	}
	os.RemoveAll(a.Dir)
}

// User makes a certificate for a user and returns a kubeconfig with it.
func (a *API) User(name string, groups ...string) (kubeconfig string, err error) {
	cert, key, err := a.ca.issue(template(name, groups...))
	if err != nil {
		return "", err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: a.URL, CertificateAuthorityData: a.ca.pem}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: name}
	c.CurrentContext = "test"
	kubeconfig = filepath.Join(a.Dir, name+".kubeconfig")
	return kubeconfig, clientcmd.WriteToFile(*c, kubeconfig)
}

// Config reads a kubeconfig, for a client without limits of its own.
func (a *API) Config(kubeconfig string) (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	c.QPS = -1
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = c.ContentType + ",application/json"
	return c, nil
}

func loopback(scheme string, port int) string {
	return scheme + "://127.0.0.1:" + strconv.Itoa(port)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n { // all are held until the last is found, so that they differ
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// process is one of the API's.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	end  error         // how, then
}

func (a *API) run(name string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(a.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(a.bin, name), args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done) // kill waits for it
		p.end = p.cmd.Wait()
	}()
	return p, nil
}

// kill ends it and waits. Nothing happens if it has ended, or never began.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// tail is the end of what it has said.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(len(lines)-10, 0):], "\n")
}
