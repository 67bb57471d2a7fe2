package shop

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/aggregator"
	"github.com/weirstream/weir/enricher"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
)

// Node is where the shop runs.
const Node = "shop-1"

// Config says where the shop publishes, and how much.
type Config struct {
	Bus    func(name string) (*bus.Conn, error) // a connection for each part
	Past   time.Duration                        // before now that there are requests of
	Rate   int                                  // requests a second
	Lost   uint64                               // exchanges a minute that are said to be lost
	Filled func()                               // called when the past is published
}

// Run provisions the streams and runs the pipeline until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	var conns []*bus.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for _, name := range []string{"agent", "enricher", "aggregator"} {
		c, err := cfg.Bus(name)
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	const mib = 1 << 20
	if err := conns[0].Provision(ctx, bus.Layout{RawBytes: 256 * mib, EnrichedBytes: 256 * mib, LatencyBytes: 256 * mib, RollupBytes: 256 * mib, HistoryBytes: 64 * mib}); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return enricher.Run(ctx, enricher.Config{Bus: conns[1], Holder: "shop"}, log) })
	g.Go(func() error { return aggregator.Run(ctx, aggregator.Config{Bus: conns[2], Holder: "shop"}, log) })
	g.Go(func() error {
		err := (&agent{bus: conns[0], cfg: cfg, traffic: newTraffic(1)}).run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	return g.Wait()
}

// agent publishes what an agent would have seen.
type agent struct {
	bus     *bus.Conn
	cfg     Config
	traffic *traffic
	lane    *bus.Lane
	seq     uint64
	before  uint64
}

func (a *agent) run(ctx context.Context) (err error) {
	if a.lane, err = a.bus.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamRaw, Subject: proto.RawSubject(0, Node), Direct: true}); err != nil {
		return err
	}
	// An hour second by second, and of what lies before a second in every minute.
	filled := false
	for at, began := time.Now().Add(-a.cfg.Past), time.Now(); ; {
		if ahead := time.Until(at); ahead > 0 {
			if !filled && a.cfg.Filled != nil {
				a.cfg.Filled()
			}
			filled = true
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
				return nil
			}
		}
		if err := a.publish(ctx, a.traffic.second(a.cfg.Rate, at), at); err != nil {
			return err
		}
		if began.Sub(at) > time.Hour {
			at = at.Add(time.Minute)
		} else {
			at = at.Add(time.Second)
		}
	}
}

func (a *agent) publish(ctx context.Context, events []proto.Event, watermark time.Time) error {
	a.seq++
	f := proto.Frame{
		Cluster: "test", Node: Node, Agent: status.Version(), Epoch: a.lane.Epoch(), Seq: a.seq, Before: a.before,
		WatermarkNS: watermark.UnixNano(), Events: events,
	}
	if a.cfg.Lost > 0 && watermark.Second() == 0 {
		f.Loss = []proto.Loss{{Node: Node, StartNS: watermark.UnixNano(), Reason: proto.LossRing, Unit: proto.UnitExchanges, Count: a.cfg.Lost}}
	}
	data, err := f.Append(nil)
	if err != nil {
		return fmt.Errorf("make frame %d: %w", a.seq, err)
	}
	a.before += uint64(len(events))
	_, err = a.lane.Publish(ctx, data, a.seq, 0, len(events))
	return err
}
