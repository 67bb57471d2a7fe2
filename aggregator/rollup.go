package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// rollup sums WEIR_LATENCY into minutes: WEIR_ROLLUP. Like a partition it
// commits deltas together with how far it has read, and has no other state.
// There is one for all partitions: it reads histograms, not events.
type rollup struct {
	log    *slog.Logger
	c      *bus.Conn
	every  time.Duration // between commits, at most
	m      *metrics
	lane   *bus.Lane
	reader *bus.Reader
	batch  *batch
	number uint64 // of the last commit within the lane's epoch

	cluster    string
	seq        uint64 // of the last commit; the first is one that begins anew
	position   uint64 // sequence of the message of WEIR_LATENCY to read next
	logNS      int64  // newest timestamp of a message read
	watermark  int64
	partitions map[string]proto.NodeMark // the newest commit of each that is not idle
	dirty      bool                      // something was read since the last commit
	committed  time.Time
}

// rollUp goes on after the last commit record until ctx ends or it fails.
func rollUp(ctx context.Context, cfg Config, m *metrics, log *slog.Logger) error {
	r := &rollup{log: log, c: cfg.Bus, every: 2 * cfg.CommitEvery, m: m, batch: newBatch(proto.RollupNS, proto.RollupSubject)}
	err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.reader.Close()
	log.Info("rolling_up", "position", r.position, "commit", r.seq, "epoch", r.lane.Epoch().String())
	err = r.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open goes on after the last commit record, or begins anew if WEIR_LATENCY is
// no longer what the record is a position in.
func (r *rollup) open(ctx context.Context) error {
	var err error
	r.lane, err = r.c.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamRollup, Subject: proto.SubjectRollupCommit, Input: true})
	if err != nil {
		return err
	}
	input, err := r.c.StreamInfo(ctx, proto.StreamLatency)
	if err != nil {
		return err
	}
	r.committed = time.Now()
	r.seq, r.position, r.partitions = 0, 1, map[string]proto.NodeMark{}
	if last := r.lane.Last(); last != nil {
		record, err := proto.DecodeCommit(last.Data)
		if err != nil {
			return fmt.Errorf("%w: last commit record (sequence %d of %s): %w", bus.ErrStop, last.Sequence, proto.StreamRollup, err)
		}
		same, err := r.isSame(ctx, record, input)
		if err != nil {
			return err
		}
		if same {
			r.cluster, r.seq, r.position = record.Cluster, record.Seq, record.Position.Seq
			r.logNS, r.watermark, r.partitions = record.LogNS, record.WatermarkNS, record.Nodes
		} else {
			r.log.Warn("rolling_up_anew", "position", record.Position.Seq, "created", input.Created, "first_seq", input.FirstSeq, "last_seq", input.LastSeq)
		}
	}
	r.reader, err = r.read(ctx, r.position, input)
	return err
}

// isSame tells whether all that a record includes is still what the input has
// at those sequences, and nothing has left the input unread.
func (r *rollup) isSame(ctx context.Context, record *proto.Commit, input bus.StreamInfo) (bool, error) {
	next := record.Position.Seq
	if record.InputCreatedNS != input.Created.UnixNano() || next < input.FirstSeq || next > input.LastSeq+1 {
		return false, nil
	}
	if next == input.FirstSeq {
		return true, nil
	}
	// A server that lost the stream's end has stored other messages there since.
	reader, err := r.read(ctx, next-1, input)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	m, err := reader.Next(ctx)
	return m.Sequence > next-1 || m.Time.UnixNano() <= record.LogNS, err // above: it expired just now
}

func (r *rollup) read(ctx context.Context, from uint64, input bus.StreamInfo) (*bus.Reader, error) {
	reader, err := r.c.Read(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{proto.SubjectsLatency, proto.SubjectsCommit}, StartSeq: from, Foreign: true,
	})
	if err == nil && !reader.Created().Equal(input.Created) {
		reader.Close()
		err = bus.ErrRecreated
	}
	return reader, err
}

func (r *rollup) run(ctx context.Context) error {
	for {
		m, err := r.next(ctx)
		switch {
		case err == nil:
			err = r.take(ctx, &m)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = r.commit(ctx, false)
		}
		if err != nil {
			return err
		}
	}
}

