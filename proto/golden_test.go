package proto

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirstream/weir/histogram"
)

// Golden files are messages as a release encoded them. They stay: every later
// release decodes them. With WEIR_UPDATE_GOLDEN=1 the tests write those of this
// version; once released, a change of format gets files of its own.

func exampleFrame(enriched bool) *Frame {
	f := shop(7, 6, enriched)
	f.Loss = []Loss{{Node: "node-7", StartNS: 1_760_000_000_500_000_000, Reason: LossRing, Unit: UnitRecords, Count: 17}}
	e := &f.Events[0]
	e.TraceID, e.SpanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	e.Process.Name, e.Flags = "Web \xff *", FlagTruncated|FlagNoWait
	e.Source = netip.MustParseAddrPort("[2001:db8::17]:40001")
	e.Destination = netip.MustParseAddrPort("[::ffff:10.0.0.9]:8080")
	f.Events[5] = Event{}
	return f
}

// exampleContainer has what was added to version 1 later: container_name.
func exampleContainer() *Frame {
	f := shop(7, 3, false)
	f.Events[1].Process.Container, f.Events[1].Process.ContainerName = strings.Repeat("0f", 32), "shop-cart"
	return f
}

// exampleServerName has server_name, which came after that.
func exampleServerName() *Frame {
	f := shop(7, 3, false)
	f.Events[2].Destination = netip.MustParseAddrPort("203.0.113.9:80")
	f.Events[2].ServerName = "api.example.com"
	return f
}

// exampleAgent has agent, which came after that.
func exampleAgent() *Frame {
	f := shop(7, 3, false)
	f.Agent = "v0.1.0"
	return f
}

func exampleLatency() *Latency {
	return &Latency{
		V: LatencyVersion, Cluster: "shop-eu", Namespace: "shop", Workload: "cart", WorkloadKind: "Deployment",
		Partition: 3, Commit: 99, WatermarkNS: 1_760_000_012_000_000_000,
		Points: []Point{
			examplePoint(3_000_000, 0, 4_100_000, 250_000),
			{
				StartNS: 1_760_000_000_000_000_000, WindowNS: WindowNS, Metric: MetricHTTPClient, Side: SideClient,
				Attrs: map[string]string{AttrMethod: "GET"}, Hist: *recorded(1), Parts: Parts{ProcessingNS: 1},
			},
		},
	}
}

func examplePoint(values ...int64) Point {
	return Point{
		StartNS: 1_760_000_000_000_000_000, WindowNS: WindowNS, Metric: MetricHTTPServer, Side: SideServer,
		Attrs: map[string]string{AttrMethod: "POST", AttrRoute: "/cart/{id}", AttrStatus: "503", AttrErrorType: "503"},
		Peer:  &Peer{Namespace: "shop", Workload: "front", WorkloadKind: "Deployment", Service: "front"},
		Hist:  *recorded(values...), Errors: 2,
		Parts: Parts{WaitNS: 1_000_000, ProcessingNS: 6_000_000, TransferNS: 350_000, Wait: recorded(400_000, 600_000)},
		Lossy: true,
		Exemplars: []Exemplar{{
			ValueNS: 4_100_000, TimeNS: 1_760_000_003_141_592_653,
			TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
			Attrs: map[string]string{AttrStatus: "503"},
		}},
	}
}

func recorded(values ...int64) *histogram.Histogram {
	h := new(histogram.Histogram)
	for _, v := range values {
		h.Record(v)
	}
	return h
}

func exampleCommit() *Commit {
	return &Commit{
		V: LatencyVersion, Cluster: "shop-eu", Partition: 3, Epoch: 5, EpochID: "00c0ffee00c0ffee", Seq: 99,
		Position: Position{Seq: 4711, Index: 17}, InputCreatedNS: 1_759_000_000_000_000_000,
		LogNS: 1_760_000_012_300_000_000, WatermarkNS: 1_760_000_012_000_000_000, Idle: true,
		Messages: 2, Events: 5, Duplicates: 1,
		Nodes: map[string]NodeMark{
			"node-7": {
				Epoch: 12, EpochID: "9f86d081884c7d65", Seq: 42, Events: 41990,
				WatermarkNS: 1_760_000_012_000_000_000, SeenNS: 1_760_000_012_300_000_000,
			},
			"node-12": {Epoch: 1, EpochID: "feedfacefeedface", Seq: 1, Events: 1},
		},
		Loss: []Loss{{Node: "node-12", StartNS: 1_760_000_001_000_000_000, Reason: LossExpired, Unit: UnitExchanges, Count: 1024}},
	}
}

