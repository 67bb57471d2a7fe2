package chaos

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/rig"
)

var machine rig.Rig

func TestMain(m *testing.M) { os.Exit(rig.Main(m, &machine)) }

const settle = 60 * time.Second

// random is seeded by WEIR_SEED, or by the clock; the log says with what.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("WEIR_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("read WEIR_SEED: %v", err)
		}
	}
	t.Logf("repeat with WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between is a random time in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// name is the first element of the load's paths.
const name = "chaos"

// background sends requests until stop is called, which returns what was sent.
func background(t *testing.T, addr string, rate float64, closing bool) (stop func() *load.Result) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended := make(chan *load.Result, 1)
	go func() {
		r, err := load.Run(ctx, load.Plan{
			Addr: addr, Requests: 1 << 30, Conns: 8, Rate: rate, Close: closing,
			Mix: []load.Request{{Path: "/" + name + "/bytes/6"}, {Path: "/" + name + "/bytes/1000"}, {Path: "/" + name + "/status/404"}},
		})
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	return func() *load.Result {
		cancel()
		r := <-ended
		if r == nil || r.Err != nil || r.Failed > 0 || r.Sent == 0 {
			t.Fatalf("the load itself went wrong: %+v", r.Figures())
		}
		return r
	}
}
