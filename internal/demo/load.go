package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxInFlight bounds the requests of the load that are not answered yet, and
// the connections to any one service.
const maxInFlight = 128

// CountsFile is written to the demo's folder by the load generator at its end,
// and on SIGUSR1.
const CountsFile = "shop-load.json"

// Counts is what the load generator did.
type Counts struct {
	PID         int               `json:"pid"`
	Sent        uint64            `json:"sent"`
	Answered    uint64            `json:"answered"`
	Skipped     uint64            `json:"skipped"` // not sent: too many were unanswered
	ByOperation map[string]uint64 `json:"by_operation"`
	ByStatus    map[string]uint64 `json:"by_status"` // of those answered; 502 also where the connection failed
}

// load sends requests to the front end.
type load struct {
	shop *shop
	file string  // of the counts; "" is standard output
	rate float64 // requests a second

	mu     sync.Mutex
	counts Counts
}

func newLoad(sh *shop, file string, rate float64) *load {
	return &load{
		shop: sh, file: file, rate: rate,
		counts: Counts{PID: os.Getpid(), ByOperation: map[string]uint64{}, ByStatus: map[string]uint64{}},
	}
}

// run sends at random moments, as customers do, whether or not earlier
// requests were answered. At the end it waits for all answers.
func (l *load) run(ctx context.Context) error {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGUSR1)
	defer signal.Stop(ask)
	slots := make(chan struct{}, maxInFlight)
	var open sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			open.Wait()
			return l.write()
		case <-ask:
			if err := l.write(); err != nil {
				return err
			}
		case <-timer.C:
			select {
			case slots <- struct{}{}:
				open.Go(func() {
					l.send(context.WithoutCancel(ctx))
					<-slots
				})
			default:
				l.count(func(c *Counts) { c.Skipped++ })
			}
			if now := time.Now(); now.Sub(next) > time.Second {
				next = now // it was stopped for a while; that is no reason for a flood
			}
			next = next.Add(time.Duration(rand.ExpFloat64() / l.rate * float64(time.Second)))
			timer.Reset(time.Until(next))
		}
	}
}

func (l *load) send(ctx context.Context) {
	method, path, operation := request()
	l.count(func(c *Counts) {
		c.Sent++
		c.ByOperation[operation]++
	})
	answer := l.shop.call(ctx, method, "frontend", path)
	l.count(func(c *Counts) {
		c.Answered++
		c.ByStatus[strconv.Itoa(answer.status)]++
	})
}

// request is what a customer does next, and the operation it counts as.
func request() (method, path, operation string) {
	switch dice := rand.Float64(); {
	case dice < 0.40:
		return "GET", "/", "GET /"
	case dice < 0.75:
		return "GET", fmt.Sprintf("/products/%d", 1+rand.IntN(200)), "GET /products/{id}"
	case dice < 0.88:
		return "POST", "/cart/items", "POST /cart/items"
	}
	return "POST", "/checkout", "POST /checkout"
}

func (l *load) count(change func(*Counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.counts)
}

// write replaces the counts file at once, so that a reader never sees half.
func (l *load) write() error {
	l.mu.Lock()
	out, err := json.MarshalIndent(l.counts, "", "  ")
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write counts: %w", err)
	}
	if l.file == "" {
		_, err := fmt.Printf("%s\n", out)
		return err
	}
	if err := os.WriteFile(l.file+".new", append(out, '\n'), 0o644); err != nil {
		return fmt.Errorf("write counts: %w", err)
	}
	return os.Rename(l.file+".new", l.file)
}
