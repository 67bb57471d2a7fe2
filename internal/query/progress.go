package query

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// Settled is how far past the end of an interval a watermark has to be: the
// aggregator commits a window when its watermark is this far past its end.
const Settled = 2 * time.Second

// mark is the newest commit of a partition, and when the stream stored it.
type mark struct {
	proto.Commit
	stored time.Time
}

// Progress is how far each partition has come: its newest commit record. It is
// not safe for concurrent use.
type Progress struct {
	partitions int
	commits    map[uint32]*mark
}

// NewProgress is that of partitions that nothing is known of.
func NewProgress(partitions int) *Progress {
	return &Progress{partitions: partitions, commits: map[uint32]*mark{}}
}

// Known reports whether every partition has a commit record.
func (p *Progress) Known() bool { return len(p.commits) >= p.partitions }

// ReadProgress reads the newest commit record of every partition.
func ReadProgress(ctx context.Context, c *bus.Conn) (*Progress, error) {
	partitions, err := c.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	p := NewProgress(partitions)
	last, err := c.LastMessages(ctx, proto.StreamLatency, proto.SubjectsCommit)
	if err != nil {
		return nil, fmt.Errorf("read commit records: %w", err)
	}
	for _, m := range last {
		commit, err := proto.DecodeCommit(m.Data)
		if err != nil {
			return nil, fmt.Errorf("read commit record %s: %w", m.Subject, err)
		}
		p.Saw(commit, m.Time)
	}
	return p, nil
}

// Saw takes a commit record in; older ones than the newest change nothing.
func (p *Progress) Saw(commit *proto.Commit, stored time.Time) {
	if known := p.commits[commit.Partition]; known == nil || commit.Seq > known.Seq {
		p.commits[commit.Partition] = &mark{*commit, stored}
	}
}

// Until is the time before which everything is counted in the partitions that
// work, unix nanoseconds; idle reports whether there is none that works, so
// that everything there is has been counted.
func (p *Progress) Until() (ns int64, idle bool) {
	idle = true
	for _, c := range p.commits {
		if !c.Idle && (idle || c.WatermarkNS < ns) {
			ns, idle = c.WatermarkNS, false
		}
	}
	return ns, idle
}

// Complete is the end of the last window that everything is counted of, unix
// nanoseconds; now is the time of the question.
func (p *Progress) Complete(now time.Time) int64 {
	ns := now.UnixNano()
	// 0 is before the first agent has promised anything.
	if until, idle := p.Until(); !idle && until > 0 {
		ns = min(ns, until-int64(Settled))
	}
	return floor(ns)
}

// covers reports whether every event that ended before a time is counted.
// What is idle may have new input that isn't counted yet, so that is looked at.
func (p *Progress) covers(ctx context.Context, c *bus.Conn, ns int64) bool {
	if until, idle := p.Until(); !idle && until < ns+int64(Settled) {
		return false
	}
	unread := false
	for partition := range uint32(p.partitions) {
		if commit := p.commits[partition]; commit == nil || commit.Idle {
			unread = true
		}
	}
	if !unread {
		return true
	}
	stages, err := readStages(ctx, c, p)
	if err != nil {
		return true // a subscriber that may not see the input takes "idle" as it is
	}
	for _, s := range stages {
		if s.Behind() {
			return false
		}
	}
	return true
}

// Stage is how far the parts of the pipeline are in one partition: stream
// sequences of WEIR_RAW and WEIR_ENRICHED, 0 for nothing yet.
type Stage struct {
	Partition    uint32
	Agents       map[string]Agent // by node
	RawLast      uint64           // newest raw frame
	RawEnriched  uint64           // newest raw frame that was enriched
	EnrichedLast uint64           // newest enriched frame
	Counted      uint64           // newest enriched frame that is in a commit

	// When the oldest frame was stored that waits for the enricher and for the
	// aggregator; zero if none does. Only ReadStages fills them.
	Unenriched time.Time
	Uncounted  time.Time
}

