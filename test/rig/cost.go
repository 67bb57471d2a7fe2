package rig

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// CPU is the time that the process has run, user and kernel, in its present life.
func (p *Process) CPU() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// BPF is what the kernel's BPF programs have cost so far, while it kept count.
type BPF struct {
	Time    time.Duration
	Runs    uint64
	packets BPFRuns // of them, of the programs that see packets
}

// BPFRuns is how often and how long programs ran.
type BPFRuns struct {
	Time time.Duration
	Runs uint64
}

// Since is the difference to an earlier reading.
func (b BPF) Since(before BPF) BPF {
	return BPF{b.Time - before.Time, b.Runs - before.Runs,
		BPFRuns{b.packets.Time - before.packets.Time, b.packets.Runs - before.packets.Runs}}
}

// PerPacket is the mean time of a program that sees packets.
func (b BPF) PerPacket() time.Duration {
	if b.packets.Runs == 0 {
		return 0
	}
	return b.packets.Time / time.Duration(b.packets.Runs)
}

// EnableBPFStats makes the kernel keep the time of programs until it's closed.
func EnableBPFStats(t testing.TB) (disable func()) {
	t.Helper()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatalf("enable BPF statistics: %v", err)
	}
	return func() { stats.Close() }
}

// ReadBPF sums over all programs that are loaded on this machine.
func ReadBPF(t testing.TB) BPF {
	t.Helper()
	var sum BPF
	eachProgram(t, func(p *ebpf.Program) {
		stats, err := p.Stats()
		if err != nil {
			t.Fatalf("read BPF statistics: %v", err)
		}
		sum.Time += stats.Runtime
		sum.Runs += stats.RunCount
		if p.Type() == ebpf.CGroupSKB {
			sum.packets.Time += stats.Runtime
			sum.packets.Runs += stats.RunCount
		}
	})
	return sum
}

// AttachNothing attaches a program to every packet that returns at once: what
// the kernel says it takes is the cost of keeping the time. The result reads it.
func AttachNothing(t testing.TB, cgroup string) (mean func() time.Duration) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "nothing", Type: ebpf.CGroupSKB, License: "GPL",
		AttachType:   ebpf.AttachCGroupInetIngress,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}})
	if err != nil {
		t.Fatalf("load an empty program: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	attached, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: ebpf.AttachCGroupInetIngress, Program: program})
	if err != nil {
		t.Fatalf("attach an empty program: %v", err)
	}
	t.Cleanup(func() { attached.Close() })
	return func() time.Duration {
		stats, err := program.Stats()
		if err != nil || stats.RunCount == 0 {
			t.Fatalf("read statistics of an empty program: %+v, %v", stats, err)
		}
		return stats.Runtime / time.Duration(stats.RunCount)
	}
}

// CGroup2 is where the version 2 hierarchy is mounted.
func CGroup2(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Fatal("no cgroup2 mount")
	return ""
}

// SystemCallLinks is how many BPF programs are attached where they can run on
// system calls.
func SystemCallLinks(t testing.TB) (n int) {
	t.Helper()
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			continue // gone meanwhile
		}
		switch info.Type {
		case link.PerfEventType, link.KprobeMultiType:
			n++
		case link.RawTracepointType:
			if raw := info.RawTracepoint(); raw != nil && strings.HasPrefix(raw.Name, "sys_") {
				n++
			}
		}
	}
	if err := it.Err(); err != nil {
		t.Fatalf("list BPF links: %v", err)
	}
	return n
}

// eachProgram visits every program that is loaded on this machine.
func eachProgram(t testing.TB, visit func(*ebpf.Program)) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatalf("list BPF programs: %v", err)
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		visit(program)
		program.Close()
	}
}
