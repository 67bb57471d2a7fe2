package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

// kindOf reads the prefix of deploy/NAME, as kubectl has it, or one of Weir's
// own kinds on a plain host. It is "" for anything else.
func kindOf(prefix string) string {
	switch strings.ToLower(prefix) {
	case "deploy", "deployment", "deployments":
		return "Deployment"
	case "sts", "statefulset", "statefulsets":
		return "StatefulSet"
	case "ds", "daemonset", "daemonsets":
		return "DaemonSet"
	case "job", "jobs":
		return "Job"
	case "cj", "cronjob", "cronjobs":
		return "CronJob"
	case "rs", "replicaset", "replicasets":
		return "ReplicaSet"
	case "po", "pod", "pods":
		return query.KindPod
	case "svc", "service", "services":
		return query.KindService
	case "unit", "container", "process", "address", "domain":
		return strings.ToLower(prefix)
	}
	return ""
}

// selectFlags are -n, -A and --side.
type selectFlags struct {
	namespace string
	all       bool
	side      string
}

func (s *selectFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.namespace, "namespace", "n", "", "only this namespace; a plain host's is host (default all)")
	cmd.Flags().BoolVarP(&s.all, "all-namespaces", "A", false, "all namespaces, also where -n is set in the environment")
	cmd.Flags().StringVar(&s.side, "side", "", "only as seen by the server or by the client")
}

// workloads reads the flags and the argument where latencies are asked for,
// which are kept by workload.
func (s *selectFlags) workloads(args []string) (query.Selection, error) {
	selected, err := s.selection(args)
	if err == nil && selected.Kind == query.KindService {
		err = usagef("latencies are kept by workload, not by Service: `weir observe %s` shows its requests", args[0])
	}
	return selected, err
}

// selection reads the flags and the argument, WORKLOAD or KIND/WORKLOAD.
func (s *selectFlags) selection(args []string) (query.Selection, error) {
	selected := query.Selection{Namespace: s.namespace, Side: s.side}
	if s.all {
		selected.Namespace = ""
	}
	switch s.side {
	case "", "server", "client":
	default:
		return selected, usagef("--side %q is not server or client", s.side)
	}
	if len(args) == 0 {
		return selected, nil
	}
	selected.Workload = args[0]
	// A process may have a slash in its name, so only known kinds are prefixes.
	if prefix, name, ok := strings.Cut(args[0], "/"); ok {
		if kind := kindOf(prefix); kind != "" {
			selected.Kind, selected.Workload = kind, name
		}
	}
	if selected.Workload == "" {
		return selected, usagef("%q names no workload", args[0])
	}
	return selected, nil
}

// names are how workloads of one output are shown: KIND/NAME, as they can be
// asked for, where two in a namespace have the same name. They map namespace and
// name to the kind, or to "" if there are several.
type names map[[2]string]string

func (n names) learn(w query.Workload) {
	key := [2]string{w.Namespace, w.Name}
	if kind, known := n[key]; known && kind != w.Kind {
		n[key] = ""
	} else if !known {
		n[key] = w.Kind
	}
}

func (n names) of(w query.Workload) string {
	if w.Kind != "" && n[[2]string{w.Namespace, w.Name}] == "" {
		return strings.ToLower(w.Kind) + "/" + w.Name
	}
	return w.Name
}
