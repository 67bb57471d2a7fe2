package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// fill gives every field of a struct a value of its own, so that a field that a
// row forgets is noticed.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("k", *n): fmt.Sprint("v", *n)}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.AddrPort]() {
			v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)}), uint16(*n))))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

func fullEvents(count int) *Item {
	f := &proto.Frame{Cluster: "c", Node: "n", Partition: 3, WatermarkNS: 1_700_000_000_123_456_789, Enriched: true}
	n := int64(0)
	for i := range count {
		var e proto.Event
		fill(reflect.ValueOf(&e).Elem(), &n)
		e.Side, e.TraceID, e.SpanID = proto.SideServer+proto.Side(i%2), strings.Repeat("0a", 16), strings.Repeat("0b", 8)
		e.EndNS = 1_700_000_000_000_000_000 + n*1_000_003
		e.WaitNS, e.ProcessingNS, e.TransferNS = n, math.MaxInt32*n, 1<<51-n
		e.StartNS = e.EndNS - e.WaitNS - e.ProcessingNS - e.TransferNS
		f.Events = append(f.Events, e)
	}
	return &Item{Message: bus.Message{Sequence: 7, Time: time.Unix(1_700_000_001, 9)}, Stream: proto.StreamEnriched, Frame: f}
}

func fullPoints(count int) *Item {
	l := &proto.Latency{V: 1, Cluster: "c", Namespace: "ns", Workload: "w", WorkloadKind: "k", Partition: 2, Commit: 9, WatermarkNS: 1_700_000_000_123_456_789}
	n := int64(0)
	for range count {
		var p proto.Point
		fill(reflect.ValueOf(&p).Elem(), &n)
		p.Side, p.Errors, p.Hist, *p.Parts.Wait = proto.SideClient, 1, histogram.Histogram{}, histogram.Histogram{}
		for k := range int64(20) {
			p.Hist.Record(k * k * 1e5)
			p.Parts.Wait.Record(k * 1e3)
		}
		for i := range p.Exemplars {
			p.Exemplars[i].TraceID, p.Exemplars[i].SpanID = strings.Repeat("0a", 16), strings.Repeat("0b", 8)
		}
		l.Points = append(l.Points, p)
	}
	return &Item{Message: bus.Message{Sequence: 7, Time: time.Unix(1_700_000_001, 9)}, Stream: proto.StreamLatency, Latency: l}
}

var forever = query.Interval{FromNS: math.MinInt64, ToNS: math.MaxInt64}

