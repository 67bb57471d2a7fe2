package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Rate is requests a second to the front end; each makes about one and a half
// more inside the shop.
const Rate = 200.0

// stopTime is how long the processes have to end by themselves.
const stopTime = 3 * time.Second

// Config says how the shop is run.
type Config struct {
	Path   string    // program whose main calls [Child]
	Args   []string  // its name and arguments; the name of the service is added
	Dir    string    // for links that give the processes their names, and the counts
	Rate   float64   // requests a second; 0 is [Rate]
	Output io.Writer // of the processes' errors
	Ready  func(frontend string)
}

// Run runs the shop until ctx ends, then stops the load first, so that nothing
// is left unanswered. It fails if a process ends by itself.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Rate == 0 {
		cfg.Rate = Rate
	}
	p, err := start(cfg)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	if cfg.Ready != nil {
		cfg.Ready("http://" + p.addresses["frontend"])
	}
	select {
	case <-ctx.Done():
	case err = <-p.ended:
	}
	return errors.Join(err, p.stop())
}

// processes are the shop's, in the order they are stopped: load first.
type processes struct {
	list      []*process
	addresses map[string]string
	ended     chan error // a process ended by itself
}

type process struct {
	name     string
	cmd      *exec.Cmd
	lifeline *os.File // closing it ends the process
	done     chan struct{}
}

func start(cfg Config) (*processes, error) {
	p := &processes{addresses: map[string]string{}, ended: make(chan error, len(services())+1)}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return p, fmt.Errorf("create folder of the demo: %w", err)
	}
	env := append(os.Environ(), envDir+"="+cfg.Dir, fmt.Sprintf("%s=%g", envRate, cfg.Rate))
	listeners := map[string]*os.File{}
	defer func() { // the processes have their own
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, s := range services() {
		l, address, err := listen()
		if err != nil {
			return p, err
		}
		listeners[s.name], p.addresses[s.name] = l, address
		env = append(env, envAddress+s.name+"="+address)
	}
	for _, name := range append([]string{loadName}, names()...) {
		child, err := startProcess(cfg, name, env, listeners[name], p.ended)
		if err != nil {
			return p, err
		}
		p.list = append(p.list, child)
	}
	return p, nil
}

func names() []string {
	var names []string
	for _, s := range services() {
		names = append(names, s.name)
	}
	return names
}

// listen opens a port for a service; the queue of the overloaded one is in its
// socket, so the socket is there before the process is.
func listen() (*os.File, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("listen for the demo: %w", err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, "", fmt.Errorf("listen for the demo: %w", err)
	}
	return f, l.Addr().String(), nil
}

// startProcess starts the program through a link: a process is called what the
// file it was started from is called.
func startProcess(cfg Config, name string, env []string, listener *os.File, ended chan<- error) (*process, error) {
	link := filepath.Join(cfg.Dir, "shop-"+name)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("name process: %w", err)
	}
	if err := os.Symlink(cfg.Path, link); err != nil {
		return nil, fmt.Errorf("name process: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start shop-%s: %w", name, err)
	}
	defer read.Close()
	cmd := exec.Command(link)
	cmd.Args = append(slices.Clone(cfg.Args), name)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, read, cfg.Output, cfg.Output
	// Ctrl-C at a terminal goes to all of a process group; the shop is to stop
	// in its own order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if listener != nil {
		cmd.ExtraFiles = []*os.File{listener}
	}
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("start shop-%s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, lifeline: write, done: make(chan struct{})}
	go func() { // stop waits for it
		defer close(p.done)
		_ = cmd.Wait() // the state says how it ended
		ended <- fmt.Errorf("demo: shop-%s ended by itself: %s", name, cmd.ProcessState)
	}()
	return p, nil
}

// stop ends the processes one after the other.
func (p *processes) stop() error {
	var failed error
	for _, child := range p.list {
		child.lifeline.Close()
		select {
		case <-child.done:
		case <-time.After(stopTime):
			failed = errors.Join(failed, fmt.Errorf("stop shop-%s: killed after %s", child.name, stopTime), child.cmd.Process.Kill())
			<-child.done
		}
	}
	return failed
}
