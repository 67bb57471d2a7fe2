package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Rig is the built binaries and the machine, held by one test process.
type Rig struct {
	Weir    string // paths
	Agent   string
	Loadgen string
	dir     string
	named   int // settling requests so far
	lock    *os.File
}

// Main is for TestMain: it builds the binaries, runs the tests, cleans up and
// returns the exit code. Without WEIR_REQUIRE=all it builds nothing, since
// every test will skip.
func Main(m *testing.M, r *Rig) int {
	if !required() {
		return m.Run()
	}
	if err := r.open(); err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		return 1
	}
	defer r.close()
	return m.Run()
}

// Need skips the test, with the reason, unless everything is required.
func (r *Rig) Need(t testing.TB) {
	t.Helper()
	if !required() {
		t.Skip("runs weir as root on this machine's traffic for minutes; set WEIR_REQUIRE=all")
	}
	if os.Geteuid() != 0 {
		t.Fatal("WEIR_REQUIRE=all, but not root")
	}
}

func required() bool { return os.Getenv("WEIR_REQUIRE") == "all" }

// open waits for its turn on this machine, then builds.
func (r *Rig) open() error {
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "weir-rig.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	r.lock = lock
	if r.dir, err = os.MkdirTemp("", "weir-rig-"); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	const module = "github.com/weirstream/weir/"
	for path, pkg := range map[*string]string{&r.Weir: "cmd/weir", &r.Agent: "cmd/weir-agent", &r.Loadgen: "test/loadgen"} {
		*path = filepath.Join(r.dir, filepath.Base(pkg))
		build := exec.Command("go", "build", "-o", *path, module+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as they are released
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

func (r *Rig) close() {
	os.RemoveAll(r.dir)
	r.lock.Close()
}
