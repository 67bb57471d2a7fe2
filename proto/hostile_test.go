package proto

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// decoders are all decoders of messages, for tests of what they refuse.
var decoders = map[string]func([]byte) error{
	"frame":   func(b []byte) error { return new(Frame).Decode(b) },
	"header":  func(b []byte) error { _, err := new(Frame).DecodeHeader(b); return err },
	"latency": func(b []byte) error { _, err := DecodeLatency(b); return err },
	"commit":  func(b []byte) error { _, err := DecodeCommit(b); return err },

	"left_out": func(b []byte) error { _, err := DecodeLeftOut(b); return err },
	"recorded": func(b []byte) error { _, err := DecodeRecorded(b); return err },
}

// decoderOf are the decoders of a golden file.
func decoderOf(name string) []string {
	switch kind, _, _ := strings.Cut(name, "."); kind {
	case "raw", "enriched":
		return []string{"frame", "header"}
	default:
		return []string{kind}
	}
}

func TestTruncated(t *testing.T) {
	for name, data := range encodedExamples(t) {
		for _, decoder := range decoderOf(name) {
			for n := range data {
				if decoders[decoder](data[:n]) == nil {
					t.Errorf("%s, %s: the first %d of %d bytes are accepted", name, decoder, n, len(data))
				}
			}
			if decoders[decoder](append(data, 0xc0)) == nil {
				t.Errorf("%s, %s: a byte too many is accepted", name, decoder)
			}
		}
	}
}

// TestForwardCompatible: keys and columns of a later minor change are skipped, a
// later version is refused with a sentence that says so.
func TestForwardCompatible(t *testing.T) {
	for name, data := range encodedExamples(t) {
		var m map[string]any
		if err := msgpack.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		m["new"] = map[string]any{"deep": []any{1, -1, 1.5, nil, true, "x", []byte{1}, map[string]any{}}}
		if columns, ok := m["columns"].(map[string]any); ok {
			columns["colour"] = []byte{1, 2, 3}
			columns["shape"] = "round"
		}
		if points, ok := m["points"].([]any); ok {
			points[0].(map[string]any)["new"] = make([]int, 100)
		}
		later, err := msgpack.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		m["v"] = 2
		newer, err := msgpack.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		delete(m, "v")
		none, err := msgpack.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, decoder := range decoderOf(name) {
			if err := decoders[decoder](later); err != nil {
				t.Errorf("%s, %s: %v", name, decoder, err)
			}
			if err := decoders[decoder](newer); err == nil || !strings.Contains(err.Error(), "version 2") {
				t.Errorf("%s, %s: version 2: %v", name, decoder, err)
			}
			if err := decoders[decoder](none); err == nil {
				t.Errorf("%s, %s: no version is accepted", name, decoder)
			}
		}
	}
}

