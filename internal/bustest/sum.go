package bustest

import (
	"context"
	"testing"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Key is a window of a series, as far as raw events determine it.
type Key struct {
	StartNS                 int64
	Side                    proto.Side
	Workload, Method, Route string
	Status, Error           string
	PeerNamespace, PeerName string
}

// Windows are histograms by window and series.
type Windows map[Key]*histogram.Histogram

// Count is how many events are in all windows.
func (w Windows) Count() (n uint64) {
	for _, h := range w {
		n += h.Count
	}
	return n
}

// AddMessage adds the deltas of a latency message.
func (w Windows) AddMessage(t testing.TB, m bus.Message) {
	t.Helper()
	l, err := proto.DecodeLatency(m.Data)
	if err != nil {
		t.Fatalf("message %d of %s: %v", m.Sequence, m.Subject, err)
	}
	for i := range l.Points {
		p := &l.Points[i]
		k := Key{
			StartNS: p.StartNS, Side: p.Side, Workload: l.Workload, Method: p.Attrs[proto.AttrMethod],
			Route: p.Attrs[proto.AttrRoute], Status: p.Attrs[proto.AttrStatus], Error: p.Attrs[proto.AttrErrorType],
		}
		if p.Peer != nil {
			k.PeerNamespace, k.PeerName = p.Peer.Namespace, p.Peer.Workload
		}
		if w[k] == nil {
			w[k] = new(histogram.Histogram)
		}
		w[k].Merge(&p.Hist)
	}
}

// WithoutPeers sums over peers: who was named at the other end may differ
// from one enrichment to another.
func (w Windows) WithoutPeers() Windows {
	out := make(Windows)
	for k, h := range w {
		k.PeerNamespace, k.PeerName = "", ""
		if out[k] == nil {
			out[k] = new(histogram.Histogram)
		}
		out[k].Merge(h)
	}
	return out
}

// Check fails the test if got is not exactly w.
func (w Windows) Check(t testing.TB, got Windows) {
	t.Helper()
	wrong := 0
	for k, h := range w {
		g := got[k]
		if g == nil {
			g = new(histogram.Histogram)
		}
		if !g.Equal(h) {
			if wrong++; wrong <= 5 {
				t.Errorf("%+v: count %d, sum %d; want count %d, sum %d", k, g.Count, g.SumNS, h.Count, h.SumNS)
			}
		}
	}
	for k, g := range got {
		if w[k] == nil {
			if wrong++; wrong <= 5 {
				t.Errorf("%+v: count %d, want none", k, g.Count)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d windows wrong; count %d, want %d", wrong, len(w), got.Count(), w.Count())
	}
}

// ReadWindows sums what WEIR_LATENCY holds now.
func ReadWindows(t testing.TB, c *bus.Conn) Windows {
	t.Helper()
	w := make(Windows)
	for _, m := range ReadAll(t, c, proto.StreamLatency, proto.SubjectsLatency) {
		w.AddMessage(t, m)
	}
	return w
}

// ReadCommits decodes the commit records that WEIR_LATENCY holds now.
func ReadCommits(t testing.TB, c *bus.Conn) []*proto.Commit {
	t.Helper()
	var out []*proto.Commit
	for _, m := range ReadAll(t, c, proto.StreamLatency, proto.SubjectsCommit) {
		record, err := proto.DecodeCommit(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, record)
	}
	return out
}

// WaitRolledUp waits until all that the inputs of some roll-ups hold is in them.
func WaitRolledUp(t testing.TB, c *bus.Conn, rollups ...proto.Rollup) {
	t.Helper()
	for _, what := range rollups {
		Eventually(t, func() bool {
			info, err := c.StreamInfo(t.Context(), what.Input)
			if err != nil {
				return false
			}
			last, err := c.LastMessages(t.Context(), what.Stream, what.Commit)
			return err == nil && len(last) == 1 && last[0].Src == info.LastSeq
		}, "not everything is rolled up into %s", what.Stream)
	}
}

// ReadAll reads what Weir's writers put into a stream that it holds now.
func ReadAll(t testing.TB, c *bus.Conn, stream, subjects string) []bus.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Timeout)
	defer cancel()
	var out []bus.Message
	for m, err := range c.Messages(ctx, bus.ReadConfig{Stream: stream, Subjects: []string{subjects}, StopAtEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, *m)
	}
	return out
}
