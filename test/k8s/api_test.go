//go:build installs

package k8s

import (
	"context"
	"encoding/json"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/proto"
)

// object is what the tests read of pods, replica sets, services and nodes.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace, UID string
		Labels               map[string]string
		CreationTimestamp    time.Time
		OwnerReferences      []struct{ Kind, Name, UID string }
	}
	Spec struct {
		NodeName    string
		HostNetwork bool
		ClusterIP   string
		Containers  []struct{ Name string }
	}
	Status struct {
		PodIP, HostIP, Phase string
		Conditions           []struct {
			Type, Status       string
			LastTransitionTime time.Time
		}
		ContainerStatuses []struct {
			ContainerID  string
			RestartCount int
		}
	}
}

func (c *cluster) get(t *testing.T, args ...string) []object {
	t.Helper()
	var list struct{ Items []object }
	out := c.kubectl(t, "", append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("decode objects: %v", err)
	}
	return list.Items
}

// pod is the one of a workload of the tests, on a node if there are several.
func (c *cluster) pod(t *testing.T, namespace, app, node string) object {
	t.Helper()
	for _, p := range c.get(t, "pods", "-n", namespace, "-l", "app="+app) {
		if node == "" || p.Spec.NodeName == node {
			return p
		}
	}
	t.Fatalf("no pod of %s/%s on node %q", namespace, app, node)
	return object{}
}

// history watches pods and replica sets, and so knows those that are gone too.
type history struct {
	began  time.Time
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex
	byUID map[string]object
	gone  map[string]time.Time // when the API told
}

func newHistory(c *cluster) *history {
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{began: time.Now(), cancel: cancel, byUID: map[string]object{}, gone: map[string]time.Time{}}
	for _, kind := range []string{"pods", "replicasets"} {
		h.wait.Add(1)
		go func() {
			defer h.wait.Done()
			for ctx.Err() == nil { // again when the API server was away
				_ = h.watch(ctx, c.command("kubectl", "get", kind, "-A", "--watch", "--output-watch-events", "-o", "json"))
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		}()
	}
	return h
}

func (h *history) stop() {
	h.cancel()
	h.wait.Wait()
}

func (h *history) watch(ctx context.Context, cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	decoder := json.NewDecoder(out)
	for {
		var event struct {
			Type   string
			Object object
		}
		if err := decoder.Decode(&event); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return err
		}
		h.mu.Lock()
		uid := event.Object.Metadata.UID
		if event.Type == "DELETED" {
			h.gone[uid] = time.Now()
		}
		if event.Object.Status.PodIP == "" {
			event.Object.Status.PodIP = h.byUID[uid].Status.PodIP // it had one until it ended
		}
		h.byUID[uid] = event.Object
		h.mu.Unlock()
	}
}

// person is a pod as the API has told of it.
type person struct {
	proto.Endpoint
	uid         string
	hostNetwork bool
	made, gone  time.Time // gone is zero if it isn't
}

// directory is who was who, as the API says.
type directory struct {
	byUID     map[string]*person
	byAddress map[string][]*person // of pods with a network of their own, over time
	byHost    map[string][]*person // of pods with their node's network
	services  map[string]object    // by ClusterIP
	nodes     map[string]string    // names by address
}

func (c *cluster) directory(t *testing.T) *directory {
	t.Helper()
	zones := map[string]string{}
	d := &directory{map[string]*person{}, map[string][]*person{}, map[string][]*person{}, map[string]object{}, map[string]string{}}
	for _, o := range c.get(t, "nodes") {
		zones[o.Metadata.Name] = o.Metadata.Labels["topology.kubernetes.io/zone"]
	}
	for _, o := range c.get(t, "services", "-A") {
		d.services[o.Spec.ClusterIP] = o
	}
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	for uid, o := range c.history.byUID {
		if o.Kind != "Pod" || o.Spec.NodeName == "" {
			continue
		}
		p := &person{uid: uid, hostNetwork: o.Spec.HostNetwork, made: o.Metadata.CreationTimestamp, gone: c.history.gone[uid]}
		p.Endpoint = proto.Endpoint{
			Namespace: o.Metadata.Namespace, Pod: o.Metadata.Name, Workload: o.Metadata.Name, Kind: "Pod",
			Node: o.Spec.NodeName, Zone: zones[o.Spec.NodeName], Container: o.Spec.Containers[0].Name,
		}
		for owner := o.Metadata.OwnerReferences; len(owner) > 0; owner = c.history.byUID[owner[0].UID].Metadata.OwnerReferences {
			p.Workload, p.Kind = owner[0].Name, owner[0].Kind
		}
		d.byUID[uid] = p
		d.nodes[o.Status.HostIP] = p.Node
		if p.hostNetwork {
			d.byHost[p.Node] = append(d.byHost[p.Node], p)
		} else if o.Status.PodIP != "" {
			d.byAddress[o.Status.PodIP] = append(d.byAddress[o.Status.PodIP], p)
			// To pods, their node speaks from the first address of their network.
			network := netip.PrefixFrom(netip.MustParseAddr(o.Status.PodIP), 24).Masked()
			d.nodes[network.Addr().Next().String()] = p.Node
		}
	}
	return d
}

// at is the pod that had an address at a time, if just one may have had it.
func (d *directory) at(address string, ns int64) *person {
	var found *person
	for _, p := range d.byAddress[address] {
		t := time.Unix(0, ns)
		if t.Before(p.made) || !p.gone.IsZero() && t.After(p.gone) {
			continue
		}
		if found != nil {
			return nil
		}
		found = p
	}
	return found
}
