package export

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
)

const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
	flushTime  = 2 * time.Second // for the last request when the gateway stops
)

// exit is where one signal goes, one request at a time.
type exit struct {
	signal
	sink    sink
	metrics *metrics
	log     *slog.Logger
	failing bool      // said so
	wish    time.Time // before it the receiver wants nothing
}

// deliver sends a request of so many items until the receiver takes it or
// refuses it for good. When ctx ends it is sent once more.
func (x *exit) deliver(ctx context.Context, request proto.Message, items int) {
	if items == 0 {
		return
	}
	queued := x.metrics.queued.WithLabelValues(x.name)
	queued.Set(float64(items))
	defer queued.Set(0)
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		pause(ctx, time.Until(x.wish))
		if time.Until(x.wish) > 0 {
			x.drop("unsent", items, errWish)
			return
		}
		last := ctx.Err() != nil
		rejected, err := x.try(ctx, request)
		var failed *sendError
		switch {
		case err == nil:
			x.taken(items, rejected)
			return
		case !errors.As(err, &failed) || !failed.again:
			x.drop("refused", items, err)
			return
		case last:
			x.drop("unsent", items, err)
			return
		}
		x.metrics.retries.WithLabelValues(x.name).Inc()
		x.fail(err)
		x.wish = time.Now().Add(min(failed.after, maxRetryAfter))
		pause(ctx, jitter(wait))
	}
}

var errWish = errors.New("the receiver wants nothing yet")

// try sends once. After the end of ctx there is a little time left.
func (x *exit) try(ctx context.Context, request proto.Message) (rejected int64, err error) {
	if ctx.Err() != nil {
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
	}
	return x.sink.send(ctx, request)
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func (x *exit) taken(items int, rejected int64) {
	rejected = min(rejected, int64(items))
	if rejected > 0 {
		x.metrics.dropped.WithLabelValues(x.name, "rejected").Add(float64(rejected))
	}
	x.metrics.sent.WithLabelValues(x.name).Add(float64(int64(items) - rejected))
	x.metrics.success.WithLabelValues(x.name).SetToCurrentTime()
	if x.failing {
		x.failing = false
		x.log.Info("otlp_works_again", "signal", x.name)
	}
}

func (x *exit) drop(reason string, items int, err error) {
	x.metrics.dropped.WithLabelValues(x.name, reason).Add(float64(items))
	x.fail(err)
}

// fail says once that something is wrong, until it works again.
func (x *exit) fail(err error) {
	if !x.failing {
		x.failing = true
		x.log.Warn("otlp_fails", "signal", x.name, "error", err)
	}
}
