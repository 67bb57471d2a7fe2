package service

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Settings fills the flags that were not given on the command line: from
// WEIR_… in the environment, then from a YAML file of flag names ("" for none).
// Unknown keys and bad values are errors that say where.
func Settings(flags *pflag.FlagSet, file string, lookup func(string) (string, bool)) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || !settable(f) {
			return
		}
		name := "WEIR_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := lookup(name); ok && value != "" {
			if err := flags.Set(f.Name, value); err != nil {
				failed = fmt.Errorf("%s in the environment: %w", name, err)
			}
		}
	})
	if failed != nil || file == "" {
		return failed
	}
	return fromFile(flags, file)
}

// settable leaves out what makes no sense outside a command line.
func settable(f *pflag.Flag) bool { return f.Name != "help" && f.Name != "config" }

func fromFile(flags *pflag.FlagSet, file string) error {
	r, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer r.Close()
	var document yaml.Node
	if err := yaml.NewDecoder(r).Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty file sets nothing
		}
		return fmt.Errorf("read configuration %s: %w", file, err)
	}
	keys := document.Content[0]
	if keys.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: not a map of settings, such as data-dir: /var/lib/weir", file, keys.Line)
	}
	for i := 0; i < len(keys.Content); i += 2 {
		if err := fromKey(flags, keys.Content[i], keys.Content[i+1]); err != nil {
			return fmt.Errorf("%s:%d: %w", file, keys.Content[i].Line, err)
		}
	}
	return nil
}

func fromKey(flags *pflag.FlagSet, key, value *yaml.Node) error {
	f := flags.Lookup(key.Value)
	if f == nil || !settable(f) {
		return fmt.Errorf("unknown key %q: keys are the names of flags, such as data-dir", key.Value)
	}
	if f.Changed {
		return nil // the command line or the environment has said it
	}
	values := []string{value.Value}
	if value.Kind == yaml.SequenceNode {
		values = nil
		for _, v := range value.Content {
			values = append(values, v.Value)
		}
	} else if value.Kind != yaml.ScalarNode {
		return fmt.Errorf("key %q: not a value or a list of values", key.Value)
	}
	for _, v := range values {
		if err := flags.Set(f.Name, v); err != nil {
			return fmt.Errorf("key %q: %w", key.Value, err)
		}
	}
	return nil
}
