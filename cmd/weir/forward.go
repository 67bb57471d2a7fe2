package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	podTimeout     = "15s"            // until a pod of NATS runs
	forwardTimeout = 30 * time.Second // until kubectl listens
	forwardAgain   = time.Second      // after it has ended
)

// forward is a `kubectl port-forward` that is started again when it ends: the
// pod behind it may go. It keeps its port, so that the connection comes back.
type forward struct {
	address string // host:port on this side
	cancel  context.CancelFunc
	done    chan struct{}
}

// startForward starts it and waits until it listens.
func startForward(k kubeFlags, service object) (*forward, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &forward{cancel: cancel, done: make(chan struct{})}
	port := natsPort
	if ports := service.Spec.Ports; len(ports) > 0 {
		port = ports[0].Port
		for _, p := range ports {
			if p.Port == natsPort {
				port = p.Port
			}
		}
	}
	child := func(local string, listening func(string)) error {
		command := k.args("port-forward", "--namespace="+service.Metadata.Namespace, "--address=127.0.0.1", "--pod-running-timeout="+podTimeout,
			"service/"+service.Metadata.Name, local+":"+strconv.Itoa(port))
		return runForward(ctx, command, listening)
	}
	listening, failed := make(chan string, 1), make(chan error, 1)
	go func() { // stop waits for it
		defer close(f.done)
		// The child gets a signal when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		local := ""
		for ctx.Err() == nil {
			err := child(local, func(port string) {
				if local == "" {
					local = port
					listening <- port
				}
			})
			if local == "" {
				failed <- err
				return
			}
			select {
			case <-time.After(forwardAgain):
			case <-ctx.Done():
			}
		}
	}()
	select {
	case local := <-listening:
		f.address = "127.0.0.1:" + local
		return f, nil
	case err := <-failed:
		f.stop()
		return nil, fmt.Errorf("reach Weir's NATS in the cluster: %w", err)
	case <-time.After(forwardTimeout):
		f.stop()
		return nil, fmt.Errorf("reach Weir's NATS in the cluster: kubectl port-forward doesn't listen after %s", forwardTimeout)
	}
}

// stop ends it and waits until it has.
func (f *forward) stop() {
	f.cancel()
	<-f.done
}

var forwardingPattern = regexp.MustCompile(`^Forwarding from 127\.0\.0\.1:([0-9]+) -> `)

// runForward runs kubectl until it or ctx ends, and calls listening with its port.
func runForward(ctx context.Context, command []string, listening func(port string)) error {
	cmd := exec.CommandContext(ctx, "kubectl", command...)
	// Ctrl-C is ours to handle: the connection is closed first. But it ends with us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return kubectlError(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if m := forwardingPattern.FindStringSubmatch(lines.Text()); m != nil {
			listening(m[1])
		}
	}
	_, _ = io.Copy(io.Discard, stdout) // a line too long for the scanner
	err = cmd.Wait()
	said := lastLine(stderr.Bytes())
	switch {
	case strings.HasPrefix(said, "timed out waiting"):
		return fmt.Errorf("kubectl: no pod of the Service runs after %s", podTimeout)
	case said != "":
		return errors.New("kubectl: " + said)
	}
	return err
}
