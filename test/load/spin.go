package load

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// spinning is a connection that asks its socket again and again for bytes
// instead of sleeping. The runtime's poller doesn't know the socket: what it
// does when bytes arrive takes tens of microseconds from the processor that
// waits for them.
type spinning struct {
	net.Conn // for addresses; closed
	file     *os.File
	fd       int
	limit    time.Time
}

func newSpinning(c net.Conn) (*spinning, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("take socket: %T is no TCP connection", c)
	}
	file, err := tcp.File() // a duplicate
	if err != nil {
		return nil, fmt.Errorf("take socket: %w", err)
	}
	c.Close()
	return &spinning{Conn: c, file: file, fd: int(file.Fd())}, nil // Fd makes it blocking
}

func (s *spinning) Read(b []byte) (int, error) {
	for {
		n, _, err := syscall.Recvfrom(s.fd, b, syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN && time.Now().After(s.limit):
			return 0, os.ErrDeadlineExceeded
		case err == syscall.EAGAIN || err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("receive: %w", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s *spinning) Write(b []byte) (written int, err error) {
	for written < len(b) {
		n, err := syscall.Write(s.fd, b[written:])
		if err != nil && err != syscall.EINTR {
			return written, fmt.Errorf("send: %w", err)
		}
		written += max(n, 0)
	}
	return written, nil
}

func (s *spinning) SetDeadline(t time.Time) error {
	s.limit = t
	return nil
}

func (s *spinning) Close() error { return s.file.Close() }

// ownProcessor gives the goroutine a thread that goes before all others, so that
// its clock doesn't stop late because another program had the processor.
// Without the right to it, it stays an ordinary one. The thread must be given
// back: if it ended, the kernel would take children that it started with it
// (Pdeathsig).
func ownProcessor() (giveBack func()) {
	runtime.LockOSThread()
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), -20)
	return func() {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), 0)
		runtime.UnlockOSThread()
	}
}
