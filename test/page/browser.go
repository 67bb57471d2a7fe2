package page

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Need finds the browser and what drives it, or skips; where everything is
// required it installs the latter, and fails without the former. dir is this
// folder.
func Need(t testing.TB, dir string) {
	t.Helper()
	required := os.Getenv("WEIR_REQUIRE") == "all"
	missing := func(what string) {
		if required {
			t.Fatalf("WEIR_REQUIRE=all, but %s", what)
		}
		t.Skip(what)
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("no " + program)
		}
	}
	chromium := os.Getenv("WEIR_CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		missing("no chromium: " + err.Error())
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/playwright-core")); err == nil {
		return
	}
	if !required {
		t.Skip("no playwright-core: run npm ci in test/page")
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// Node is a script of this folder, dir, about the page at an address.
func Node(ctx context.Context, dir, page string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEIR_PAGE="+page)
	// Told to stop, playwright stops its browser.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}
