// Command init is the first and only program of the machines that
// test/kernels boots: it makes a host out of a bare kernel, runs the tests
// in /tests and switches off. What it prints goes to the serial console.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	result := "pass"
	if err := run(); err != nil {
		result = err.Error()
	}
	fmt.Printf("\nweir-result: %s\n", result)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("switch off:", err)
	}
}

func run() error {
	if err := prepare(); err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("read kernel version: %w", err)
	}
	fmt.Printf("\nweir-kernel: %s\n", unix.ByteSliceToString(u.Release[:]))
	return errors.Join(
		test("bpf.test", nil),
		test("agent.test", nil),
		test("weir.test", nil, "-test.run=^TestUpCountsTheDemo$"),
		// As a user who may do only what docs/kernels.md says is needed; the tests
		// that are left out make cgroups and file systems of their own.
		test("bpf.test", &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: capabilities(unix.ByteSliceToString(u.Release[:])),
		}, "-test.skip=^(TestCgroupsAreLeftOut|TestTheNextTakesOver|TestNobodyTakesOver)$"),
	)
}

const nobody = 65534

func capabilities(release string) []uintptr {
	caps := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}
	if strings.HasPrefix(release, "5.10.") {
		caps = append(caps, unix.CAP_SYS_RESOURCE) // maps are charged to RLIMIT_MEMLOCK
	}
	return caps
}

func test(name string, as *syscall.SysProcAttr, args ...string) error {
	cmd := exec.Command("/tests/"+name, append(args, "-test.v", "-test.timeout=240s")...)
	if as != nil {
		name += " with few capabilities"
	}
	fmt.Printf("\nweir-test: %s\n", name)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = "/tmp", os.Stdout, os.Stdout, as
	cmd.Env = []string{"WEIR_REQUIRE=all", "HOME=/tmp", "TMPDIR=/tmp", "PATH=/tests"}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// prepare mounts what every host has, and brings loopback up.
func prepare() error {
	for _, m := range []struct{ fs, path string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"cgroup2", "/sys/fs/cgroup"},
		{"bpf", "/sys/fs/bpf"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
		if err := unix.Mount(m.fs, m.path, m.fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}
