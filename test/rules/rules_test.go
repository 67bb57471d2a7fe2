package rules_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirstream/weir/alert/slo"
	"github.com/weirstream/weir/test/chart"
)

const alert = "../../alert"

// A real Prometheus takes all rules, and they do what their unit tests say.
func TestPromtool(t *testing.T) {
	promtool := chart.Program(t, "promtool")
	for _, name := range []string{"rules/weir", "testdata/slo", "testdata/sloth", "testdata/pyrra", "testdata/forms"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{
				{"check", "rules", "--lint=all", "--lint-fatal", name + ".yaml"},
				{"test", "rules", name + "_test.yaml"},
			} {
				cmd := exec.Command(promtool, args...)
				cmd.Dir = alert
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("promtool %v: %v\n%s", args, err, out)
				}
			}
		})
	}
}

// What promtool tries is what `weir slo generate` prints.
func TestGenerated(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(alert, "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	groups, _, err := slo.Compile(slo.File{Name: "slo.openslo.yaml", Data: read("slo.openslo.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := slo.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, read("slo.yaml")) {
		t.Errorf("alert/testdata/slo.yaml is another one: weir slo generate alert/testdata/slo.openslo.yaml >alert/testdata/slo.yaml")
	}
}
