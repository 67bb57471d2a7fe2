package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// intruder is somebody with a user that may ask JetStream for something, and so
// have the answer sent to a lane.
type intruder struct {
	*testing.T
	nc *nats.Conn
	c  *bus.Conn
}

func intrude(t *testing.T, url string, c *bus.Conn) *intruder {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return &intruder{t, nc, c}
}

// answer has the answer to a request sent to a subject, and waits for it to be stored.
func (i *intruder) answer(stream, subject, api string, request []byte) {
	i.Helper()
	before, err := i.c.LastSequence(i.Context(), stream, subject)
	if err == nil {
		err = i.nc.PublishRequest(api, subject, request)
	}
	if err != nil {
		i.Fatal(err)
	}
	bustest.Eventually(i.T, func() bool {
		last, err := i.c.LastSequence(i.Context(), stream, subject)
		return err == nil && last > before
	}, "the answer to %s does not arrive on %s", api, subject)
}

// copied puts a message of the intruder's own making, headers too, on a subject:
// he publishes it to a lane that is his, and asks for it.
func (i *intruder) copied(stream, subject string, data []byte, header nats.Header) {
	i.Helper()
	own := proto.RawSubject(0, "intruder")
	m := nats.NewMsg(own)
	m.Data, m.Header = data, header
	if _, err := i.nc.RequestMsg(m, bustest.Timeout); err != nil {
		i.Fatal(err)
	}
	i.answer(stream, subject, "$JS.API.DIRECT.GET.WEIR_RAW."+own, nil)
}

// malformed publishes a message with headers that are none.
func (i *intruder) malformed(subject string) {
	i.Helper()
	before, err := i.c.LastSequence(i.Context(), proto.StreamRaw, subject)
	if err != nil {
		i.Fatal(err)
	}
	conn, err := net.Dial("tcp", i.nc.ConnectedAddr())
	if err != nil {
		i.Fatal(err)
	}
	defer conn.Close()
	const header = "NATS/1.0\r\nno colon\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB %s %d %d\r\n%s\r\nPING\r\n", subject, len(header), len(header), header)
	bustest.Eventually(i.T, func() bool {
		last, err := i.c.LastSequence(i.Context(), proto.StreamRaw, subject)
		return err == nil && last > before
	}, "a message with malformed headers is not stored")
}

// Junk on a lane is neither taken for a message of its writer, nor does it stop
// a writer: one that goes on, one that starts anew, one that doesn't know the
// fate of what it sent.
func TestJunkOnALane(t *testing.T) {
	for _, cfg := range []bus.LaneConfig{
		rawLane,
		{Stream: proto.StreamEnriched, Subject: proto.EnrichedSubject(0), Input: true},
		{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true},
	} {
		t.Run(cfg.Stream, func(t *testing.T) {
			s, c := server(t)
			i := intrude(t, s.URL, c)
			junk := func(n int) {
				t.Helper()
				for range n {
					i.answer(cfg.Stream, cfg.Subject, "$JS.API.STREAM.INFO.WEIR_RAW", nil)
				}
			}
			first := openLane(t, c, cfg)
			junk(1)
			publish(t, first, 1, 5)
			junk(100) // more than the first step of the search
			i.copied(cfg.Stream, cfg.Subject, []byte("forged"), nats.Header{
				proto.HeaderEpoch: {"18446744073709551615-x"}, proto.HeaderSeq: {"7"}, proto.HeaderSrc: {"99"}, proto.HeaderCount: {"1"},
			})
			publish(t, first, 2, 6)
			junk(3)
			i.copied(cfg.Stream, cfg.Subject, nil, nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}})
			publish(t, first, 3, 6)
			if cfg.Stream == proto.StreamRaw {
				i.malformed(cfg.Subject)
				publish(t, first, 4, 6)
				i.malformed(cfg.Subject)
			}
			i.copied(cfg.Stream, cfg.Subject, nil, nats.Header{"Status": {"409"}})

			second := openLane(t, c, cfg)
			if cfg.Direct {
				if second.Last() != nil {
					t.Errorf("last message %+v", second.Last())
				}
			} else if last := second.Last(); last == nil || last.Epoch != first.Epoch() || last.Seq != 3 || last.Src != 6 {
				t.Errorf("last message %+v", last)
			}
			if n := second.Epoch().Number; n < first.Epoch().Number || n > first.Epoch().Number+1e6 {
				t.Errorf("epoch %d after %d", n, first.Epoch().Number)
			}
			publish(t, second, 1, 7)
			junk(1)
			publish(t, second, 2, 8)
			var genuine []string
			for _, m := range stored(t, c, cfg.Stream, cfg.Subject) {
				if m.FromLane() {
					genuine = append(genuine, fmt.Sprintf("%s %s", m.Epoch, m.Data))
				}
			}
			var want []string
			for n := range 3 {
				want = append(want, fmt.Sprint(first.Epoch(), " ", n+1))
			}
			if cfg.Stream == proto.StreamRaw {
				want = append(want, fmt.Sprint(first.Epoch(), " 4"))
			}
			want = append(want, fmt.Sprint(second.Epoch(), " 1"), fmt.Sprint(second.Epoch(), " 2"))
			if fmt.Sprint(genuine) != fmt.Sprint(want) {
				t.Errorf("genuine are\n%v, want\n%v", genuine, want)
			}
			if cfg.Input { // the first is no more allowed than without junk
				junk(1)
				if _, err := first.Publish(t.Context(), []byte("4"), 4, 9, 1); !errors.Is(err, bus.ErrRival) {
					t.Errorf("a rival: %v", err)
				}
			}
		})
	}
}

