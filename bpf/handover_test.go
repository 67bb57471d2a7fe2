package bpf

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	//go:embed record.h
	recordText string
	//go:embed weir.bpf.c
	sourceText string
)

// handover has a BPF file system of the test's own, which ends all with the test.
func handover(t *testing.T) Config {
	t.Helper()
	require(t)
	dir := t.TempDir()
	if err := syscall.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return Config{Handover: filepath.Join(dir, "weir")}
}

func load(t *testing.T, cfg Config) (*Capture, *Ring) {
	t.Helper()
	c, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if c.NoHandover != "" {
		t.Fatal(c.NoHandover)
	}
	r, err := c.Ring()
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

func end(t *testing.T, c *Capture, r *Ring) {
	t.Helper()
	if err := errors.Join(r.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// requests counts the segments of a path's requests, at both ends.
func requests(t *testing.T, r *Ring, path string) (n int) {
	t.Helper()
	for _, s := range records(t, r) {
		if strings.Contains(s.data, "GET /"+path) {
			n++
		}
	}
	return n
}

func TestTheNextTakesOver(t *testing.T) {
	cfg := handover(t)
	s := start(t, "127.0.0.1:0")
	get := func(path string) { s.get(t, "http://"+s.addr+"/"+path) }

	c, r := load(t, cfg)
	get("one")
	end(t, c, r) // without reading: as if it was killed
	get("two")
	c, r = load(t, cfg)
	get("three")
	all := records(t, r)
	for _, path := range []string{"one", "two", "three"} {
		n := 0
		for _, s := range all {
			if strings.Contains(s.data, "GET /"+path) {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d requests /%s, want one at each end", n, path)
		}
	}
	if c.Inherited.Records != 0 {
		t.Errorf("%+v", c.Inherited)
	}

	// What another version of the programs wrote can only be counted.
	get("four")
	end(t, c, r)
	old := filepath.Join(cfg.Handover, strings.Replace(filepath.Base(c.pins.dir), fmt.Sprintf("-%d-", layout), "-0-", 1))
	if err := os.Rename(c.pins.dir, old); err != nil {
		t.Fatal(err)
	}
	c, r = load(t, cfg)
	if c.Inherited.Records == 0 {
		t.Error("records of another version were not counted")
	}
	get("five")
	if n := requests(t, r, "five"); n != 2 {
		t.Errorf("%d requests", n)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("programs of another version go on: %v", err)
	}

	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	end(t, c, r)
	if _, err := os.Stat(cfg.Handover); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}

// TestNobodyTakesOver: programs whose ring is full for want of a reader do
// nothing any more, and the next agent begins anew.
func TestNobodyTakesOver(t *testing.T) {
	cfg := handover(t)
	cfg.RingBytes = 16 * os.Getpagesize()
	s := start(t, "127.0.0.1:0")
	c, r := load(t, cfg)
	// Long ago; of a kernel that is younger than that it wraps around.
	if err := c.share(func(s *weirAgents) { s.BeatNs = bootTime() - abandonedNS - 1 }); err != nil {
		t.Fatal(err)
	}
	abandoned := false
	for deadline := time.Now().Add(30 * time.Second); !abandoned && time.Now().Before(deadline); {
		s.get(t, "http://"+s.addr+"/"+strings.Repeat("x", 4000))
		shared, err := c.shared()
		if err != nil {
			t.Fatal(err)
		}
		abandoned = shared.Abandoned != 0
		s.get(t, "http://"+s.addr+"/x")
	}
	if !abandoned {
		t.Fatal("the programs go on")
	}
	records(t, r)
	s.get(t, "http://"+s.addr+"/nobody")
	if n := requests(t, r, "nobody"); n != 0 {
		t.Errorf("%d requests were seen", n)
	}
	end(t, c, r)
	c, r = load(t, cfg)
	s.get(t, "http://"+s.addr+"/somebody")
	if n := requests(t, r, "somebody"); n != 2 || c.Inherited.Records == 0 {
		t.Errorf("%d requests were seen, %d records lost", n, c.Inherited.Records)
	}
	end(t, c, r)
}

// TestLayout fails when what agents leave to each other changes.
func TestLayout(t *testing.T) {
	_, maps, _ := strings.Cut(sourceText, "/* ---- maps ---- */")
	maps, _, ok := strings.Cut(maps, "/* ---- helpers ---- */")
	if !ok {
		t.Fatal("weir.bpf.c has no maps")
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(recordText+maps)))[:16]; sum != layoutSum {
		t.Errorf("records or maps have changed: raise layout, and set layoutSum to %q", sum)
	}
}

func TestHandoverNeedsABPFFileSystem(t *testing.T) {
	require(t)
	c, _ := capture(t, Config{Handover: filepath.Join(t.TempDir(), "weir")})
	if !strings.Contains(c.NoHandover, "is not in a BPF file system") {
		t.Errorf("said %q", c.NoHandover)
	}
}
