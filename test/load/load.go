package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Request is one kind of request of a [Plan].
type Request struct {
	Method  string            // default GET
	Path    string            // as sent
	Header  map[string]string // besides Host and what the body needs
	Body    int               // request body in bytes
	Chunked bool              // send the body in chunks
	Expect  bool              // wait for 100 Continue before the body
	Upgrade bool              // ask for the protocol "echo", and exchange bytes once switched
}

// Plan is what to send. The zero values of the counts mean one.
type Plan struct {
	Addr     string // host:port
	Mix      []Request
	Requests int           // in all; request i is Mix[i mod len(Mix)]
	Conns    int           // at once
	Close    bool          // one request a connection
	Pipeline int           // requests written before the first answer is read
	Rate     float64       // requests a second over all connections; 0: as fast as answers come
	Spin     bool          // poll the socket instead of sleeping: no wake-up in the stamps
	Timeout  time.Duration // for one request; default 30 s
	Retry    time.Duration // pause after a failed dial; 0: a failed dial is a failed request
}

// Stamp is one request by the client's clock, unix nanoseconds.
type Stamp struct {
	Start, End int64
	Status     int // 0: no answer
}

// Result is what happened. Sent = Done + Failed.
type Result struct {
	Sent    int // at least one byte was handed to the kernel
	Done    int // a final response was read to its end
	Failed  int
	Unsent  int // not one byte left: the connection was refused
	Status  map[int]int
	Stamps  []Stamp       // every sent request, in no order
	Elapsed time.Duration // of the whole run
	Err     error         // the first failure, for a person to read
}

// Run carries out the plan and returns when every request has ended, or ctx.
func Run(ctx context.Context, p Plan) (*Result, error) {
	if len(p.Mix) == 0 {
		return nil, fmt.Errorf("run load: no requests in the mix")
	}
	p.Requests, p.Conns, p.Pipeline = max(p.Requests, 1), max(p.Conns, 1), max(p.Pipeline, 1)
	if p.Timeout == 0 {
		p.Timeout = 30 * time.Second
	}
	if p.Close && p.Pipeline > 1 {
		return nil, fmt.Errorf("run load: pipelining needs connections that stay open")
	}
	started := time.Now()
	var next atomic.Int64
	workers := make([]worker, min(p.Conns, p.Requests))
	var wait sync.WaitGroup
	for i := range workers {
		w := &workers[i]
		w.plan, w.next, w.started = &p, &next, started
		wait.Add(1)
		go func() {
			defer wait.Done()
			w.run(ctx)
		}()
	}
	wait.Wait()
	return merge(workers, time.Since(started)), nil
}

func merge(workers []worker, elapsed time.Duration) *Result {
	r := &Result{Status: map[int]int{}, Elapsed: elapsed}
	for i := range workers {
		w := &workers[i]
		r.Stamps = append(r.Stamps, w.stamps...)
		r.Unsent += w.unsent
		if r.Err == nil {
			r.Err = w.err
		}
	}
	for _, s := range r.Stamps {
		r.Sent++
		if s.Status == 0 {
			r.Failed++
			continue
		}
		r.Done++
		r.Status[s.Status]++
	}
	return r
}

// worker is one connection at a time.
type worker struct {
	plan    *Plan
	next    *atomic.Int64
	started time.Time
	conn    *conn
	stamps  []Stamp
	unsent  int
	err     error
}

func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	if w.plan.Spin {
		defer ownProcessor()()
	}
	for ctx.Err() == nil {
		last := w.next.Add(int64(w.plan.Pipeline))
		first := last - int64(w.plan.Pipeline)
		last = min(last, int64(w.plan.Requests))
		if first >= last {
			return
		}
		if !w.pace(ctx, first) {
			return
		}
		if err := w.batch(ctx, first, last); err != nil {
			stopped := ctx.Err() != nil && w.conn == nil // while it connected
			if w.err == nil && !stopped && !errors.Is(err, errUpgraded) {
				w.err = err
			}
			w.hangUp()
		} else if w.plan.Close || w.conn.closing {
			w.hangUp()
		}
	}
}

// pace waits until request n is due. Requests that are late go at once.
func (w *worker) pace(ctx context.Context, n int64) bool {
	if w.plan.Rate <= 0 {
		return true
	}
	due := w.started.Add(time.Duration(float64(n) / w.plan.Rate * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// batch sends requests [first, last) and reads their answers.
func (w *worker) batch(ctx context.Context, first, last int64) error {
	if err := w.connect(ctx); err != nil {
		w.unsent += int(last - first)
		return err
	}
	mix := w.plan.Mix
	if last-first == 1 {
		stamp, err := w.conn.exchange(&mix[first%int64(len(mix))], w.plan.Close)
		w.stamps = append(w.stamps, stamp)
		return err
	}
	stamps, err := w.conn.pipeline(mix, first, last)
	w.stamps = append(w.stamps, stamps...)
	return err
}

func (w *worker) connect(ctx context.Context) error {
	if w.conn != nil {
		w.conn.deadline(w.plan.Timeout)
		return nil
	}
	for {
		c, err := (&net.Dialer{Timeout: w.plan.Timeout}).DialContext(ctx, "tcp", w.plan.Addr)
		if err == nil {
			if w.conn, err = newConn(c, w.plan); err != nil {
				return err
			}
			w.conn.deadline(w.plan.Timeout)
			return nil
		}
		if w.plan.Retry == 0 || ctx.Err() != nil {
			return fmt.Errorf("connect %s: %w", w.plan.Addr, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.plan.Retry):
		}
	}
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}
