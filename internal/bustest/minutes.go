package bustest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// minutes is what a stream sums up to, by the minute.
type minutes struct {
	points map[string]*proto.Point // by minute and series
	losses map[string]uint64
}

func newMinutes() *minutes {
	return &minutes{points: map[string]*proto.Point{}, losses: map[string]uint64{}}
}

func (s *minutes) add(l *proto.Latency) {
	for i := range l.Points {
		p := &l.Points[i]
		minute := p.StartNS - p.StartNS%proto.RollupNS
		key := fmt.Sprint(minute, l.Namespace, l.Workload, l.WorkloadKind, p.Metric, p.Side, p.Attrs, p.Peer)
		sum := s.points[key]
		if sum == nil {
			sum = &proto.Point{Parts: proto.Parts{Wait: new(histogram.Histogram)}}
			s.points[key] = sum
		}
		sum.Hist.Merge(&p.Hist)
		if p.Parts.Wait != nil {
			sum.Parts.Wait.Merge(p.Parts.Wait)
		}
		sum.Errors += p.Errors
		sum.Lossy = sum.Lossy || p.Lossy
		sum.Parts.WaitNS += p.Parts.WaitNS
		sum.Parts.ProcessingNS += p.Parts.ProcessingNS
		sum.Parts.TransferNS += p.Parts.TransferNS
		for _, x := range p.Exemplars { // the slowest is what every reader shows first
			if len(sum.Exemplars) == 0 || x.ValueNS > sum.Exemplars[0].ValueNS {
				sum.Exemplars = []proto.Exemplar{x}
			}
		}
	}
}

// readMinutes reads what WEIR_LATENCY or WEIR_ROLLUP holds before a sequence, by
// the rules for readers: a roll-up begins anew with commit 1.
func readMinutes(t testing.TB, c *bus.Conn, stream string, before uint64) (all *minutes, commits []*proto.Commit) {
	t.Helper()
	all = newMinutes()
	var batch []*proto.Latency
	for _, m := range ReadAll(t, c, stream, ">") {
		if m.Sequence >= before {
			break
		}
		if !strings.Contains(m.Subject, "commit") {
			l, err := proto.DecodeLatency(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, l)
			continue
		}
		record, err := proto.DecodeCommit(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if stream == proto.StreamRollup && record.Seq == 1 {
			all, commits = newMinutes(), nil
		}
		for _, l := range batch {
			all.add(l)
		}
		for _, l := range record.Loss {
			all.losses[fmt.Sprint(l.Node, l.StartNS, l.Reason, l.Unit)] += l.Count
		}
		batch, commits = nil, append(commits, record)
	}
	for _, l := range batch { // a roll-up may end within a batch of what it reads
		all.add(l)
	}
	return all, commits
}

// CheckRollup checks that the roll-ups are what WEIR_LATENCY holds before their
// position, bit for bit, and returns their commit records.
func CheckRollup(t testing.TB, c *bus.Conn) []*proto.Commit {
	t.Helper()
	got, commits := readMinutes(t, c, proto.StreamRollup, 1<<63)
	if len(commits) == 0 {
		t.Error("nothing is rolled up")
		return nil
	}
	want, _ := readMinutes(t, c, proto.StreamLatency, commits[len(commits)-1].Position.Seq)
	if len(want.points) == 0 || len(got.points) != len(want.points) {
		t.Errorf("%d minutes of series are rolled up, want %d", len(got.points), len(want.points))
	}
	for key, w := range want.points {
		g := got.points[key]
		if g == nil || !g.Hist.Equal(&w.Hist) || !g.Parts.Wait.Equal(w.Parts.Wait) || g.Errors != w.Errors || g.Lossy != w.Lossy ||
			g.Parts.WaitNS != w.Parts.WaitNS || g.Parts.ProcessingNS != w.Parts.ProcessingNS || g.Parts.TransferNS != w.Parts.TransferNS ||
			!reflect.DeepEqual(g.Exemplars, w.Exemplars) {
			t.Errorf("%s is rolled up to\n%+v, want\n%+v", key, g, w)
			break
		}
	}
	if !reflect.DeepEqual(got.losses, want.losses) {
		t.Errorf("losses are %v, want %v", got.losses, want.losses)
	}
	for i, r := range commits {
		if r.Seq != uint64(i)+1 {
			t.Errorf("commit %d has number %d", i+1, r.Seq)
		}
	}
	return commits
}
