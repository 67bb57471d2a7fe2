package main

import (
	"bytes"
	"net"
	"sync"
	"syscall"
	"time"
)

// serve answers every request on every connection with six bytes after having
// worked on it for a while, strictly one at a time: a connection's bytes stay
// in its socket until its turn comes. A request must fit into one read.
func serve(l net.Listener, work time.Duration) error {
	var busy sync.Mutex
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			raw, err := c.(*net.TCPConn).SyscallConn()
			if err != nil {
				return
			}
			for one(raw, &busy, work) {
			}
		}()
	}
}

// one answers one request; false once the client has hung up.
func one(raw syscall.RawConn, busy *sync.Mutex, work time.Duration) (ok bool) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserial"
	buf := make([]byte, 4096)
	err := raw.Read(func(fd uintptr) bool { // called when there is something to read
		busy.Lock()
		defer busy.Unlock()
		n, err := syscall.Read(int(fd), buf)
		if err == syscall.EAGAIN {
			return false
		}
		if n <= 0 || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			return true
		}
		time.Sleep(work)
		n, err = syscall.Write(int(fd), []byte(answer))
		ok = err == nil && n == len(answer)
		return true
	})
	return ok && err == nil
}
