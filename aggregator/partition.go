package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

const (
	defaultCommitEvery = time.Minute
	silence            = 10 * time.Second // at the input's end: then the partition is idle
	idleEvery          = time.Hour        // an idle partition's record is renewed before it expires
)

// partition aggregates one partition.
type partition struct {
	log    *slog.Logger
	c      *bus.Conn
	every  time.Duration // between commits, at most
	m      *metrics
	lane   *bus.Lane
	reader *bus.Reader
	state  *state
	seq    uint64 // of the last commit within the lane's epoch

	idle      bool // as the last record says
	committed time.Time
	heard     time.Time
	frame     proto.Frame
	warned    bool // of a message that is no enricher's
}

// aggregate goes on after the last commit record until ctx ends or it fails.
// What it had not committed then is forgotten.
func aggregate(ctx context.Context, cfg Config, m *metrics, log *slog.Logger, number uint32) error {
	p := &partition{log: log, c: cfg.Bus, every: cfg.CommitEvery, m: m, state: newState(number, m)}
	err := p.open(ctx)
	if err != nil {
		return err
	}
	defer p.reader.Close()
	log.Info("aggregating", "partition", number, "position", p.state.position.Seq, "commit", p.state.seq, "epoch", p.lane.Epoch().String())
	err = p.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open reads the last commit record and starts reading after its position.
func (p *partition) open(ctx context.Context) error {
	number := p.state.partition
	var err error
	p.lane, err = p.c.OpenLane(ctx, bus.LaneConfig{
		Stream: proto.StreamLatency, Subject: proto.CommitSubject(number), Input: true,
	})
	if err != nil {
		return err
	}
	input, err := p.c.StreamInfo(ctx, proto.StreamEnriched)
	if err != nil {
		return err
	}
	if last := p.lane.Last(); last == nil {
		err = p.startAnew(ctx, input)
	} else {
		err = p.startAfter(last, input)
	}
	if err != nil {
		return err
	}
	p.committed, p.heard = time.Now(), time.Now()
	p.reader, err = p.c.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamEnriched, Subjects: []string{proto.EnrichedSubject(number)}, StartSeq: p.state.position.Seq, Foreign: true,
	})
	if err == nil && !p.reader.Created().Equal(input.Created) {
		p.reader.Close()
		err = bus.ErrRecreated
	}
	return err
}

// startAnew begins at the input's first message, if that can't have been
// counted before: nothing was ever removed from the output, so this partition
// never committed; or the output reaches further back than the input, so that
// its record expired after its input had.
func (p *partition) startAnew(ctx context.Context, input bus.StreamInfo) error {
	output, err := p.c.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return err
	}
	if input.Messages == 0 || output.FirstSeq <= 1 || output.FirstTime.Before(input.FirstTime) {
		return nil
	}
	return fmt.Errorf("%w: partition has no commit record, and %s begins (%s) after %s (%s), so its events may be counted already: "+
		"delete %s to count what %s holds anew, or purge %s to begin with new events",
		bus.ErrStop, proto.StreamLatency, output.FirstTime.Format(time.RFC3339), proto.StreamEnriched, input.FirstTime.Format(time.RFC3339),
		proto.StreamLatency, proto.StreamEnriched, proto.StreamEnriched)
}

// startAfter begins at the record's position. If the input is not the one it
// is a position in, or lost its end, every message is read: the numbers of
// frames tell what is new.
func (p *partition) startAfter(last *bus.Message, input bus.StreamInfo) error {
	record, err := proto.DecodeCommit(last.Data)
	if err != nil {
		return fmt.Errorf("%w: last commit record (sequence %d of %s): %w", bus.ErrStop, last.Sequence, proto.StreamLatency, err)
	}
	p.state.resume(record)
	p.idle = record.Idle
	if record.InputCreatedNS != input.Created.UnixNano() || record.Position.Seq > input.LastSeq+1 {
		p.log.Warn("input_is_another", "partition", p.state.partition, "position", record.Position.Seq,
			"created", input.Created, "last_seq", input.LastSeq)
		p.state.position = proto.Position{Seq: 1}
	}
	return nil
}