// bend decodes a golden frame as any msgpack library does, has it changed, and
// encodes it again.
func bend(t *testing.T, change func(frame, columns map[string]any)) []byte {
	t.Helper()
	data, err := exampleFrame(true).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := msgpack.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	change(m, m["columns"].(map[string]any))
	if data, err = msgpack.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFrameRefuses(t *testing.T) {
	six := func(v uint64) []byte { return append(binary.AppendUvarint(nil, v), 0, 0, 0, 0, 0) }
	column := func(name string, b []byte) func(f, c map[string]any) {
		return func(_, c map[string]any) { c[name] = b }
	}
	for name, change := range map[string]func(f, c map[string]any){
		"count above the limit":     func(f, _ map[string]any) { f["count"] = MaxFrameEvents + 1 },
		"more events than values":   func(f, _ map[string]any) { f["count"] = 7 },
		"fewer events than values":  func(f, _ map[string]any) { f["count"] = 5 },
		"empty column":              column("method", nil),
		"column too long":           column("method", make([]byte, 7)),
		"value cut off":             column("wait_ns", []byte{1, 1, 1, 1, 1, 0x81}),
		"value of 65 bits":          column("request_bytes", []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 1, 1, 1, 1}),
		"endless value":             column("request_bytes", bytes.Repeat([]byte{255}, 30)),
		"index outside the dict":    column("route", six(1000)),
		"workload outside the dict": column("source_workload", six(1000)),
		"address that is a name": func(f, c map[string]any) {
			dict := f["dict"].([]any)
			f["dict"] = append(dict, "seventeen letters")
			c["peer_addr"] = six(uint64(len(dict) + 1))
		},
		"port above 65535":        column("source_port", six(1<<16)),
		"status above 32 bits":    column("status", six(1<<32)),
		"side above 8 bits":       column("side", six(256)),
		"netns below 0":           column("netns", six(1)),
		"netns above 32 bits":     column("netns", six(1<<33)),
		"negative duration":       column("wait_ns", six(1<<63)),
		"trace id of 15 bytes":    column("trace_id", append([]byte{15}, make([]byte, 20)...)),
		"trace id cut off":        column("trace_id", []byte{0, 0, 0, 0, 0, 16, 1, 2}),
		"too few trace ids":       column("trace_id", append([]byte{16}, make([]byte, 16)...)),
		"long string":             func(f, _ map[string]any) { f["dict"] = []string{strings.Repeat("x", MaxStringBytes+1)} },
		"long node":               func(f, _ map[string]any) { f["node"] = strings.Repeat("x", MaxStringBytes+1) },
		"column that is a number": func(_, c map[string]any) { c["method"] = 5 },
		"negative number":         func(f, _ map[string]any) { f["seq"] = -1 },
		"number with a fraction":  func(f, _ map[string]any) { f["seq"] = 1.0 },
		"not a number":            func(f, _ map[string]any) { f["watermark_ns"] = math.NaN() },
		"loss for no reason":      func(f, _ map[string]any) { f["loss"] = []any{map[string]any{"count": 1}} },
	} {
		f := new(Frame)
		if err := f.Decode(bend(t, change)); err == nil {
			t.Errorf("%s is accepted: %+v", name, f)
		} else if len(f.Events) != 0 {
			t.Errorf("%s: %d events left", name, len(f.Events))
		}
	}
	if err := new(Frame).Decode(bend(t, func(f, c map[string]any) {})); err != nil {
		t.Errorf("bent back: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Frame){
		"1025 events":          func(f *Frame) { f.Events = make([]Event, MaxFrameEvents+1) },
		"long route":           func(f *Frame) { f.Events[3].Route = strings.Repeat("x", MaxStringBytes+1) },
		"long node":            func(f *Frame) { f.Node = strings.Repeat("x", MaxStringBytes+1) },
		"negative wait":        func(f *Frame) { f.Events[3].WaitNS, f.Events[3].StartNS = -1, f.Events[3].EndNS+1 },
		"parts don't add up":   func(f *Frame) { f.Events[3].TransferNS++ },
		"trace id isn't hex":   func(f *Frame) { f.Events[3].TraceID = strings.Repeat("g", 32) },
		"trace id is short":    func(f *Frame) { f.Events[3].TraceID = "00" },
		"too large":            func(f *Frame) { f.Events = manyRoutes() },
		"loss without a count": func(f *Frame) { f.Loss[0].Count = 0 },
	} {
		f := exampleFrame(true)
		spoil(f)
		if b, err := f.Append([]byte("kept")); err == nil || string(b) != "kept" {
			t.Errorf("%s: %v, %d bytes", name, err, len(b))
		}
	}
}

func manyRoutes() []Event {
	events := make([]Event, MaxFrameEvents)
	for i := range events {
		events[i].Route = strings.Repeat(string(rune('ā'+i)), 400)
	}
	return events
}

// TestHostileIsCheap: lengths that aren't there cost nothing.
func TestHostileIsCheap(t *testing.T) {
	claims := map[string][]byte{
		"map of 4 Gi":      {0xdf, 0xff, 0xff, 0xff, 0xff},
		"array of 4 Gi":    {0xdd, 0xff, 0xff, 0xff, 0xff},
		"bin of 4 GiB":     {0xc6, 0xff, 0xff, 0xff, 0xff},
		"str of 4 GiB":     {0xdb, 0xff, 0xff, 0xff, 0xff},
		"ext of 4 GiB":     {0xc9, 0xff, 0xff, 0xff, 0xff, 1},
		"nested arrays":    bytes.Repeat([]byte{0x91}, 60_000),
		"nested maps":      bytes.Repeat([]byte{0x81, 0xa1, 'x'}, 20_000),
		"array of nothing": append([]byte{0xdc, 0x10, 0x00}, make([]byte, 4096)...),
		"array of maps":    append([]byte{0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x80}, 4096)...),
	}
	keys := []string{
		"v", "dict", "columns", "loss", "count", "node", "points", "nodes", "pods", "position", "strings", "series", "new",
	}
	for decoder, decode := range decoders {
		for claim, bytes := range claims {
			for _, key := range keys {
				message := append(appendString(appendUint(appendString(appendMap(nil, 2), "v"), 1), key), bytes...)
				if used := allocated(func() { _ = decode(message) }); used > 64<<10 {
					t.Errorf("%s: %s in %s takes %d bytes of memory", decoder, claim, key, used)
				}
			}
			if used := allocated(func() { _ = decode(bytes) }); used > 64<<10 {
				t.Errorf("%s: %s takes %d bytes of memory", decoder, claim, used)
			}
		}
	}
	large := make([]byte, MaxMessageBytes+1)
	if used := allocated(func() { _ = new(Frame).Decode(large) }); used > 64<<10 {
		t.Errorf("a message over the limit takes %d bytes of memory", used)
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func seed(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.msgpack")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzFrame: what decodes, encodes again to the same events; the header alone
// is the same as the whole frame's.
func FuzzFrame(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second, head Frame
		if first.Decode(data) != nil {
			return
		}
		count, err := head.DecodeHeader(data)
		if err != nil || count != len(first.Events) || head.Seq != first.Seq || head.Epoch != first.Epoch {
			t.Fatalf("header %+v, %d, %v; frame %+v", head, count, err, first)
		}
		again, err := first.Append(nil)
		if err != nil {
			return // larger than allowed: its dict was shared by names and addresses
		}
		if err := second.Decode(again); err != nil {
			t.Fatal(err)
		}
		same(t, &second, &first)
	})
}

func FuzzLatency(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeLatency(data)
		if err != nil {
			return
		}
		messages, err := SplitLatency(first)
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		second, err := DecodeLatency(messages[0])
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeLatency(second)
		if err != nil || !bytes.Equal(again, messages[0]) {
			t.Fatalf("%v\n%x\n%x", err, again, messages[0])
		}
	})
}

