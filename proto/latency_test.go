package proto

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

func TestLatencyRoundTrip(t *testing.T) {
	want := exampleLatency()
	b, err := EncodeLatency(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLatency(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestCommitRoundTrip(t *testing.T) {
	want := exampleCommit()
	b, err := EncodeCommit(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeCommit(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	// Another decoder, which knows only the tags, sees the same.
	var other Commit
	if err := msgpack.Unmarshal(b, &other); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&other, want) {
		t.Fatalf("msgpack sees %+v\nwant %+v", other, want)
	}
}

// TestLatencyInMsgpack: any msgpack library finds the documented keys.
func TestLatencyInMsgpack(t *testing.T) {
	l := exampleLatency()
	b, err := EncodeLatency(l)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		V            int              `msgpack:"v"`
		WorkloadKind string           `msgpack:"workload_kind"`
		Points       []map[string]any `msgpack:"points"`
	}
	if err := msgpack.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.V != 1 || m.WorkloadKind != "Deployment" || len(m.Points) != 2 {
		t.Fatalf("msgpack sees %+v", m)
	}
	keys := "start_ns window_ns metric side attrs peer count errors sum_ns min_ns max_ns scale zero_count offset buckets parts lossy exemplars"
	for _, key := range strings.Fields(keys) {
		if _, ok := m.Points[0][key]; !ok {
			t.Errorf("point has no key %s", key)
		}
	}
	if n := len(strings.Fields(keys)); len(m.Points[0]) != n {
		t.Errorf("point has %d keys, want %d", len(m.Points[0]), n)
	}
	wait := m.Points[0]["parts"].(map[string]any)["wait"].(map[string]any)
	if got := fmt.Sprint(wait["count"], wait["scale"], wait["sum_ns"]); got != "2 5 1000000" {
		t.Errorf("wait is %v", got)
	}
}

func TestSplitLatency(t *testing.T) {
	l := exampleLatency()
	l.Points = nil
	for i := range 3000 {
		p := examplePoint(1, int64(i)+2, 1<<40) // about 1,900 bytes
		p.StartNS = int64(i)
		l.Points = append(l.Points, p)
	}
	if _, err := EncodeLatency(l); err == nil {
		t.Fatal("encoded in one message")
	}
	messages, err := SplitLatency(l)
	if err != nil {
		t.Fatal(err)
	}
	var got []Point
	for i, b := range messages {
		part, err := DecodeLatency(b)
		if err != nil {
			t.Fatal(err)
		}
		if i < len(messages)-1 && len(b) < MaxMessageBytes*9/10 {
			t.Errorf("message %d has only %d bytes", i, len(b))
		}
		got = append(got, part.Points...)
		part.Points = l.Points
		if !reflect.DeepEqual(part, l) {
			t.Fatalf("message %d has another head", i)
		}
	}
	if !reflect.DeepEqual(got, l.Points) {
		t.Fatalf("%d points in %d messages differ from %d", len(got), len(messages), len(l.Points))
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", MaxStringBytes+1)
	for name, spoil := range map[string]func(*Latency){
		"long workload":  func(l *Latency) { l.Workload = long },
		"long attribute": func(l *Latency) { l.Points[0].Attrs["x"] = long },
		"long peer":      func(l *Latency) { l.Points[0].Peer.Service = long },
		"counts":         func(l *Latency) { l.Points[0].Hist.Count++ },
		"wait":           func(l *Latency) { l.Points[0].Parts.Wait.Scale = 99 },
		"no values":      func(l *Latency) { l.Points[1].Hist.Reset() },
		"errors":         func(l *Latency) { l.Points[0].Errors = 5 },
		"window":         func(l *Latency) { l.Points[0].WindowNS = 0 },
		"metric":         func(l *Latency) { l.Points[0].Metric = "" },
		"exemplars":      func(l *Latency) { l.Points[0].Exemplars = make([]Exemplar, MaxExemplars+1) },
	} {
		l := exampleLatency()
		spoil(l)
		if _, err := EncodeLatency(l); err == nil {
			t.Errorf("%s: encoded", name)
		}
		// The same bytes, from a writer that doesn't check, are refused by the reader.
		b := appendArray(appendLatencyHead(nil, l), len(l.Points))
		for i := range l.Points {
			b = appendPoint(b, &l.Points[i])
		}
		if _, err := DecodeLatency(b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	c := exampleCommit()
	c.Loss = make([]Loss, 1)
	if _, err := EncodeCommit(c); err == nil {
		t.Error("loss of nothing: encoded")
	}
}

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		RawSubject(3, "node-7.example.org"):        "weir.raw.p03.node-7_example_org",
		EnrichedSubject(12):                        "weir.enriched.p12",
		CommitSubject(0):                           "weir.commit.p00",
		LatencySubject("host", "Web Content *>.x"): "weir.latency.host.Web_Content____x",
		LatencySubject("", "größe"):                "weir.latency._.gr____e",
		LiveSubject("shop", "cart"):                "weir.live.latency.shop.cart",
		AlertSubject("page", "slow cart"):          "weir.alert.page.slow_cart",
		MsgID("weir.raw.p00.a", Epoch{3, "ff"}, 9): "weir.raw.p00.a.3-ff.9",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// FNV-1a test vectors.
	if Partition("", 1<<31) != 0x811c9dc5&(1<<31-1) || Partition("foobar", 64) != 0xbf9cf968%64 {
		t.Error("the hash isn't FNV-1a")
	}
	e, err := ParseEpoch(Epoch{1<<64 - 1, "9f86d081884c7d65"}.String())
	if err != nil || e.Number != 1<<64-1 || e.ID != "9f86d081884c7d65" {
		t.Errorf("epoch there and back: %+v, %v", e, err)
	}
	for _, s := range []string{"", "12", "-", "x-y", "-1-a"} {
		if _, err := ParseEpoch(s); err == nil {
			t.Errorf("epoch %q is accepted", s)
		}
	}
}

func BenchmarkLatencyEncode(b *testing.B) {
	l := exampleLatency()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeLatency(l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLatencyDecode(b *testing.B) {
	data, err := EncodeLatency(exampleLatency())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeLatency(data); err != nil {
			b.Fatal(err)
		}
	}
}
