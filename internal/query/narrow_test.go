package query

import (
	"fmt"
	"testing"

	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// TestNarrowingIsPartOfTheFilter: what a filter wants is never passed over, and
// what it says by comparisons alone is told before an event is decoded.
func TestNarrowingIsPartOfTheFilter(t *testing.T) {
	load := bustest.NewLoad("n1", proto.Epoch{Number: 1}, 7)
	frame := load.Next(1000, 1e18)
	bustest.Enrich(frame)
	for filter, exact := range map[string]bool{
		`status >= 500`: true, `500 <= status`: true, `status != 200 && side == "server"`: true,
		`status in [404, 500]`: true, `error in []`: false, `status > 404.5`: true,
		`duration_ms > 2`: true, `duration_ms > 2.5 || wait_ms < 0.01`: true, `processing_ms + wait_ms > 1.0`: false,
		`destination.workload == "cart" && status == 500`: true, `source.workload.startsWith("c")`: true,
		`path.contains("cart") && method.endsWith("T")`: true, `path.matches("cart")`: false,
		`path.matches("cart") && status == 404`: false, `path.matches("cart") || status == 404`: false,
		`!(status == 200)`: false, `operation == "GET /cart/{id}/0"`: true, `node == "n1"`: true, `node == "n2"`: true,
		`source.address == "127.0.0.1"`: true, `destination.port == 8001`: true, `process.name == "cart" && process.pid > 0`: true,
		`error < "5"`: true, `"404" == error`: true, `request_bytes > response_bytes`: false, `transfer_ms <= 0.05`: true,
		`protocol == "http"`: true, `time > timestamp("2001-01-01T00:00:00Z")`: false, `size(path) > 3`: false,
		`1 / (status - 200) > 0 && status == 404`: false, `source == destination`: false,
	} {
		f, err := NewFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		wanted, kept := 0, 0
		for i := range frame.Events {
			e := &frame.Events[i]
			want, err := f.Wants(NewEvent("n1", e))
			keep := f.narrow.keep == nil || f.narrow.keep(&proto.Frame{Node: "n1"}, e)
			if err == nil && want {
				wanted++
			}
			if keep {
				kept++
			}
			if want && !keep {
				t.Errorf("%s: an event is passed over", filter)
			}
		}
		if exact && kept != wanted {
			t.Errorf("%s: %d events have to be decoded for %d", filter, kept, wanted)
		}
		if exact && f.narrow.keep == nil {
			t.Errorf("%s: nothing is told of it", filter)
		}
	}
}

// BenchmarkEvents reads frames of 1,024 events with a filter that wants none of
// them, one that wants a hundredth, and all.
func BenchmarkEvents(b *testing.B) {
	load := bustest.NewLoad("n1", proto.Epoch{Number: 1}, 7)
	frame := load.Next(proto.MaxFrameEvents, 1e18)
	bustest.Enrich(frame)
	data, err := frame.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, filter := range []string{`status == 503`, `destination.workload == "cart" && status >= 500`, `path.matches("x")`, `status > 0`} {
		f, err := NewFilter(filter)
		if err != nil {
			b.Fatal(err)
		}
		for name, narrow := range map[string]narrowing{"narrowed": f.narrow, "decoding all": {}} {
			b.Run(fmt.Sprintf("%s/%s", filter, name), func(b *testing.B) {
				var into proto.Frame
				shown := 0
				for b.Loop() {
					if err := into.DecodeWhere(data, narrow.columns, narrow.keep); err != nil {
						b.Fatal(err)
					}
					for i := range into.Events {
						wanted, err := f.Wants(NewEvent("n1", &into.Events[i]))
						if err != nil {
							b.Fatal(err)
						}
						if wanted {
							shown++
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/proto.MaxFrameEvents, "ns/event")
				b.ReportMetric(float64(shown)/float64(b.N), "wanted/frame")
			})
		}
	}
}
