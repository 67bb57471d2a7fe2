package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/weirstream/weir/test/rig"
)

var machine rig.Rig

func TestMain(m *testing.M) { os.Exit(rig.Main(m, &machine)) }

// full says whether to take the time that figures need to be steady.
func full() bool { return os.Getenv("WEIR_BENCH") == "full" }

// spell is the length of one measurement.
func spell() time.Duration {
	if full() {
		return 6 * time.Second
	}
	return time.Second
}

const performance = "../../docs/performance.md"

// TestFigures prints every figure. It fails only if something can't be
// measured: targets are goals, and this machine's neighbours are many.
func TestFigures(t *testing.T) {
	machine.Need(t)
	pipeline := &table{name: "Pipeline"}
	t.Run("codec", func(t *testing.T) { codec(t, pipeline) })
	t.Run("histogram", func(t *testing.T) { histograms(t, pipeline) })
	t.Run("pipeline", func(t *testing.T) { services(t, pipeline) })
	t.Run("latency stream", func(t *testing.T) { latencyStream(t, pipeline) })
	t.Run("kubernetes", func(t *testing.T) { kubernetes(t, pipeline) })
	viewing := &table{name: "Page"}
	t.Run("page", func(t *testing.T) { pages(t, viewing) })
	capture := &table{name: "Cost of capture"}
	t.Run("throughput", func(t *testing.T) { throughput(t, capture) })
	t.Run("ignored socket", func(t *testing.T) { ignored(t, capture) })
	t.Run("memory", func(t *testing.T) { memory(t, capture) })
	t.Run("complete", func(t *testing.T) { complete(t, capture, pipeline) })
	t.Run("accuracy", func(t *testing.T) { accuracy(t, capture) })

	text := fmt.Sprintf("%s\n\n%s\n%s\n%s", machineLine(), capture.markdown(), pipeline.markdown(), viewing.markdown())
	fmt.Println(text)
	if full() && !t.Failed() && len(capture.rows) > 0 { // not if only some were asked for
		if err := replaceBetween(performance, "<!-- figures -->", "<!-- end of figures -->", text); err != nil {
			t.Error(err)
		}
	}
}