// Agent is what the newest frame of a node says of who wrote it.
type Agent struct {
	Heard   time.Time
	Version string // "" if it doesn't say
}

// Behind reports whether there is input that isn't counted yet.
func (s *Stage) Behind() bool { return s.RawLast > s.RawEnriched || s.EnrichedLast > s.Counted }

// ReadStages reads how far each partition is. It needs to see all three streams.
func ReadStages(ctx context.Context, c *bus.Conn) ([]Stage, error) {
	p, err := ReadProgress(ctx, c)
	if err != nil {
		return nil, err
	}
	stages, err := readStages(ctx, c, p)
	if err != nil {
		return nil, err
	}
	for i := range stages {
		s := &stages[i]
		if s.RawLast > s.RawEnriched {
			s.Unenriched, err = storedAfter(ctx, c, proto.StreamRaw, proto.RawPartitionSubjects(s.Partition), s.RawEnriched)
		}
		if err == nil && s.EnrichedLast > s.Counted {
			s.Uncounted, err = storedAfter(ctx, c, proto.StreamEnriched, proto.EnrichedSubject(s.Partition), s.Counted)
		}
		if err != nil {
			return nil, err
		}
	}
	return stages, nil
}

// storedAfter is when the first message after a sequence was stored.
func storedAfter(ctx context.Context, c *bus.Conn, stream, subject string, seq uint64) (time.Time, error) {
	m, err := c.FirstMessage(ctx, bus.ReadConfig{Stream: stream, Subjects: []string{subject}, StartSeq: seq + 1})
	if m == nil { // it expired just now
		return time.Time{}, err
	}
	return m.Time, nil
}

func readStages(ctx context.Context, c *bus.Conn, p *Progress) ([]Stage, error) {
	stages := make([]Stage, p.partitions)
	for i := range stages {
		s := &stages[i]
		s.Partition, s.Agents = uint32(i), map[string]Agent{}
		if commit := p.commits[s.Partition]; commit != nil {
			s.Counted = commit.Position.Seq - 1
			if commit.Position.Index > 0 || commit.Position.Seq == 0 {
				s.Counted = commit.Position.Seq
			}
		}
	}
	// Enriched first: a frame stored in between then looks unread, never read.
	enriched, err := c.LastMessages(ctx, proto.StreamEnriched, proto.SubjectsEnriched)
	if err != nil {
		return nil, fmt.Errorf("read newest enriched frames: %w", err)
	}
	for _, m := range enriched {
		if p, ok := partitionOf(m.Subject); ok && int(p) < len(stages) {
			stages[p].EnrichedLast, stages[p].RawEnriched = m.Sequence, m.Src
		}
	}
	raw, err := c.LastMessages(ctx, proto.StreamRaw, proto.SubjectsRaw)
	if err != nil {
		return nil, fmt.Errorf("read newest raw frames: %w", err)
	}
	for _, m := range raw {
		p, ok := partitionOf(m.Subject)
		if !ok || int(p) >= len(stages) {
			continue
		}
		stages[p].RawLast = max(stages[p].RawLast, m.Sequence)
		var frame proto.Frame
		if _, err := frame.DecodeHeader(m.Data); err == nil && ofLane(&m, frame.Node) {
			stages[p].Agents[frame.Node] = Agent{m.Time, frame.Agent}
		}
	}
	return stages, nil
}

// ofLane tells whether a raw message is on the lane of the node that it names.
func ofLane(m *bus.Message, node string) bool {
	return strings.HasSuffix(m.Subject, "."+proto.Token(node))
}

// partitionOf reads the partition token of a subject, "p07" of "weir.raw.p07.n".
func partitionOf(subject string) (uint32, bool) {
	var p uint32
	for _, prefix := range []string{"weir.raw.p", "weir.enriched.p", "weir.commit.p"} {
		if n, err := fmt.Sscanf(subject, prefix+"%d", &p); n == 1 && err == nil {
			return p, true
		}
	}
	return 0, false
}
