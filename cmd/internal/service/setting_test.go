package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func parse(t *testing.T, yaml string, env map[string]string, args ...string) (*pflag.FlagSet, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("data-dir", "/default", "")
	flags.Int("ring-bytes", 1, "")
	flags.StringSlice("leave-out", nil, "")
	flags.String("config", "", "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	file := ""
	if yaml != "" {
		file = filepath.Join(t.TempDir(), "weir.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return flags, Settings(flags, file, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func TestSettingsPrecedence(t *testing.T) {
	env := map[string]string{"WEIR_DATA_DIR": "/env", "WEIR_RING_BYTES": "2"}
	flags, err := parse(t, "data-dir: /file\nring-bytes: 3\nleave-out: [a, b]\n", env, "--data-dir", "/flag")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"data-dir": "/flag", "ring-bytes": "2", "leave-out": "[a,b]"} {
		if got := flags.Lookup(name).Value.String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestSettingsMistakes(t *testing.T) {
	for _, c := range []struct {
		yaml string
		env  map[string]string
		want string
	}{
		{"data-dir: /x\ndata_dir: /x\n", nil, `weir.yaml:2: unknown key "data_dir"`},
		{"\nring-bytes: many\n", nil, `weir.yaml:2: key "ring-bytes": `},
		{"data-dir: {a: b}\n", nil, `weir.yaml:1: key "data-dir": not a value`},
		{"config: x\n", nil, `unknown key "config"`},
		{"- a\n", nil, "weir.yaml:1: not a map"},
		{"a: [", nil, "weir.yaml"},
		{"", map[string]string{"WEIR_RING_BYTES": "x"}, "WEIR_RING_BYTES in the environment"},
	} {
		_, err := parse(t, c.yaml, c.env)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %v: error %v, want %q", c.yaml, c.env, err, c.want)
		}
	}
	if _, err := parse(t, "# nothing\n", nil); err != nil {
		t.Errorf("empty file: %v", err)
	}
}