func exampleRollupCommit() *Commit {
	c := exampleCommit()
	c.AnewAfter = 815
	c.SinceNS = 1_759_900_000_000_000_000
	return c
}

func exampleLeftOut() *LeftOut {
	return &LeftOut{V: LeftOutVersion, Node: "node-7.example", Pods: []string{
		"0a1b2c3d-1111-2222-3333-444455556666", "fedcba9876543210fedcba9876543210", // the second is a static pod's
	}}
}

func exampleRecorded() *Recorded {
	quantile := 0.25
	series := func(name string) []RecordedLabel {
		return []RecordedLabel{{"__name__", name}, {"namespace", "shop"}, {"workload", "cart"}}
	}
	return &Recorded{
		V: RecordedVersion, Group: "shop.yaml;shop", EvaluatedNS: 1_760_000_060_000_000_000, TimeNS: 1_760_000_000_000_000_000,
		Series: []RecordedSeries{
			{Rule: "workload:p99", Labels: series("workload:p99"), Value: &quantile},
			{Rule: "workload:p50", Labels: series("workload:p50")}, // it ends
			{Rule: "workload:rate", Labels: series("workload:rate"), Histogram: &FloatHistogram{
				Schema: 5, Hint: 3, Count: 3.5, Sum: 0.75, ZeroCount: 0.5, ZeroThreshold: 1e-9,
				PositiveSpans: []Span{{-70, 2}, {3, 1}}, PositiveBuckets: []float64{1, 1.5, 0.5},
			}},
		},
	}
}

// decodeGolden decodes a golden file by its name: <kind>.v<version>.msgpack.
func decodeGolden(t *testing.T, path string) any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var message any
	switch kind, _, _ := strings.Cut(filepath.Base(path), "."); kind {
	case "raw", "enriched":
		f := new(Frame)
		message, err = f, f.Decode(data)
	case "latency":
		message, err = DecodeLatency(data)
	case "commit":
		message, err = DecodeCommit(data)
	case "left_out":
		message, err = DecodeLeftOut(data)
	case "recorded":
		message, err = DecodeRecorded(data)
	default:
		t.Fatalf("%s: no decoder for this kind", path)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return message
}

func TestGolden(t *testing.T) {
	if os.Getenv("WEIR_UPDATE_GOLDEN") != "" {
		writeGolden(t)
	}
	paths, err := filepath.Glob("testdata/*.msgpack")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d golden files: %v", len(paths), err)
	}
	for _, path := range paths {
		want, err := os.ReadFile(strings.TrimSuffix(path, "msgpack") + "json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(decodeGolden(t, path), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != string(want) {
			t.Errorf("%s decodes as\n%s\nwant\n%s", path, got, want)
		}
	}
}

// TestGoldenIsCurrent: this release encodes what the golden files of its
// version hold, byte for byte. If it fails, the format changed: see -update,
// and docs/wire.md on versions.
func TestGoldenIsCurrent(t *testing.T) {
	for name, data := range encodedExamples(t) {
		want, err := os.ReadFile("testdata/" + name + ".msgpack")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, want) {
			t.Errorf("%s is encoded otherwise:\n got %x\nwant %x", name, data, want)
		}
	}
}

func encodedExamples(t testing.TB) map[string][]byte {
	t.Helper()
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return map[string][]byte{
		"raw.v1":           must(exampleFrame(false).Append(nil)),
		"enriched.v1":      must(exampleFrame(true).Append(nil)),
		"raw.v1.name":      must(exampleContainer().Append(nil)),
		"raw.v1.server":    must(exampleServerName().Append(nil)),
		"raw.v1.agent":     must(exampleAgent().Append(nil)),
		"latency.v1":       must(EncodeLatency(exampleLatency())),
		"commit.v1":        must(EncodeCommit(exampleCommit())),
		"commit.v1.rollup": must(EncodeCommit(exampleRollupCommit())),
		"left_out.v1":      must(EncodeLeftOut(exampleLeftOut())),
		"recorded.v1":      must(encodeRecorded(exampleRecorded())),
	}
}

func writeGolden(t *testing.T) {
	for name, data := range encodedExamples(t) {
		path := "testdata/" + name + ".msgpack"
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(decodeGolden(t, path), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/"+name+".json", append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
