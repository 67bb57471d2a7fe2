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

// sums is what a stream sums up to.
type sums struct {
	step   int64
	points map[string]*proto.Point // by interval and series
	losses map[string]uint64
}

func newSums(step int64) *sums {
	return &sums{step: step, points: map[string]*proto.Point{}, losses: map[string]uint64{}}
}

func (s *sums) add(l *proto.Latency) {
	for i := range l.Points {
		p := &l.Points[i]
		start := p.StartNS - p.StartNS%s.step
		key := fmt.Sprint(start, l.Namespace, l.Workload, l.WorkloadKind, p.Metric, p.Side, p.Attrs, p.Peer)
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

// readSums reads what a stream holds before a sequence, by the rules for readers:
// a roll-up begins anew with commit 1.
func readSums(t testing.TB, c *bus.Conn, stream string, before uint64, step int64) (all *sums, commits []*proto.Commit) {
	t.Helper()
	all = newSums(step)
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
		if stream != proto.StreamLatency && record.Seq == 1 {
			all, commits = newSums(step), nil
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

// CheckRollups checks that the minutes and the half hours, if there are any, are
// what WEIR_LATENCY and the minutes hold before their positions, bit for bit. It
// returns the minutes' commit records.
func CheckRollups(t testing.TB, c *bus.Conn) []*proto.Commit {
	t.Helper()
	checkRollup(t, c, proto.HalfHours)
	return checkRollup(t, c, proto.Minutes)
}

func checkRollup(t testing.TB, c *bus.Conn, what proto.Rollup) []*proto.Commit {
	t.Helper()
	got, commits := readSums(t, c, what.Stream, 1<<63, what.StepNS)
	if len(commits) == 0 {
		if what == proto.Minutes {
			t.Error("nothing is rolled up")
		}
		return nil
	}
	want, _ := readSums(t, c, what.Input, commits[len(commits)-1].Position.Seq, what.StepNS)
	if len(want.points) == 0 || len(got.points) != len(want.points) {
		t.Errorf("%d sums of series are in %s, want %d", len(got.points), what.Stream, len(want.points))
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
		t.Errorf("%s: losses are %v, want %v", what.Stream, got.losses, want.losses)
	}
	for i, r := range commits {
		if r.Seq != uint64(i)+1 {
			t.Errorf("%s: commit %d has number %d", what.Stream, i+1, r.Seq)
		}
	}
	return commits
}
