package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

var rawLane = bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, "node1"), Direct: true}

func server(t *testing.T) (*bustest.Server, *bus.Conn) {
	t.Helper()
	s := bustest.Start(t)
	c := bustest.Connect(t, s.URL)
	bustest.Provision(t, c, 1, 1)
	return s, c
}

func openLane(t *testing.T, c *bus.Conn, cfg bus.LaneConfig) *bus.Lane {
	t.Helper()
	l, err := c.OpenLane(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func publish(t *testing.T, l *bus.Lane, seq, src uint64) {
	t.Helper()
	if _, err := l.Publish(t.Context(), fmt.Appendf(nil, "%d", seq), seq, src, 1); err != nil {
		t.Fatal(err)
	}
}

// stored reads everything stored under subject now.
func stored(t *testing.T, c *bus.Conn, stream, subject string) []bus.Message {
	t.Helper()
	r, err := c.Read(t.Context(), bus.ReadConfig{Stream: stream, Subjects: []string{subject}, StopAtEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readAll(t, r)
}

func TestLaneGoesOnAfterItsLastMessage(t *testing.T) {
	for _, direct := range []bool{true, false} {
		_, c := server(t)
		cfg := rawLane
		cfg.Direct = direct
		first := openLane(t, c, cfg)
		if first.Last() != nil {
			t.Fatalf("last message of an empty lane: %v", first.Last())
		}
		publish(t, first, 1, 7)
		publish(t, first, 2, 9)

		second := openLane(t, c, cfg)
		last := second.Last()
		if last == nil || last.Seq != 2 || last.Src != 9 || last.Count != 1 || last.Epoch != first.Epoch() || string(last.Data) != "2" || last.Sequence != 2 {
			t.Fatalf("direct %v: last message %+v", direct, last)
		}
		if second.Epoch().Number != first.Epoch().Number+1 || second.Epoch().ID == first.Epoch().ID {
			t.Fatalf("epoch %v after %v", second.Epoch(), first.Epoch())
		}
		publish(t, second, 1, 10)
	}
}

func TestLaneRefusesRivals(t *testing.T) {
	_, c := server(t)
	old, young := openLane(t, c, rawLane), openLane(t, c, rawLane)
	publish(t, old, 1, 0)
	// Both opened an empty lane: same number, other id.
	if _, err := young.Publish(t.Context(), []byte("x"), 1, 0, 1); !errors.Is(err, bus.ErrRival) {
		t.Fatalf("rival with the same number: %v", err)
	}
	young = openLane(t, c, rawLane)
	publish(t, old, 2, 0) // while young did not know
	publish(t, young, 1, 0)
	_, err := old.Publish(t.Context(), []byte("x"), 3, 0, 1)
	if !errors.Is(err, bus.ErrRival) || !strings.Contains(err.Error(), young.Epoch().String()) {
		t.Fatalf("rival with a higher epoch: %v", err)
	}
	if got := texts(stored(t, c, rawLane.Stream, rawLane.Subject)); got != "1 2 1" {
		t.Fatalf("stored %q", got)
	}
}

// A lane with an input may not go on after any other writer: that one
// consumed input which this one would publish again.
func TestLaneWithInputRefusesOlderRivals(t *testing.T) {
	_, c := server(t)
	cfg := bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true}
	old := openLane(t, c, cfg)
	publish(t, old, 1, 1)
	young := openLane(t, c, cfg)
	publish(t, old, 2, 2)
	if _, err := young.Publish(t.Context(), []byte("x"), 1, 2, 1); !errors.Is(err, bus.ErrRival) {
		t.Fatalf("error %v", err)
	}
	young = openLane(t, c, cfg)
	publish(t, young, 1, young.Last().Src+1)
}

func TestLaneKeepsAMessageWhoseFateIsUnknown(t *testing.T) {
	s, c := server(t)
	l := openLane(t, c, rawLane)
	publish(t, l, 1, 0)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := l.Publish(ctx, []byte("2"), 2, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("publish without a server: %v", err)
	}
	s.Restart()
	if _, err := l.Publish(t.Context(), []byte("3"), 3, 0, 1); err == nil {
		t.Fatal("another message was accepted")
	}
	publish(t, l, 2, 0)
	publish(t, l, 3, 0)
	if got := texts(stored(t, c, rawLane.Stream, rawLane.Subject)); got != "1 2 3" {
		t.Fatalf("stored %q", got)
	}
}

func TestLaneErrors(t *testing.T) {
	_, c := server(t)
	wrong := openLane(t, c, bus.LaneConfig{Stream: proto.StreamRaw, Subject: "weir.enriched.p00"})
	if _, err := wrong.Publish(t.Context(), nil, 1, 0, 0); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("message for another stream: %v", err)
	}
	l := openLane(t, c, rawLane)
	if _, err := l.Publish(t.Context(), make([]byte, 2<<20), 1, 0, 0); err == nil || !strings.Contains(err.Error(), "payload") {
		t.Errorf("message too large: %v", err)
	}
	publish(t, l, 1, 0) // it can go on after that
}

// Two writers that both believe to be the only one, each opening the lane
// anew when it lost: whatever is stored, nothing is there twice.
func TestLaneRivalsNeverDouble(t *testing.T) {
	_, c := server(t)
	cfg := bus.LaneConfig{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true}
	const n = 200
	done := make(chan error, 2)
	for range 2 {
		conn := c
		go func() {
			done <- func() error {
				for {
					l, err := conn.OpenLane(t.Context(), cfg)
					if err != nil {
						return err
					}
					src := uint64(0)
					if l.Last() != nil {
						src = l.Last().Src
					}
					for seq := uint64(1); ; seq++ {
						if src++; src > n {
							return nil
						}
						if rand.N(10) == 0 {
							time.Sleep(rand.N(5 * time.Millisecond))
						}
						if _, err := l.Publish(t.Context(), fmt.Appendf(nil, "%d", src), seq, src, 1); errors.Is(err, bus.ErrRival) {
							break
						} else if err != nil {
							return err
						}
					}
				}
			}()
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	checkNumbers(t, stored(t, c, cfg.Stream, cfg.Subject), n)
}

func TestLaneAndReaderSurviveKilledServer(t *testing.T) {
	p := bustest.StartProcess(t)
	c := bustest.Connect(t, p.URL)
	bustest.Provision(t, c, 1, 1)
	const n = 3000
	l := openLane(t, c, rawLane)
	published := make(chan error, 1)
	go func() {
		for seq := uint64(1); seq <= n; seq++ {
			if _, err := l.Publish(t.Context(), fmt.Appendf(make([]byte, 0, 2000), "%d", seq), seq, 0, 1); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()

	r, err := bustest.Connect(t, p.URL).Read(t.Context(), bus.ReadConfig{Stream: rawLane.Stream, Subjects: []string{proto.SubjectsRaw}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []bus.Message
	for kill := range 5 {
		for len(got) < (kill+1)*n/7 {
			got = append(got, next(t, r))
		}
		p.Kill()
		p.Start()
	}
	for len(got) < n {
		got = append(got, next(t, r))
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, got, n)
	checkNumbers(t, stored(t, c, rawLane.Stream, rawLane.Subject), n)
}

func next(t *testing.T, r *bus.Reader) bus.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bustest.Timeout)
	defer cancel()
	m, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkNumbers checks that the messages are 1, 2, …, n.
func checkNumbers(t *testing.T, got []bus.Message, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d messages, want %d", len(got), n)
	}
	for i, m := range got {
		if want := fmt.Sprint(i + 1); string(m.Data) != want {
			t.Fatalf("message %d holds %s", i+1, m.Data)
		}
	}
}

func texts(messages []bus.Message) string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Data))
	}
	return strings.Join(out, " ")
}
