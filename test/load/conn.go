package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// conn is a client's connection that remembers when bytes last arrived.
type conn struct {
	net.Conn
	plan     *Plan
	reader   *bufio.Reader
	buf      bytes.Buffer
	lastRead time.Time
	closing  bool // the server said that it will hang up
}

func newConn(c net.Conn, p *Plan) (*conn, error) {
	if p.Spin {
		var err error
		if c, err = newSpinning(c); err != nil {
			return nil, err
		}
	}
	out := &conn{Conn: c, plan: p}
	out.reader = bufio.NewReaderSize(out, 64<<10)
	return out, nil
}

func (c *conn) deadline(d time.Duration) { _ = c.SetDeadline(time.Now().Add(d)) }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.lastRead = time.Now()
	return n, err
}

// exchange sends one request and reads its answer. The stamp is that of a
// request without an answer if there is an error.
func (c *conn) exchange(r *Request, closing bool) (Stamp, error) {
	c.buf.Reset()
	writeHead(&c.buf, c.plan.Addr, r, closing)
	if !r.Expect {
		writeBody(&c.buf, r)
	}
	stamp := Stamp{Start: time.Now().UnixNano()}
	fail := func(err error) (Stamp, error) {
		stamp.End = time.Now().UnixNano()
		return stamp, err
	}
	// A server may answer, and even close, before it has read the whole body:
	// the answer still counts, so a failed write is not the end.
	_, writeErr := c.Write(c.buf.Bytes())
	status, err := c.answer(r)
	if err == nil && status == http.StatusContinue {
		c.buf.Reset()
		writeBody(&c.buf, r)
		_, writeErr = c.Write(c.buf.Bytes())
		status, err = c.answer(r)
	}
	if err != nil {
		return fail(errors.Join(err, writeErr))
	}
	stamp.End, stamp.Status = c.lastRead.UnixNano(), status
	if status == http.StatusSwitchingProtocols {
		return stamp, c.echo()
	}
	return stamp, writeErr
}

// pipeline writes requests [first, last) in one go, then reads the answers.
func (c *conn) pipeline(mix []Request, first, last int64) ([]Stamp, error) {
	c.buf.Reset()
	for i := first; i < last; i++ {
		r := &mix[i%int64(len(mix))]
		writeHead(&c.buf, c.plan.Addr, r, false)
		writeBody(&c.buf, r)
	}
	start := time.Now().UnixNano()
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(c.buf.Bytes())
		wrote <- err
	}()
	stamps := make([]Stamp, 0, last-first)
	var err error
	for i := first; i < last && err == nil; i++ {
		var status int
		if status, err = c.answer(&mix[i%int64(len(mix))]); err == nil {
			stamps = append(stamps, Stamp{start, c.lastRead.UnixNano(), status})
		}
	}
	if err != nil {
		c.Close() // so that the writer ends
	}
	writeErr := <-wrote
	for int64(len(stamps)) < last-first {
		stamps = append(stamps, Stamp{Start: start, End: time.Now().UnixNano()})
	}
	return stamps, errors.Join(err, writeErr)
}

// answer reads one final response, or 100 if the request waits for it.
func (c *conn) answer(r *Request) (int, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	for {
		resp, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil {
			return 0, fmt.Errorf("read response of %s %s: %w", method, r.Path, err)
		}
		status := resp.StatusCode
		if status == http.StatusSwitchingProtocols || status == http.StatusContinue && r.Expect {
			return status, nil
		}
		if status < 200 {
			continue
		}
		c.closing = c.closing || resp.Close
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return 0, fmt.Errorf("read body of %s %s: %w", method, r.Path, err)
		}
		return status, nil
	}
}

// echo exchanges bytes of the protocol switched to, to show they aren't HTTP.
func (c *conn) echo() error {
	const text = "GET /not-a-request HTTP/1.1\r\n\r\n"
	if _, err := io.WriteString(c, text); err != nil {
		return fmt.Errorf("write after upgrade: %w", err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c.reader, got); err != nil {
		return fmt.Errorf("read after upgrade: %w", err)
	}
	return errUpgraded
}

// errUpgraded hangs up a connection that no longer speaks HTTP.
var errUpgraded = errors.New("connection was upgraded")

func writeHead(b *bytes.Buffer, host string, r *Request, closing bool) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	fmt.Fprintf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, r.Path, host)
	for key, value := range r.Header {
		fmt.Fprintf(b, "%s: %s\r\n", key, value)
	}
	if closing {
		b.WriteString("Connection: close\r\n")
	}
	if r.Upgrade {
		b.WriteString("Connection: Upgrade\r\nUpgrade: echo\r\n")
	}
	if r.Expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	switch {
	case r.Chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case r.Body > 0 || method == http.MethodPost || method == http.MethodPut:
		b.WriteString("Content-Length: " + strconv.Itoa(r.Body) + "\r\n")
	}
	b.WriteString("\r\n")
}

// writeBody appends a body of r.Body bytes, in chunks of at most 8 KiB if asked.
func writeBody(b *bytes.Buffer, r *Request) {
	const chunk = 8 << 10
	for left := r.Body; left > 0; left -= chunk {
		n := min(left, chunk)
		if r.Chunked {
			fmt.Fprintf(b, "%x\r\n", n)
		}
		b.Write(bytes.Repeat([]byte("w"), n))
		if r.Chunked {
			b.WriteString("\r\n")
		}
	}
	if r.Chunked {
		b.WriteString("0\r\n\r\n")
	}
}
