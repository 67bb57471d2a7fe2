package bench

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// row is one figure against its target.
type row struct {
	what   string
	target string
	figure string
	ratio  float64 // 1 at the target, less is better; 0: there is none
}

// table is a section of targets.
type table struct {
	name string
	rows []row
}

// atMost adds a figure that should not exceed the target.
func (t *table) atMost(what string, figure, target float64, format string) {
	t.add(what, "≤ "+fmt.Sprintf(format, target), fmt.Sprintf(format, figure), figure/target)
}

// atLeast adds a figure that should reach the target.
func (t *table) atLeast(what string, figure, target float64, format string) {
	t.add(what, "≥ "+fmt.Sprintf(format, target), fmt.Sprintf(format, figure), target/figure)
}

func (t *table) add(what, target, figure string, ratio float64) {
	t.rows = append(t.rows, row{what, target, figure, ratio})
}

// markdown is the table, one line a row.
func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| what | target | figure | ratio |\n|---|---|---|---|\n", t.name)
	for _, r := range t.rows {
		ratio := "–"
		if r.ratio > 0 {
			ratio = fmt.Sprintf("%.2f", r.ratio)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.what, r.target, r.figure, ratio)
	}
	return b.String()
}

// machineLine says what the figures were measured on.
func machineLine() string {
	read := func(path, pattern string) string {
		text, _ := os.ReadFile(path)
		match := regexp.MustCompile(pattern).FindSubmatch(text)
		if match == nil {
			return ""
		}
		return string(match[1])
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, %s",
		cmp.Or(read("/proc/cpuinfo", `model name\s*: (.*)`), runtime.GOARCH), runtime.NumCPU(),
		read("/proc/sys/kernel/osrelease", `(\S+)`), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}

// replaceBetween puts text between two marker lines of a file.
func replaceBetween(path, from, to, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(old), from)
	_, rest, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		return fmt.Errorf("write figures: no markers %q and %q in %s", from, to, path)
	}
	return os.WriteFile(path, []byte(head+from+"\n"+text+to+rest), 0o644)
}