func FuzzCommit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeCommit(data)
		if err != nil {
			return
		}
		again, err := EncodeCommit(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := DecodeCommit(again)
		if err != nil {
			t.Fatal(err)
		}
		if first.Nodes == nil {
			first.Nodes = map[string]NodeMark{}
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("first  %+v\nsecond %+v", first, second)
		}
	})
}

func FuzzLeftOut(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeLeftOut(data)
		if err != nil {
			return
		}
		again, err := EncodeLeftOut(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := DecodeLeftOut(again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
	})
}

func FuzzRecorded(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeRecorded(data)
		if err != nil {
			return
		}
		messages, err := SplitRecorded(first)
		if err != nil {
			t.Fatal(err)
		}
		var series []RecordedSeries
		for _, m := range messages {
			part, err := DecodeRecorded(m)
			if err != nil {
				t.Fatal(err)
			}
			series = append(series, part.Series...)
		}
		again, err := encodeRecorded(&Recorded{Group: first.Group, EvaluatedNS: first.EvaluatedNS, TimeNS: first.TimeNS, Series: series})
		want, _ := encodeRecorded(first)
		if err != nil || !bytes.Equal(again, want) { // numbers that are none are their bits
			t.Fatalf("%v\n%x\n%x", err, again, want)
		}
	})
}
