package aggregator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// rollup sums a stream by a longer interval: WEIR_LATENCY into minutes, and those
// into half hours. Like a partition it commits deltas together with how far it
// has read, and has no other state. There is one for all partitions: it reads
// histograms, not events.
type rollup struct {
	proto.Rollup
	inputs []string // subjects of the deltas it reads, and of their commit records
	log    *slog.Logger
	c      *bus.Conn
	every  time.Duration // between commits, at most
	m      *metrics
	lane   *bus.Lane
	reader *bus.Reader
	batch  *batch
	number uint64 // of the last commit within the lane's epoch

	cluster    string
	seq        uint64         // of the last commit; the first is one that begins anew
	stored     uint64         // stream sequence of the last commit's record
	anewAfter  uint64         // that of the last that counts no longer
	position   proto.Position // the next message to read, and how many of its batch are counted
	logNS      int64          // newest timestamp of a message counted
	watermark  int64
	since      int64                     // before it windows lack what had left the input when this began
	partitions map[string]proto.NodeMark // the newest commit of each that is not idle
	held       []held                    // minutes whose commit record is still to come
	dirty      bool                      // something was counted since the last commit
	committed  time.Time
}

// held is a message of minutes: it depends on its batch's record, the last of
// it, whether what comes before still counts.
type held struct {
	sequence uint64
	latency  *proto.Latency
}

