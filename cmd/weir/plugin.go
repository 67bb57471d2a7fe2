package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/bus"
)

const (
	pluginName = "kubectl-weir" // what kubectl runs for `kubectl weir`

	// How the objects of an install are found.
	natsLabels   = "app.kubernetes.io/name=weir,app.kubernetes.io/component=nats"
	secretLabels = "app.kubernetes.io/name=weir,weir.io/credentials="
	operator     = "operator" // the user of NATS who may silence alerts
	natsPort     = 4222
)

// kubeFlags say which cluster is meant, and where in it Weir is.
type kubeFlags struct {
	kubeconfig, context, namespace string
	user                           string // of NATS; "" is the one who may read events
}

// args are those for kubectl.
func (k kubeFlags) args(command ...string) []string {
	if k.kubeconfig != "" {
		command = append(command, "--kubeconfig="+k.kubeconfig)
	}
	if k.context != "" {
		command = append(command, "--context="+k.context)
	}
	return command
}

// makePlugin turns the command into `kubectl weir`.
func (a *app) makePlugin(root *cobra.Command) {
	root.Use = pluginName
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl weir"}
	root.Short = "The latency of every HTTP request of a cluster"
	root.Long = `Shows what Weir measures in a cluster. It reaches the cluster's NATS by itself,
through ` + "`kubectl port-forward`" + `, as the user of a Secret of the install: who may read
that Secret and forward ports in Weir's namespace can use it.`
	root.Example = `  kubectl weir latency -n shop             # who is slow, and is it working or waiting
  kubectl weir observe deploy/cart -n shop --follow
  kubectl weir map -A --context production`
	flags := root.PersistentFlags()
	flags.StringVar(&a.kube.kubeconfig, "kubeconfig", "", "`file` that says where the cluster is (default as kubectl)")
	flags.StringVar(&a.kube.context, "context", "", "`name` of a context of the kubeconfig")
	flags.StringVar(&a.kube.namespace, "weir-namespace", "", "`namespace` that Weir is installed in (default found by its labels)")
}

// lookupEnv reads the environment; but what it says of a NATS elsewhere isn't
// meant for `kubectl weir`.
func (a *app) lookupEnv(name string) (string, bool) {
	if a.plugin {
		switch name {
		case "WEIR_SERVER", "WEIR_CREDS", "WEIR_CONTEXT", "WEIR_INBOX_PREFIX", "WEIR_TLS_CA", "WEIR_TLS_CERT", "WEIR_TLS_KEY":
			return "", false
		}
	}
	return os.LookupEnv(name)
}

// close ends what a command has started.
func (a *app) close() {
	if a.forward != nil {
		a.forward.stop()
	}
}

// clusterOptions finds the cluster's NATS and makes a way to it.
func (a *app) clusterOptions(ctx context.Context) (bus.Options, error) {
	var o bus.Options
	service, err := a.kube.findService(ctx)
	if err != nil {
		return o, err
	}
	access, err := a.kube.findAccess(ctx, service.Metadata.Namespace)
	if err != nil {
		return o, err
	}
	o = bus.Options{Name: pluginName, URL: access.server, TLSCAData: access.ca}
	if service.Metadata.Name == "" {
		return o, nil // NATS is outside the cluster
	}
	if a.forward == nil {
		if a.forward, err = startForward(a.kube, service); err != nil {
			return o, err
		}
	}
	return through(o, a.forward.address)
}

// through makes a connection to the server go through another address.
func through(o bus.Options, address string) (bus.Options, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return o, fmt.Errorf("the Secret of Weir's NATS holds no address such as tls://user:password@weir-nats.weir.svc:%d", natsPort)
	}
	if u.Scheme == "tls" || len(o.TLSCAData) > 0 {
		o.TLSServerName = u.Hostname() // what the certificate is for
	}
	u.Host = address
	o.URL, o.FixedURL = u.String(), true
	return o, nil
}

// object is what is read of Services and Secrets.
type object struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Ports []struct {
			Name string
			Port int
		}
	}
	Data map[string][]byte
}

// findService finds the Service of Weir's NATS. Without one in a namespace that
// the user named, NATS is outside the cluster, and the name is "".
func (k kubeFlags) findService(ctx context.Context) (object, error) {
	where := "--all-namespaces"
	if k.namespace != "" {
		where = "--namespace=" + k.namespace
	}
	found, err := k.get(ctx, "services", natsLabels, where)
	switch {
	case err != nil && k.namespace == "" && strings.Contains(err.Error(), "is forbidden"):
		return object{}, fmt.Errorf("find Weir in the cluster: %w; --weir-namespace looks in one namespace only", err)
	case err != nil && k.namespace == "":
		return object{}, fmt.Errorf("find Weir in the cluster: %w", err)
	case err != nil:
		return object{}, fmt.Errorf("find Weir in namespace %s: %w", k.namespace, err)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var places []string
		for _, s := range found {
			places = append(places, s.Metadata.Namespace)
		}
		slices.Sort(places)
		return object{}, fmt.Errorf("find Weir in the cluster: it is installed more than once, in %s: choose one with --weir-namespace", strings.Join(slices.Compact(places), ", "))
	case k.namespace == "":
		return object{}, errors.New("no Weir was found in the cluster: install it with Helm; if its NATS is outside the cluster, name its namespace with --weir-namespace")
	}
	var outside object
	outside.Metadata.Namespace = k.namespace
	return outside, nil
}

// access is how to sign in.
type access struct {
	server string
	ca     []byte
}

// findAccess reads the Secret of the user.
func (k kubeFlags) findAccess(ctx context.Context, namespace string) (access, error) {
	labels := secretLabels + cmp.Or(k.user, "events")
	found, err := k.get(ctx, "secrets", labels, "--namespace="+namespace)
	if err != nil {
		return access{}, fmt.Errorf("read the Secret of Weir's NATS in namespace %s: %w", namespace, err)
	}
	if len(found) == 0 {
		return access{}, fmt.Errorf("no Weir was found in namespace %s: it has no Secret labelled %s", namespace, labels)
	}
	data := found[0].Data
	return access{strings.TrimSpace(string(data["server"])), data["ca.crt"]}, nil
}

// get lists objects.
func (k kubeFlags) get(ctx context.Context, kind, labels, where string) ([]object, error) {
	out, err := k.run(ctx, "get", kind, where, "--selector="+labels, "--output=json", "--request-timeout=15s")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []object }
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("read the answer of kubectl: %w", err)
	}
	return list.Items, nil
}

// run runs kubectl and returns what it prints.
func (k kubeFlags) run(ctx context.Context, command ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "kubectl", k.args(command...)...).Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return out, kubectlError(err)
}

// kubectlError is what kubectl said, in one line.
func kubectlError(err error) error {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("kubectl is not on the PATH: install it")
	case errors.As(err, &exit):
		if said := lastLine(exit.Stderr); said != "" {
			return errors.New("kubectl: " + said)
		}
	}
	return err
}

// lastLine is the last thing that kubectl said; what comes before is of its retries.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := strings.TrimPrefix(lines[len(lines)-1], "error: ")
	return strings.TrimPrefix(line, "Error from server (Forbidden): ")
}
