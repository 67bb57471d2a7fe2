package export

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/weirstream/weir/internal/retry"
)

const (
	firstPause = 250 * time.Millisecond
	lastPause  = 30 * time.Second
	flushTime  = 2 * time.Second // for what is left when the gateway stops
)

// exit is where one kind of telemetry goes, one request at a time.
type exit struct {
	name    string
	metrics *exits
	log     *slog.Logger
	failing bool      // said so
	wish    time.Time // before it the receiver wants nothing
}

// deliver sends a request of so many items until the receiver takes it or
// refuses it for good, or ctx ends. send returns how many items it took no part
// of, and a *sendError if it took none. deliver reports whether it was taken.
func (x *exit) deliver(ctx context.Context, items int, send func(context.Context) (rejected int64, err error)) bool {
	if items == 0 {
		return true
	}
	queued := x.metrics.queued.WithLabelValues()
	queued.Set(float64(items))
	defer queued.Set(0)
	err := errWish
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		pause(ctx, time.Until(x.wish))
		if ctx.Err() != nil {
			x.drop("unsent", items, err)
			return false
		}
		var rejected int64
		var failed *sendError
		rejected, err = send(ctx)
		if err == nil {
			x.taken(items, rejected)
			return true
		}
		if !errors.As(err, &failed) || !failed.again {
			x.drop("refused", items, err)
			return false
		}
		x.metrics.retries.WithLabelValues().Inc()
		x.fail(err)
		x.wish = time.Now().Add(min(failed.after, retry.Most))
		pause(ctx, jitter(wait))
	}
}

var errWish = errors.New("the receiver wants nothing yet")

// linger is a context that ends some time after ctx, for what is on its way.
func linger(ctx context.Context, after time.Duration) (lasting context.Context, cancel func()) {
	lasting, cancel = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return lasting, cancel
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func (x *exit) taken(items int, rejected int64) {
	rejected = min(rejected, int64(items))
	if rejected > 0 {
		x.metrics.dropped.WithLabelValues("rejected").Add(float64(rejected))
	}
	x.metrics.sent.WithLabelValues().Add(float64(int64(items) - rejected))
	x.metrics.success.WithLabelValues().SetToCurrentTime()
	if x.failing {
		x.failing = false
		x.log.Info("export_works_again", "what", x.name)
	}
}

func (x *exit) drop(reason string, items int, err error) {
	x.metrics.dropped.WithLabelValues(reason).Add(float64(items))
	x.fail(err)
}

// fail says once that something is wrong, until it works again.
func (x *exit) fail(err error) {
	if !x.failing {
		x.failing = true
		x.log.Warn("export_fails", "what", x.name, "error", err)
	}
}
