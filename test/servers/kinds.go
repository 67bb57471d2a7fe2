package servers

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Sizes are the bodies that every server has at /bytes and /chunked.
func Sizes() []int { return []int{0, 6, 1000, 100_000, 10_000_000} }

//go:embed server.js
var nodeScript string

//go:embed server.py
var pythonScript string

//go:embed nginx.conf
var nginxConfig string

//go:embed apache.conf
var apacheConfig string

// Nginx has one worker. It answers /upload by PUT, and a POST there before
// it has read the body.
func Nginx() Kind {
	return Kind{Name: "nginx", Debian: "nginx-light", Upload: "PUT", Status: []int{200, 204, 304, 404, 500, 503},
		command: func(s *Server) (*exec.Cmd, error) {
			path, err := s.configure(nginxConfig)
			if err != nil {
				return nil, err
			}
			return exec.Command("nginx", "-e", filepath.Join(s.Dir, "error.log"), "-p", s.Dir, "-c", path), nil
		}}
}

// Apache defers accept until the request's bytes are there (TCP_DEFER_ACCEPT),
// its default on Linux. It only has /bytes.
func Apache() Kind {
	return Kind{Name: "apache2", Debian: "apache2-bin",
		command: func(s *Server) (*exec.Cmd, error) {
			path, err := s.configure(apacheConfig)
			if err != nil {
				return nil, err
			}
			return exec.Command("apache2", "-X", "-d", s.Dir, "-f", path), nil
		}}
}

// Go is net/http.
func Go() Kind {
	return Kind{Name: "goserver", Upload: "POST", Sleep: true, Status: []int{200, 204, 304, 404, 500, 503},
		command: func(s *Server) (*exec.Cmd, error) { return goServer(s) }}
}

// Serial reads, works on and answers one request at a time, whatever number of
// connections wait: requests queue in their sockets. See [Slow].
func Serial() Kind {
	return Kind{Name: "goserver",
		command: func(s *Server) (*exec.Cmd, error) {
			return goServer(s, "-serial", strconv.Itoa(s.slowMS)+"ms")
		}}
}

// Node is node:http.
func Node() Kind {
	return Kind{Name: "node", Debian: "nodejs", Upload: "POST", Sleep: true, Status: []int{200, 204, 304, 404, 500, 503},
		command: func(s *Server) (*exec.Cmd, error) { return script(s, "node", "server.js", nodeScript) }}
}

// Python is http.server with a thread a connection.
func Python() Kind {
	return Kind{Name: "python3", Debian: "python3", Upload: "POST", Sleep: true, Status: []int{200, 204, 304, 404, 500, 503},
		command: func(s *Server) (*exec.Cmd, error) {
			return script(s, "/usr/bin/python3", "server.py", pythonScript)
		}}
}

func script(s *Server, interpreter, name, text string) (*exec.Cmd, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return exec.Command(interpreter, path, strconv.Itoa(s.Port)), nil
}

func goServer(s *Server, args ...string) (*exec.Cmd, error) {
	path := filepath.Join(s.Dir, s.Name)
	build := exec.Command("go", "build", "-o", path, "github.com/weirstream/weir/test/servers/goserver")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build goserver: %w\n%s", err, out)
	}
	return exec.Command(path, append(args, "-port", strconv.Itoa(s.Port))...), nil
}

// configure writes a server's config and the files it serves.
func (s *Server) configure(config string) (string, error) {
	for _, dir := range []string{"www/bytes", "www/upload", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, dir), 0o777); err != nil {
			return "", err
		}
		_ = os.Chmod(filepath.Join(s.Dir, dir), 0o777) // umask
	}
	for _, n := range Sizes() {
		body := []byte(strings.Repeat("w", n))
		if err := os.WriteFile(filepath.Join(s.Dir, "www/bytes", strconv.Itoa(n)), body, 0o644); err != nil {
			return "", err
		}
	}
	// There from the start, so that a PUT is always answered 204.
	if err := os.WriteFile(filepath.Join(s.Dir, "www/upload/file"), nil, 0o644); err != nil {
		return "", err
	}
	text := strings.NewReplacer("{{dir}}", s.Dir, "{{port}}", strconv.Itoa(s.Port)).Replace(config)
	path := filepath.Join(s.Dir, "server.conf")
	return path, os.WriteFile(path, []byte(text), 0o644)
}
