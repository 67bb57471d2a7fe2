//go:build installs

package k8s

import (
	"encoding/json"
	"testing"

	"github.com/weirstream/weir/proto"
)

// object is what the tests read of pods, replica sets, jobs, services and nodes.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace, UID string
		Labels               map[string]string
		OwnerReferences      []struct{ Kind, Name, UID string }
	}
	Spec struct {
		NodeName    string
		HostNetwork bool
		ClusterIP   string
		Containers  []struct{ Name string }
	}
	Status struct {
		PodIP string
		Phase string
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

// directory is who is who at one moment, as the API says.
type directory struct {
	byUID     map[string]proto.Endpoint
	byAddress map[string]proto.Endpoint // of pods with a network of their own
	services  map[string]string         // names by ClusterIP
}

func (c *cluster) directory(t *testing.T) directory {
	t.Helper()
	owners, zones := map[string]object{}, map[string]string{}
	for _, o := range c.get(t, "replicasets,jobs", "-A") {
		owners[o.Metadata.UID] = o
	}
	for _, o := range c.get(t, "nodes") {
		zones[o.Metadata.Name] = o.Metadata.Labels["topology.kubernetes.io/zone"]
	}
	d := directory{map[string]proto.Endpoint{}, map[string]proto.Endpoint{}, map[string]string{}}
	for _, o := range c.get(t, "services", "-A") {
		d.services[o.Spec.ClusterIP] = o.Metadata.Name
	}
	for _, o := range c.get(t, "pods", "-A") {
		end := proto.Endpoint{
			Namespace: o.Metadata.Namespace, Pod: o.Metadata.Name, Workload: o.Metadata.Name, Kind: "Pod",
			Node: o.Spec.NodeName, Zone: zones[o.Spec.NodeName], Container: o.Spec.Containers[0].Name,
		}
		for owner := o.Metadata.OwnerReferences; len(owner) > 0; owner = owners[owner[0].UID].Metadata.OwnerReferences {
			end.Workload, end.Kind = owner[0].Name, owner[0].Kind
		}
		d.byUID[o.Metadata.UID] = end
		if !o.Spec.HostNetwork {
			d.byAddress[o.Status.PodIP] = end
		}
	}
	return d
}
