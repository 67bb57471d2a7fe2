package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// serve answers requests on the connections of l until ctx ends. A request is
// read only when one of the workers is free: until then its bytes wait in the
// socket, which is where a real server's queue is too. net/http reads at once.
func (s service) serve(ctx context.Context, l net.Listener, sh *shop) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	workers := make(chan struct{}, s.workers)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept connection: %w", err)
		}
		// It ends with its connection, at the latest when the process does.
		go s.connection(ctx, conn.(*net.TCPConn), sh, workers)
	}
}

// connection answers one request after another. Errors are the client's leaving.
func (s service) connection(ctx context.Context, conn *net.TCPConn, sh *shop, workers chan struct{}) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		if in.Buffered() == 0 && waitReadable(conn) != nil {
			return
		}
		workers <- struct{}{}
		err := s.request(ctx, in, conn, sh)
		<-workers
		if err != nil {
			return
		}
	}
}

func (s service) request(ctx context.Context, in *bufio.Reader, out io.Writer, sh *shop) error {
	r, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20)); err != nil {
		return err
	}
	time.Sleep(s.least + rand.N(s.most-s.least)) // the work
	answer := s.answer(sh, r.WithContext(traced(ctx, r)))
	_, err = fmt.Fprintf(out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
		answer.status, http.StatusText(answer.status), len(answer.body), answer.body)
	return errors.Join(err, leave(r))
}

// leave ends the connection if the client asked for it.
func leave(r *http.Request) error {
	if r.Close {
		return io.EOF
	}
	return nil
}

// waitReadable waits until there is something to read, and reads nothing.
func waitReadable(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}