// next reads a message, until it is time for a commit.
func (r *rollup) next(ctx context.Context) (bus.Message, error) {
	if !r.dirty {
		return r.reader.Next(ctx)
	}
	ctx, cancel := context.WithDeadline(ctx, r.committed.Add(r.every))
	defer cancel()
	return r.reader.Next(ctx)
}

func (r *rollup) take(ctx context.Context, m *bus.Message) error {
	r.position, r.logNS, r.dirty = m.Sequence+1, max(r.logNS, m.Time.UnixNano()), true
	r.m.rollupLag.Set(float64(r.reader.Lag()))
	due, idle := false, false
	var err error
	switch record := strings.HasPrefix(m.Subject, "weir.commit."); {
	case m.Foreign || record && !m.FromLane():
		r.m.foreign.Inc()
	case record:
		due, idle, err = r.takeRecord(m)
	default:
		err = r.takeLatency(m)
	}
	if err != nil {
		r.m.undecodable.Inc()
		r.log.Error("message_left_out", "stream", proto.StreamLatency, "sequence", m.Sequence, "error", err)
	}
	if due || idle || r.batch.full() {
		return r.commit(ctx, idle)
	}
	return nil
}

func (r *rollup) takeLatency(m *bus.Message) error {
	l, err := proto.DecodeLatency(m.Data)
	if err != nil {
		return err
	}
	r.batch.symbols.startFrame()
	for i := range l.Points {
		r.batch.addPoint(l, &l.Points[i])
	}
	return nil
}

// takeRecord reports whether a minute is complete now that was not at the last
// commit, and whether all partitions are idle.
func (r *rollup) takeRecord(m *bus.Message) (due, idle bool, err error) {
	c, err := proto.DecodeCommit(m.Data)
	if err != nil {
		return false, false, err
	}
	r.cluster = c.Cluster
	for _, l := range c.Loss {
		r.batch.addLoss(l)
	}
	partition := proto.PartitionToken(c.Partition)
	r.partitions[partition] = proto.NodeMark{
		Epoch: c.Epoch, EpochID: c.EpochID, Seq: c.Seq, Events: c.Events, WatermarkNS: c.WatermarkNS, SeenNS: m.Time.UnixNano(),
	}
	if c.Idle {
		delete(r.partitions, partition)
	}
	before := r.watermark
	idle = len(r.partitions) == 0
	least := c.WatermarkNS
	if !idle {
		least = 1<<63 - 1
	}
	for _, mark := range r.partitions {
		least = min(least, mark.WatermarkNS)
	}
	r.watermark = max(r.watermark, least)
	return floor(r.watermark-lateness, proto.RollupNS) > floor(before-lateness, proto.RollupNS), idle, nil
}

// commit stores the batch and how far WEIR_LATENCY was read. It returns
// bus.ErrRival if another aggregator committed.
func (r *rollup) commit(ctx context.Context, idle bool) error {
	parts, err := r.batch.encode(proto.Latency{Cluster: r.cluster, Commit: r.seq + 1, WatermarkNS: r.watermark})
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	epoch := r.lane.Epoch()
	data, err := proto.EncodeCommit(&proto.Commit{
		V: proto.LatencyVersion, Cluster: r.cluster, Epoch: epoch.Number, EpochID: epoch.ID, Seq: r.seq + 1,
		Position: proto.Position{Seq: r.position}, InputCreatedNS: r.reader.Created().UnixNano(), LogNS: r.logNS,
		WatermarkNS: r.watermark, Idle: idle, Messages: len(parts), Events: r.batch.events, Nodes: r.partitions, Loss: r.batch.losses,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	r.number++
	if _, err := r.lane.Commit(ctx, parts, data, r.number, r.position-1, int(r.batch.events)); err != nil {
		return fmt.Errorf("roll up, commit %d: %w", r.seq+1, err)
	}
	r.m.rollups.Inc()
	r.seq++
	r.batch.reset()
	r.dirty, r.committed = false, time.Now()
	return nil
}
