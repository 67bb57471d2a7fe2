package bus_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func readAll(t *testing.T, r *bus.Reader) []bus.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bustest.Timeout)
	defer cancel()
	var out []bus.Message
	for {
		m, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
}

func TestReadFromWhereItIsAsked(t *testing.T) {
	_, c := server(t)
	if got := stored(t, c, proto.StreamRaw, proto.SubjectsRaw); len(got) != 0 {
		t.Fatalf("empty stream gave %v", got)
	}
	other := rawLane
	other.Subject = proto.RawSubject(0, "node2")
	a, b := openLane(t, c, rawLane), openLane(t, c, other)
	for seq := uint64(1); seq <= 5; seq++ {
		publish(t, a, seq, 0)
		publish(t, b, seq, 0)
	}
	all := stored(t, c, proto.StreamRaw, proto.SubjectsRaw)
	if got := texts(all); got != "1 1 2 2 3 3 4 4 5 5" {
		t.Fatalf("all: %q", got)
	}
	if m := all[3]; m.Sequence != 4 || m.Subject != other.Subject || m.Epoch != b.Epoch() || m.Seq != 2 || m.Count != 1 || m.Time.IsZero() {
		t.Fatalf("message %+v", m)
	}
	for _, tt := range []struct {
		name string
		cfg  bus.ReadConfig
		want string
	}{
		{"by sequence", bus.ReadConfig{Subjects: []string{rawLane.Subject}, StartSeq: 4}, "3 4 5"},
		{"by time", bus.ReadConfig{Subjects: []string{other.Subject}, StartTime: all[7].Time}, "4 5"},
		{"two subjects", bus.ReadConfig{Subjects: []string{rawLane.Subject, other.Subject}, StartSeq: 8}, "4 5 5"},
		{"last", bus.ReadConfig{Subjects: []string{proto.SubjectsRaw}, Last: true}, "5 5"},
		{"after the end", bus.ReadConfig{Subjects: []string{proto.SubjectsRaw}, StartTime: time.Now().Add(time.Hour)}, ""},
	} {
		tt.cfg.Stream, tt.cfg.StopAtEnd = proto.StreamRaw, true
		r, err := c.Read(t.Context(), tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(readAll(t, r)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		r.Close()
	}
	if m, err := c.LastMessages(t.Context(), proto.StreamRaw, proto.SubjectsRaw); err != nil || texts(m) != "5 5" {
		t.Errorf("last messages %v, %v", m, err)
	}
	if m, err := c.LastMessages(t.Context(), proto.StreamLatency, proto.SubjectsCommit); err != nil || len(m) != 0 {
		t.Errorf("last messages of an empty stream %v, %v", m, err)
	}
	if m, err := c.FirstMessage(t.Context(), bus.ReadConfig{Stream: proto.StreamRaw, Subjects: []string{other.Subject}, StartSeq: 3}); err != nil || m == nil || m.Sequence != 4 {
		t.Errorf("first message %v, %v", m, err)
	}
	if m, err := c.FirstMessage(t.Context(), bus.ReadConfig{Stream: proto.StreamRaw, Subjects: []string{rawLane.Subject}, StartSeq: 10}); err != nil || m != nil {
		t.Errorf("first message after the last %v, %v", m, err)
	}
	if m, err := c.FirstMessage(t.Context(), bus.ReadConfig{Stream: "NONE", Subjects: []string{"none"}}); !errors.Is(err, bus.ErrNoStream) || m != nil {
		t.Errorf("first message of no stream %v, %v", m, err)
	}
}

func TestReadFollows(t *testing.T) {
	_, c := server(t)
	r, err := c.Read(t.Context(), bus.ReadConfig{Stream: proto.StreamRaw, Subjects: []string{proto.SubjectsRaw}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nothing there: %v", err)
	}
	l := openLane(t, c, rawLane)
	for seq := uint64(1); seq <= 3; seq++ {
		publish(t, l, seq, 0)
		if m := next(t, r); m.Seq != seq {
			t.Fatalf("message %d: %+v", seq, m)
		}
	}
	if r.Lag() != 0 {
		t.Errorf("lag %d at the end", r.Lag())
	}
}

func TestReadNoticesThatTheStreamIsAnother(t *testing.T) {
	s, c := server(t)
	l := openLane(t, c, rawLane)
	for seq := uint64(1); seq <= 3; seq++ {
		publish(t, l, seq, 0)
	}
	r, err := c.Read(t.Context(), bus.ReadConfig{Stream: proto.StreamRaw, Subjects: []string{proto.SubjectsRaw}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next(t, r)
	bustest.DeleteStream(t, s.URL, proto.StreamRaw)
	bustest.Provision(t, c, 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), bustest.Timeout)
	defer cancel()
	for err == nil {
		_, err = r.Next(ctx) // two may have been fetched already
	}
	if !errors.Is(err, bus.ErrRecreated) {
		t.Fatalf("error %v", err)
	}
	if _, err := c.Read(t.Context(), bus.ReadConfig{Stream: "NONE", Subjects: []string{"x"}}); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("no stream: %v", err)
	}
}