// A commit whose answer was lost, and junk after it: it is found, not repeated.
func TestJunkAfterAMessageInDoubt(t *testing.T) {
	s, c := server(t)
	i := intrude(t, s.URL, c)
	cfg := bus.LaneConfig{Stream: proto.StreamLatency, Subject: proto.CommitSubject(0), Input: true}
	l := openLane(t, c, cfg)
	parts := []bus.Part{{Subject: proto.LatencySubject("shop", "cart"), Data: []byte("delta")}}
	for range 2 { // the second time as if the answer had not come
		if _, err := l.Commit(t.Context(), parts, []byte("record"), 1, 1, 1); err != nil {
			t.Fatal(err)
		}
		i.answer(cfg.Stream, cfg.Subject, "$JS.API.STREAM.INFO.WEIR_RAW", nil)
	}
	if n := len(stored(t, c, cfg.Stream, parts[0].Subject)); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

// What a lane's writer tells outside the stream is known from an answer that
// somebody has sent there.
func TestJunkBesideALane(t *testing.T) {
	s, c := server(t)
	i := intrude(t, s.URL, c)
	lane := openLane(t, c, bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
	own := proto.RawSubject(0, "intruder")
	junk := nats.NewMsg(own)
	junk.Data = []byte("junk")
	junk.Header = nats.Header{
		"Nats-Expected-Stream": {proto.StreamRaw}, "Nats-Stream": {proto.StreamAlerts}, proto.HeaderEpoch: {lane.Epoch().String()}, proto.HeaderSeq: {"1"},
	}
	if _, err := i.nc.RequestMsg(junk, bustest.Timeout); err != nil {
		t.Fatal(err)
	}
	seen := make(chan bus.Message, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Subscribe(ctx, proto.StreamAlerts, proto.SubjectAlertLive, func(m bus.Message) { seen <- m })
	}()
	bustest.Eventually(t, func() bool { // until the subscription is there
		if err := i.nc.PublishRequest("$JS.API.DIRECT.GET.WEIR_RAW."+own, proto.SubjectAlertLive, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-seen:
			if !m.Foreign || m.FromLane() || string(m.Data) != "junk" {
				t.Errorf("%+v", m)
			}
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	}, "the copy does not arrive")
	if err := lane.Tell(proto.SubjectAlertLive, []byte("told"), 1); err != nil {
		t.Fatal(err)
	}
	for m := range seen {
		if string(m.Data) == "told" {
			if !m.FromLane() || m.Epoch != lane.Epoch() || m.Seq != 1 {
				t.Errorf("%+v", m)
			}
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