func (p *partition) run(ctx context.Context) error {
	for {
		m, err := p.next(ctx)
		switch {
		case err == nil:
			err = p.take(ctx, &m)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = p.tick(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// next reads a message, until it may be time for a commit.
func (p *partition) next(ctx context.Context) (bus.Message, error) {
	wait := time.Until(p.heard.Add(silence))
	if p.dirty() {
		wait = min(wait, time.Until(p.committed.Add(p.every)))
	}
	ctx, cancel := context.WithTimeout(ctx, max(wait, 100*time.Millisecond))
	defer cancel()
	return p.reader.Next(ctx)
}

// dirty tells whether anything was read since the last commit.
func (p *partition) dirty() bool { return p.seq == 0 && p.lane.Last() == nil || p.state.dirty }

func (p *partition) take(ctx context.Context, m *bus.Message) error {
	p.heard = time.Now()
	err := p.frame.Decode(m.Data)
	if !m.FromLane() || err == nil && !p.frame.Enriched {
		p.m.foreign.Inc()
		if !p.warned {
			p.warned = true
			p.log.Warn("foreign_message_skipped", "partition", p.state.partition, "sequence", m.Sequence)
		}
		p.state.skip(m.Sequence, m.Time.UnixNano())
		return nil
	}
	if err != nil {
		p.m.undecodable.Inc()
		p.log.Error("frame_left_out", "partition", p.state.partition, "sequence", m.Sequence, "error", err)
		p.state.skip(m.Sequence, m.LogTime().UnixNano())
		return nil
	}
	for !p.state.take(&p.frame, m.Sequence, m.LogTime().UnixNano()) {
		if err := p.commit(ctx, false); err != nil {
			return err
		}
	}
	p.m.lag.WithLabelValues(proto.PartitionToken(p.state.partition)).Set(float64(p.reader.Lag()))
	if p.state.due() || time.Since(p.committed) > p.every {
		return p.commit(ctx, false)
	}
	return nil
}

// tick commits what has waited for long enough, and says so if the input has
// ended. A connection that is away is silent too, so the stream is asked.
func (p *partition) tick(ctx context.Context) error {
	if time.Since(p.heard) >= silence {
		renew := time.Since(p.committed) > idleEvery
		if p.dirty() || !p.idle || renew {
			end, err := p.c.LastSequence(ctx, proto.StreamEnriched, proto.EnrichedSubject(p.state.partition))
			if err != nil {
				return err
			}
			if end < p.state.position.Seq {
				return p.commit(ctx, true)
			}
		}
		p.heard = time.Now() // look again after as long
	}
	if p.dirty() && time.Since(p.committed) > p.every {
		return p.commit(ctx, false)
	}
	return nil
}

// commit stores the batch and how far it was read. It returns bus.ErrRival if
// another aggregator committed; then what is in memory is worth nothing.
func (p *partition) commit(ctx context.Context, idle bool) error {
	s := p.state
	parts, err := s.batch.encode(proto.Latency{
		Cluster: s.cluster, Partition: s.partition, Commit: s.seq + 1, WatermarkNS: s.watermark,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	data, err := proto.EncodeCommit(s.record(p.lane.Epoch(), p.reader.Created(), len(parts), idle))
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	p.seq++
	if _, err := p.lane.Commit(ctx, parts, data, p.seq, s.position.Seq-1, int(s.batch.events)); err != nil {
		return fmt.Errorf("commit %d: %w", s.seq+1, err)
	}
	p.m.commits.Inc()
	p.m.messages.Add(float64(len(parts)))
	p.m.events.Add(float64(s.batch.events))
	p.m.watermark.WithLabelValues(proto.PartitionToken(s.partition)).Set(float64(s.watermark) / 1e9)
	s.committed()
	p.idle, p.committed = idle, time.Now()
	return nil
}
