package natsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// SyncInterval is how often what was written is synced to disk. The end
	// of the process (kill -9) loses nothing that was acknowledged; a power
	// cut may lose what was written since the last sync.
	SyncInterval = 10 * time.Second

	// dataFormat is raised when an older Weir could not read the folder.
	dataFormat = 1

	// maxStore is not a limit in practice: the streams have their own bounds,
	// and a limit derived from the free space would shrink as they fill.
	maxStore = 1 << 40

	readyTimeout = 60 * time.Second // recovery of a large folder takes a while
	versionFile  = "weir-format"
	lockFile     = "weir-lock"
)

// Config says where a server listens and keeps its data.
type Config struct {
	Dir     string   // created if it does not exist; one server at a time
	Addr    string   // host:port; port 0 picks one
	Name    string   // server name, must be unique in a cluster; "" picks one
	Cluster *Cluster // nil: a server on its own
}

// Cluster makes servers find each other.
type Cluster struct {
	Name   string
	Addr   string   // host:port for the other servers
	Routes []string // nats://host:port of all of them
}

// Server is a running nats-server.
type Server struct {
	s    *server.Server
	lock *os.File
}

// Start starts a server and waits until clients can connect. Its errors say
// what to do: address in use, folder not writable, in use, or of a newer Weir.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	lock, err := openDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, opts, log)
	if err != nil {
		lock.Close()
		return nil, err
	}
	log.Info("nats_started", "url", s.ClientURL(), "dir", cfg.Dir)
	return &Server{s: s, lock: lock}, nil
}

func start(ctx context.Context, opts *server.Options, log *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("create nats-server: %w", err)
	}
	l := &logger{log: log, fatal: make(chan error, 1)}
	s.SetLoggerV2(l, false, false, false)
	go s.Start() // returns at once; Stop waits for what it started
	deadline := time.Now().Add(readyTimeout)
	for !s.ReadyForConnections(50 * time.Millisecond) {
		select {
		case err = <-l.fatal:
		case <-ctx.Done():
			err = ctx.Err()
		default:
			if time.Now().After(deadline) {
				err = errors.New("not ready in time")
			}
		}
		if err != nil {
			s.Shutdown()
			s.WaitForShutdown()
			return nil, fmt.Errorf("start nats-server: %w", err)
		}
	}
	return s, nil
}

func options(cfg Config) (*server.Options, error) {
	host, port, err := splitAddr(cfg.Addr)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName:        cfg.Name,
		Host:              host,
		Port:              port,
		JetStream:         true,
		StoreDir:          cfg.Dir,
		JetStreamMaxStore: maxStore,
		SyncInterval:      SyncInterval,
		NoSigs:            true,
	}
	if cfg.Cluster != nil {
		chost, cport, err := splitAddr(cfg.Cluster.Addr)
		if err != nil {
			return nil, err
		}
		opts.Cluster = server.ClusterOpts{Name: cfg.Cluster.Name, Host: chost, Port: cport}
		opts.Routes = server.RoutesFromStr(strings.Join(cfg.Cluster.Routes, ","))
	}
	return opts, nil
}

// splitAddr also finds out whether the address can be listened at.
func splitAddr(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("NATS address %q: want host:port", addr)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("NATS address %q: port must be a number from 0 to 65535", addr)
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", 0, fmt.Errorf("NATS address %s is in use: stop what listens there, or choose another with --nats", addr)
	}
	if err != nil {
		return "", 0, fmt.Errorf("listen at NATS address %s: %w", addr, err)
	}
	l.Close()
	return host, int(port), nil
}

// openDir makes the folder ours: writable, of a format we know, locked.
func openDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data folder: %w: choose another with --data-dir", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %s is not writable: %w: choose another with --data-dir", dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("data folder %s is in use by another process: stop it, or choose another with --data-dir", dir)
	}
	if err := checkFormat(filepath.Join(dir, versionFile)); err != nil {
		lock.Close()
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	return lock, nil
}

func checkFormat(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(path, []byte(strconv.Itoa(dataFormat)+"\n"), 0o600)
	}
	if err != nil {
		return err
	}
	format, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("read %s: %q is not a format number", path, b)
	}
	if format > dataFormat {
		return fmt.Errorf("written by a newer Weir (format %d, this one knows %d): upgrade, or choose another with --data-dir", format, dataFormat)
	}
	return nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.s.ClientURL() }

// InProcessConn connects without a socket, for bus.Options.InProcess.
func (s *Server) InProcessConn() (net.Conn, error) { return s.s.InProcessConn() }

// Healthy returns nil if the server works and has caught up with the others
// of its cluster, or what is wrong.
func (s *Server) Healthy() error {
	if h := s.s.Healthz(&server.HealthzOptions{}); h.StatusCode != http.StatusOK {
		return fmt.Errorf("nats-server is not healthy: %s", h.Error)
	}
	return nil
}

// Stop shuts the server down and waits until its files are closed.
func (s *Server) Stop() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
	s.lock.Close()
}

// logger passes the server's log on. What it would say at every start is of
// no interest to users of Weir and goes to debug.
type logger struct {
	log   *slog.Logger
	fatal chan error
}

func (l *logger) Noticef(format string, v ...any) { l.debug(format, v) }
func (l *logger) Debugf(format string, v ...any)  { l.debug(format, v) }
func (l *logger) Tracef(format string, v ...any)  {}

func (l *logger) debug(format string, v []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("nats_server", "message", fmt.Sprintf(format, v...))
	}
}

func (l *logger) Warnf(format string, v ...any) {
	l.log.Warn("nats_server", "message", fmt.Sprintf(format, v...))
}

func (l *logger) Errorf(format string, v ...any) {
	l.log.Error("nats_server", "message", fmt.Sprintf(format, v...))
}

func (l *logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.log.Error("nats_server", "message", err.Error())
	select {
	case l.fatal <- err:
	default:
	}
}