// written is a file of one item, twice.
func written(t testing.TB, name string, i *Item) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	sink, err := Create(name, i.Latency != nil)
	if err != nil {
		t.Fatal(err)
	}
	again := *i
	again.Sequence++
	for _, i := range []*Item{i, &again} {
		if err := sink.Write(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestRowsForgetNothing: every field of events and points is there again.
func TestRowsForgetNothing(t *testing.T) {
	for _, suffix := range []string{".ndjson", ".parquet"} {
		for _, want := range []*Item{fullEvents(5), fullPoints(5)} {
			isLatency := want.Latency != nil
			source, err := File(written(t, "rows"+suffix, want), isLatency, forever)
			if err != nil {
				t.Fatal(err)
			}
			items := 0
			play(t, source, sinkFunc(func(got *Item) error {
				if got.Sequence != want.Sequence+uint64(items) || !got.Time.Equal(want.Time) {
					t.Errorf("%s: message %d of %v, want %d of %v", suffix, got.Sequence, got.Time, want.Sequence, want.Time)
				}
				items++
				if isLatency && !reflect.DeepEqual(got.Latency, want.Latency) {
					t.Errorf("%s: read  %+v\nwrote %+v", suffix, got.Latency, want.Latency)
				}
				if !isLatency && !reflect.DeepEqual(got.Frame.Events, want.Frame.Events) {
					t.Errorf("%s: read  %+v\nwrote %+v", suffix, got.Frame.Events, want.Frame.Events)
				}
				if f := got.Frame; f != nil && (f.Node != "n" || f.Cluster != "c" || f.Partition != 3 || f.WatermarkNS != want.Frame.WatermarkNS || f.Seq != uint64(items) || f.Before != uint64(5*(items-1))) {
					t.Errorf("%s: frame %+v", suffix, f)
				}
				_, err := got.encode()
				return err
			}))
			if items != 2 {
				t.Errorf("%s: %d messages, want 2", suffix, items)
			}
		}
	}
}

// TestRowsAreWhatObserveShows: a line of weir observe is part of a line here.
func TestRowsAreWhatObserveShows(t *testing.T) {
	i := fullEvents(1)
	var out bytes.Buffer
	if err := Output(&out).Write(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	observed, err := json.Marshal(query.NewEvent("n", &i.Frame.Events[0]))
	if err != nil {
		t.Fatal(err)
	}
	var part, whole map[string]any
	if err := errors.Join(json.Unmarshal(observed, &part), json.Unmarshal(out.Bytes(), &whole)); err != nil {
		t.Fatal(err)
	}
	within(t, "", part, whole)
}

func within(t *testing.T, path string, part, whole map[string]any) {
	for key, want := range part {
		if inner, ok := want.(map[string]any); ok {
			got, _ := whole[key].(map[string]any)
			within(t, path+key+".", inner, got)
		} else if !reflect.DeepEqual(whole[key], want) {
			t.Errorf("%s%s is %v, observe has %v", path, key, whole[key], want)
		}
	}
}

// TestDamagedFiles are cut off, and changed, at many bytes: an error with a
// place. A changed line of NDJSON may be another row; Parquet is sealed.
func TestDamagedFiles(t *testing.T) {
	for _, suffix := range []string{".ndjson", ".parquet"} {
		for _, item := range []*Item{fullEvents(2), fullPoints(2)} {
			name := written(t, "rows"+suffix, item)
			whole, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			latency := item.Latency != nil
			all, err := readBytes(t, name, whole, latency)
			if err != nil || all == 0 {
				t.Fatalf("%s whole: %d rows, error %v", suffix, all, err)
			}
			for n := 0; n < len(whole); n += 1 + len(whole)/200 {
				rows, err := readBytes(t, name, whole[:n], latency)
				// What is cut off behind a line can't be known.
				if err == nil && rows > 0 && (suffix == ".parquet" || whole[n-1] != '\n' && whole[n] != '\n') {
					t.Errorf("%s cut off after %d of %d bytes gives %d rows and no error", suffix, n, len(whole), rows)
				}
				var place *FileError
				if err != nil && !errors.As(err, &place) {
					t.Errorf("%s cut off after %d bytes: error without a place: %v", suffix, n, err)
				}
				changed := bytes.Clone(whole)
				changed[n] ^= 0x41
				rows, err = readBytes(t, name, changed, latency)
				if suffix == ".parquet" && err == nil && !inKey(whole, n) {
					t.Errorf("%s changed at %d of %d bytes gives %d of %d rows and no error", suffix, n, len(whole), rows, all)
				}
			}
		}
	}
}

// inKey tells whether a byte is of the seal's name, without which there's none.
func inKey(file []byte, n int) bool {
	key := bytes.Index(file, []byte(sealKey))
	return n >= key-2 && n < key+len(sealKey)+2
}

func readBytes(t testing.TB, name string, content []byte, latency bool) (rows uint64, err error) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := File(name, latency, forever)
	if err != nil {
		t.Fatal(err)
	}
	played, err := Run(t.Context(), source, 0, sinkFunc(func(i *Item) error { _, _ = i.encode(); return nil }))
	return played.Events, err
}

func TestMistakesInRows(t *testing.T) {
	for line, want := range map[string]string{
		`{"v":1,"side":"both"}`:                               `rows:1: side "both" is not server or client`,
		`{"v":1,"side":"server","wait_ms":-1}`:                "rows:1: wait_ms -1 is no duration",
		`{"v":1,"side":"server","transfer_ms":1e30}`:          "rows:1: transfer_ms 1e+30 is no duration",
		`{"v":1,"side":"server","peer":"x"}`:                  "rows:1: ",
		`{"v":1,"side":"server","source":{"address":"host"}}`: `rows:1: source.address "host" is no address`,
		`{"v":1,"status":"200"}`:                              "rows:1: json: cannot unmarshal string",
		"\n" + `{"v":3}`:                                      "rows:1: version 3 is not one this program reads, up to 1",
		`{"time":"2026-01-01T00:00:00Z"}`:                     "rows:1: not of a file that",
		`{"v":1,"metric":"m"}`:                                "rows:1: it holds latency messages, not events",
		`{"v":1`:                                              "rows:1: the file is cut off",
		`[1]`:                                                 "rows:1: json: cannot unmarshal array",
		`{"v":1,"side":"server","node":"` + strings.Repeat("x", maxLine) + `"}`: "rows:1: the line after this is longer",
	} {
		_, err := Run(t.Context(), Lines("rows", strings.NewReader(line), false, forever), 0, Output(io.Discard))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error %v, want %q", line, err, want)
		}
	}
	point := `{"v":1,"metric":"m","side":"server","window_ns":1,"count":2,"scale":5,"buckets":[1]}`
	_, err := Run(t.Context(), Lines("rows", strings.NewReader(point), true, forever), 0, Output(io.Discard))
	if err == nil || !strings.HasPrefix(err.Error(), "read rows:1: ") {
		t.Errorf("counts that don't add up: error %v", err)
	}
}

func TestSpeeds(t *testing.T) {
	for text, want := range map[string]Speed{"1x": 1, "10x": 10, "0.5x": 0.5, "max": 0, "2.25x": 2.25} {
		if got, err := ParseSpeed(text); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "10", "-1x", "0x", "NaNx", "Infx", "1e9x", "fast", "1 x"} {
		if got, err := ParseSpeed(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// TestPace: what was stored a minute apart is played as far apart as asked for,
// and what is late is not waited for.
func TestPace(t *testing.T) {
	for speed, want := range map[Speed]time.Duration{1: time.Minute, 10: 6 * time.Second, 0.5: 2 * time.Minute, 0: 0} {
		synctest.Test(t, func(t *testing.T) {
			began, p := time.Now(), pacer{speed: speed}
			for _, after := range []time.Duration{0, 20 * time.Second, 10 * time.Second, time.Minute, 30 * time.Second} {
				if err := p.wait(t.Context(), time.Unix(1_700_000_000, 0).Add(after)); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took != want {
				t.Errorf("%vx: a minute takes %v, want %v", speed, took, want)
			}
		})
	}
}

func TestSubjects(t *testing.T) {
	for _, subject := range []string{"replay", "replay.events", "replay.>", "a.b.c-d_e"} {
		if err := CheckSubject(subject); err != nil {
			t.Errorf("%s is refused: %v", subject, err)
		}
	}
	for _, subject := range []string{"", ">", "*", "weir", "weir.enriched.p00", "weir.>", "$JS.API.INFO", "$SYS.x", "_INBOX.x", "_INBOX_events.x",
		"a..b", ".a", "a.", "a b", "a.*", "a.>.b", "a.b>", "a.*.>"} {
		if err := CheckSubject(subject); err == nil {
			t.Errorf("%q is taken", subject)
		}
	}
}

func FuzzLines(f *testing.F) {
	for _, i := range []*Item{fullEvents(2), fullPoints(2)} {
		content, err := os.ReadFile(written(f, "rows.ndjson", i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, i.Latency != nil)
	}
	f.Fuzz(func(t *testing.T, content []byte, latency bool) {
		_, _ = Run(t.Context(), Lines("rows", bytes.NewReader(content), latency, forever), 0, Output(io.Discard))
	})
}

func FuzzParquet(f *testing.F) {
	for _, i := range []*Item{fullEvents(2), fullPoints(2)} {
		content, err := os.ReadFile(written(f, "rows.parquet", i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, i.Latency != nil)
	}
	f.Fuzz(func(t *testing.T, content []byte, latency bool) {
		_, _ = readBytes(t, filepath.Join(t.TempDir(), "rows.parquet"), content, latency)
	})
}
