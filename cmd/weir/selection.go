package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/query"
)

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
	namespace, workload := s.namespace, ""
	if s.all {
		namespace = ""
	}
	if len(args) > 0 {
		if workload = args[0]; workload == "" {
			return query.Selection{}, usagef("%q names no workload", workload)
		}
	}
	selected, err := query.ParseSelection(namespace, workload, s.side)
	var field *query.FieldError
	if errors.As(err, &field) && field.Field == "workload" {
		return selected, usagef("%s", field.Reason) // it has no flag
	}
	return selected, flagError(err)
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
