package chart

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Objects are what a chart was rendered to, by kind and name.
type Objects map[string]Object

// Object is a Kubernetes object.
type Object map[string]any

// Program finds a program that test/cluster/build makes. Without it the test is
// skipped; if everything is required, it fails.
func Program(t testing.TB, name string) string {
	t.Helper()
	cache := os.Getenv("WEIR_CLUSTER_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "weir", "cluster")
	}
	path := filepath.Join(cache, "bin", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("WEIR_REQUIRE") == "all" {
			t.Fatalf("WEIR_REQUIRE=all, but there is no %s: run test/cluster/build", path)
		}
		t.Skipf("there is no %s: run test/cluster/build", path)
	}
	return path
}

// Folder of the chart.
func Folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "charts", "weir")
}

// Template runs helm template for release weir in namespace weir.
func Template(t testing.TB, args ...string) ([]byte, error) {
	t.Helper()
	return Helm(t, append([]string{"template", "weir", Folder(), "--namespace", "weir"}, args...)...)
}

// Helm runs helm, with nothing of the user's configuration.
func Helm(t testing.TB, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(Program(t, "helm"), args...)
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+dir, "HELM_CACHE_HOME="+dir, "HELM_DATA_HOME="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("helm %s: %w\n%s", args[0], err, stderr.Bytes())
	}
	return out, nil
}

// Render is Template, decoded.
func Render(t testing.TB, args ...string) Objects {
	t.Helper()
	out, err := Template(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	objects := Objects{}
	decoder := yaml.NewDecoder(bytes.NewReader(out))
	for {
		var o map[string]any // and not Object, which inner maps would be too
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		if o == nil {
			continue
		}
		key := fmt.Sprint(o["kind"], "/", Object(o).At("metadata", "name"))
		if objects[key] != nil {
			t.Fatalf("%s is rendered twice", key)
		}
		objects[key] = o
	}
}

// At is what lies at a path of keys (string) and indices (int); nil if nothing.
func (o Object) At(path ...any) any {
	var at any = map[string]any(o)
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := at.(map[string]any)
			at = m[s]
		case int:
			list, _ := at.([]any)
			if s >= len(list) {
				return nil
			}
			at = list[s]
		}
	}
	return at
}

// Secret is the value of a key of a Secret.
func (o Objects) Secret(t testing.TB, name, key string) string {
	t.Helper()
	encoded, ok := o["Secret/"+name].At("data", key).(string)
	value, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil {
		t.Fatalf("Secret %s has no %s: %v", name, key, err)
	}
	return string(value)
}
