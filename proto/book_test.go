package proto

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// book reads a frame's columns with nothing but a msgpack library and what
// docs/wire.md says, as a subscriber in another language does.
type book struct {
	Count   int               `msgpack:"count"`
	Dict    []any             `msgpack:"dict"`
	Columns map[string][]byte `msgpack:"columns"`
}

func (b *book) uints(name string) []uint64 {
	values := make([]uint64, b.Count)
	data, sent := b.Columns[name]
	for i := range values {
		if sent {
			v, n := binary.Uvarint(data)
			values[i], data = v, data[n:]
		}
	}
	return values
}

func (b *book) deltas(name string) []int64 {
	values := make([]int64, b.Count)
	last := int64(0)
	for i, v := range b.uints(name) {
		if v%2 == 0 {
			last += int64(v / 2)
		} else {
			last -= int64(v/2) + 1
		}
		values[i] = last
	}
	return values
}

func (b *book) strings(name string) []string {
	values := make([]string, b.Count)
	for i, v := range b.uints(name) {
		if v > 0 {
			values[i] = fmt.Sprintf("%s", b.Dict[v-1])
		}
	}
	return values
}

func (b *book) addrs(name string) []netip.Addr {
	values := make([]netip.Addr, b.Count)
	for i, v := range b.uints(name) {
		if v > 0 {
			values[i], _ = netip.AddrFromSlice(b.Dict[v-1].([]byte))
		}
	}
	return values
}

func (b *book) ids(name string) []string {
	values := make([]string, b.Count)
	data, sent := b.Columns[name]
	for i := range values {
		if sent {
			n := int(data[0])
			values[i], data = hex.EncodeToString(data[1:n+1]), data[n+1:]
		}
	}
	return values
}

func (b *book) endpoint(side string, i int) Endpoint {
	at := func(name string) string { return b.strings(side + "_" + name)[i] }
	return Endpoint{
		at("namespace"), at("workload"), at("kind"), at("pod"), at("service"), at("node"), at("zone"), at("container"),
	}
}

func TestFrameByTheBook(t *testing.T) {
	want := exampleFrame(true)
	data, err := want.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b book
	if err := msgpack.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	for i := range want.Events {
		uint := func(name string) uint64 { return b.uints(name)[i] }
		text := func(name string) string { return b.strings(name)[i] }
		socket := func(name string) netip.AddrPort {
			return netip.AddrPortFrom(b.addrs(name + "_addr")[i], uint16(uint(name+"_port")))
		}
		got := Event{
			Side: Side(uint("side")), Protocol: text("protocol"), EndNS: b.deltas("end_ns")[i],
			WaitNS: int64(uint("wait_ns")), ProcessingNS: int64(uint("processing_ns")), TransferNS: int64(uint("transfer_ns")),
			RequestBytes: uint("request_bytes"), ResponseBytes: uint("response_bytes"),
			Method: text("method"), Route: text("route"), Status: uint32(uint("status")), Error: text("error"),
			Source: socket("source"), Destination: socket("destination"), Peer: socket("peer"),
			NetNS: uint32(b.deltas("netns")[i]), TraceID: b.ids("trace_id")[i], SpanID: b.ids("span_id")[i],
			Process: Process{
				PID: uint32(uint("pid")), Name: text("process"), Unit: text("unit"),
				Container: text("container"), PodUID: text("pod_uid"),
			},
			Flags: uint32(uint("flags")), From: b.endpoint("source", i), To: b.endpoint("destination", i),
		}
		got.StartNS = got.EndNS - got.WaitNS - got.ProcessingNS - got.TransferNS
		if got != want.Events[i] {
			t.Errorf("event %d:\n got %+v\nwant %+v", i, got, want.Events[i])
		}
	}
}

func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	names := append([]string{HeaderEpoch, HeaderSeq, HeaderSrc, HeaderCount, StreamRaw, StreamEnriched, StreamLatency, StreamAlerts, StreamRecorded},
		LossRing, LossStorage, LossTracked, LossParse, LossSpool, LossExpired, LossEvent)
	for i, name := range columnNames {
		if i < colDestination { // the last eight are "the same eight"
			names = append(names, name)
		}
	}
	for name, data := range encodedExamples(t) {
		var m map[string]any
		if err := msgpack.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for key := range m {
			names = append(names, key)
		}
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/wire.md does not mention `%s`", name)
		}
	}
}