// rollUp goes on after the last commit record until ctx ends or it fails.
func rollUp(ctx context.Context, cfg Config, m *metrics, log *slog.Logger, what proto.Rollup) error {
	r := &rollup{
		Rollup: what, inputs: []string{proto.SubjectsLatency, proto.SubjectsCommit}, log: log, c: cfg.Bus, m: m,
		every: 2 * cfg.CommitEvery, batch: newBatch(what.StepNS, what.Subject),
	}
	if what == proto.HalfHours {
		r.inputs, r.every = []string{proto.Minutes.Subjects, proto.Minutes.Commit}, 60*cfg.CommitEvery
	}
	err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.reader.Close()
	log.Info("rolling_up", "stream", r.Stream, "position", r.position.Seq, "commit", r.seq, "epoch", r.lane.Epoch().String())
	err = r.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open goes on after the last commit record, or begins anew if the input is no
// longer what the record is a position in.
func (r *rollup) open(ctx context.Context) error {
	var err error
	r.lane, err = r.c.OpenLane(ctx, bus.LaneConfig{Stream: r.Stream, Subject: r.Commit, Input: true})
	if err != nil {
		return err
	}
	input, err := r.c.StreamInfo(ctx, r.Input)
	if err != nil {
		return err
	}
	last := r.lane.Last()
	r.committed = input.FirstTime
	if last != nil {
		r.committed, r.stored = last.Time, last.Sequence
	}
	r.beginAnew()
	r.position, r.since = proto.Position{Seq: 1}, input.Oldest()
	if last != nil {
		record, err := proto.DecodeCommit(last.Data)
		if err != nil {
			return fmt.Errorf("%w: last commit record (sequence %d of %s): %w", bus.ErrStop, last.Sequence, r.Stream, err)
		}
		same, err := r.isSame(ctx, record, input)
		if err != nil {
			return err
		}
		if same {
			r.cluster, r.seq, r.position = record.Cluster, record.Seq, record.Position
			r.anewAfter, r.since = record.AnewAfter, record.SinceNS
			r.logNS, r.watermark, r.partitions = record.LogNS, record.WatermarkNS, record.Nodes
		} else {
			r.log.Warn("rolling_up_anew", "stream", r.Stream, "position", record.Position.Seq, "created", input.Created, "first_seq", input.FirstSeq, "last_seq", input.LastSeq)
		}
	}
	r.reader, err = r.read(ctx, r.position.Seq, input)
	return err
}

// beginAnew forgets what was counted: it comes again.
func (r *rollup) beginAnew() {
	r.seq, r.anewAfter, r.since, r.watermark, r.partitions = 0, r.stored, 0, 0, map[string]proto.NodeMark{}
	r.batch.reset()
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
	reader, err := r.c.Read(ctx, bus.ReadConfig{Stream: r.Input, Subjects: r.inputs, StartSeq: from, Foreign: true})
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
	r.m.rollupLag.WithLabelValues(r.Stream).Set(float64(r.reader.Lag()))
	record := !strings.HasPrefix(m.Subject, strings.TrimSuffix(r.inputs[0], ">"))
	if m.Foreign || record && !m.FromLane() {
		r.m.foreign.Inc()
		if len(r.held) == 0 {
			r.passed(m)
		}
		return nil
	}
	var l *proto.Latency
	var c *proto.Commit
	var err error
	if record {
		c, err = proto.DecodeCommit(m.Data)
	} else {
		l, err = proto.DecodeLatency(m.Data)
	}
	if err != nil {
		r.m.undecodable.Inc()
		r.log.Error("message_left_out", "stream", r.Input, "sequence", m.Sequence, "error", err)
		l, c = new(proto.Latency), nil
	}
	if r.Rollup == proto.HalfHours {
		if !record {
			r.held = append(r.held, held{m.Sequence, l})
			return nil
		}
		return r.takeBatch(ctx, m, cmp.Or(c, new(proto.Commit)))
	}
	r.passed(m)
	due, idle := false, false
	switch {
	case !record:
		r.add(l)
	case c != nil:
		due, idle = r.takeRecord(m, c)
	}
	if due || idle || r.batch.full() {
		return r.commit(ctx, idle)
	}
	return nil
}

// passed says that a message is counted.
func (r *rollup) passed(m *bus.Message) {
	r.position, r.logNS, r.dirty = proto.Position{Seq: m.Sequence + 1}, max(r.logNS, m.Time.UnixNano()), true
}

func (r *rollup) add(l *proto.Latency) {
	r.batch.symbols.startFrame()
	for i := range l.Points {
		r.batch.addPoint(l, &l.Points[i])
	}
}

// takeBatch takes a whole batch of minutes. It commits when half an hour is
// complete, or what it has is full.
func (r *rollup) takeBatch(ctx context.Context, m *bus.Message, c *proto.Commit) error {
	if c.Seq == 1 && r.position.Index == 0 {
		if r.seq > 0 {
			r.log.Warn("rolling_up_anew", "stream", r.Stream, "position", r.position.Seq, "reason", r.Input+" began anew")
		}
		r.beginAnew()
		if len(r.held) < c.Messages { // the rest has left the input
			r.since = bus.StreamInfo{FirstSeq: m.Sequence, FirstTime: m.Time}.Oldest()
		}
	}
	for _, h := range r.held {
		r.add(h.latency)
		index := r.position.Index + 1
		r.passed(m)
		r.position = proto.Position{Seq: h.sequence + 1, Index: index}
		if r.batch.full() {
			if err := r.commit(ctx, false); err != nil {
				return err
			}
		}
	}
	r.passed(m)
	r.held, r.cluster, r.since = nil, cmp.Or(c.Cluster, r.cluster), max(r.since, c.SinceNS)
	for _, l := range c.Loss {
		r.batch.addLoss(l)
	}
	if r.advance(c.WatermarkNS) || r.batch.full() {
		return r.commit(ctx, false)
	}
	return nil
}

// takeRecord reports whether a minute is complete now that was not at the last
// commit, and whether all partitions are idle.
func (r *rollup) takeRecord(m *bus.Message, c *proto.Commit) (due, idle bool) {
	r.cluster = cmp.Or(c.Cluster, r.cluster)
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
	idle = len(r.partitions) == 0
	least := c.WatermarkNS
	if !idle {
		least = 1<<63 - 1
	}
	for _, mark := range r.partitions {
		least = min(least, mark.WatermarkNS)
	}
	return r.advance(least), idle
}

// advance reports whether an interval is complete now that was not before.
func (r *rollup) advance(watermark int64) bool {
	before := r.watermark
	r.watermark = max(before, watermark)
	return floor(r.watermark-lateness, r.StepNS) > floor(before-lateness, r.StepNS)
}

// commit stores the batch and how far the input was read. It returns
// bus.ErrRival if another aggregator committed.
func (r *rollup) commit(ctx context.Context, idle bool) error {
	parts, err := r.batch.encode(proto.Latency{Cluster: r.cluster, Commit: r.seq + 1, WatermarkNS: r.watermark})
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	epoch := r.lane.Epoch()
	data, err := proto.EncodeCommit(&proto.Commit{
		V: proto.LatencyVersion, Cluster: r.cluster, Epoch: epoch.Number, EpochID: epoch.ID, Seq: r.seq + 1,
		Position: r.position, InputCreatedNS: r.reader.Created().UnixNano(), LogNS: r.logNS, AnewAfter: r.anewAfter, SinceNS: r.since,
		WatermarkNS: r.watermark, Idle: idle, Messages: len(parts), Events: r.batch.events, Nodes: r.partitions, Loss: r.batch.losses,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrStop, err)
	}
	r.number++
	if r.stored, err = r.lane.Commit(ctx, parts, data, r.number, r.position.Seq-1, int(r.batch.events)); err != nil {
		return fmt.Errorf("roll up into %s, commit %d: %w", r.Stream, r.seq+1, err)
	}
	r.m.rollups.WithLabelValues(r.Stream).Inc()
	r.seq++
	r.batch.reset()
	r.dirty, r.committed = false, time.Now()
	return nil
}
