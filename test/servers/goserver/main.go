// Goserver is the test server on net/http. See package servers for the paths.
// With -serial it is a server that can do one thing at a time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	port := flag.Int("port", 0, "listen on 127.0.0.1 and ::1")
	serial := flag.Duration("serial", 0, "work this long on each request, one at a time")
	flag.Parse()
	failed := make(chan error, 2)
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(*port)))
		if err != nil {
			failed <- err
			break
		}
		if *serial > 0 {
			go func() { failed <- serve(l, *serial) }()
			continue
		}
		server := http.Server{Handler: http.HandlerFunc(handle), ReadHeaderTimeout: time.Minute}
		go func() { failed <- server.Serve(l) }()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "goserver:", err)
		os.Exit(1)
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 3 {
		http.NotFound(w, r)
		return
	}
	var n int
	if len(parts) > 3 {
		n, _ = strconv.Atoi(parts[3])
	}
	if r.Header.Get("Upgrade") == "echo" {
		echo(w)
		return
	}
	switch parts[2] {
	case "bytes":
		w.Header().Set("Content-Length", strconv.Itoa(n))
		write(w, n)
	case "chunked":
		write(w, n)
		_ = http.NewResponseController(w).Flush()
	case "status":
		w.WriteHeader(n)
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
		_, _ = io.WriteString(w, "slept")
	case "early": // answer first, read the body afterwards
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_, _ = io.WriteString(w, "early")
		_ = control.Flush()
		_, _ = io.Copy(io.Discard, r.Body)
	case "hints":
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "hinted")
	case "upload":
		size, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, size)
	default:
		http.NotFound(w, r)
	}
}

func write(w io.Writer, n int) {
	piece := []byte(strings.Repeat("w", min(n, 64<<10)))
	for ; n > 0; n -= len(piece) {
		if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
			return
		}
	}
}

func echo(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(c, rw) // until the client hangs up
}
