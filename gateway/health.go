package gateway

import (
	"context"
	"time"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/status"
)

// healthTime bounds the reading of ledger, stages and streams.
const healthTime = 10 * time.Second

type healthAnswer struct {
	about
	Nodes      []nodeHealth   `json:"nodes"`
	Delivered  uint64         `json:"delivered"`
	Duplicates uint64         `json:"duplicates"`
	Balanced   bool           `json:"balanced"`
	Partitions []stageHealth  `json:"partitions"`
	Streams    []streamHealth `json:"streams"`
	Gateway    gatewayHealth  `json:"gateway"`
}

type nodeHealth struct {
	Node      string `json:"node"`
	Version   string `json:"version"` // of its agent, "" if it doesn't say
	Partition uint32 `json:"partition"`
	Generated uint64 `json:"generated"`
	Delivered uint64 `json:"delivered"`
	InFlight  uint64 `json:"in_flight"`
	Lost      []lost `json:"lost"`
	Heard     int64  `json:"heard"` // unix milliseconds, 0 if it isn't known
}

type lost struct {
	Reason string `json:"reason"`
	Unit   string `json:"unit"`
	Count  uint64 `json:"count"`
}

func lostOf(of []query.Lost) []lost {
	out := []lost{} // not null
	for _, l := range of {
		out = append(out, lost{l.Reason, l.Unit, l.Count})
	}
	return out
}

// stageHealth is how far a partition is: frames that wait, and since when.
type stageHealth struct {
	Partition    uint32 `json:"partition"`
	Unenriched   uint64 `json:"unenriched"`
	UnenrichedAt int64  `json:"unenriched_at"`
	Uncounted    uint64 `json:"uncounted"`
	UncountedAt  int64  `json:"uncounted_at"`
}

type streamHealth struct {
	Stream       string  `json:"stream"`
	MaxAge       float64 `json:"max_age_s"`
	MaxBytes     int64   `json:"max_bytes"`
	BytesPerHour float64 `json:"bytes_per_hour"`
	Full         float64 `json:"full_after_s"` // 0 for never
	Short        bool    `json:"short"`        // it is full before its age
}

type gatewayHealth struct {
	Version    string        `json:"version"`
	NATS       string        `json:"nats"`
	Started    int64         `json:"started"`
	Viewers    int           `json:"viewers"`
	Followers  int           `json:"followers"`
	Series     int           `json:"series"`
	CacheBytes int           `json:"cache_bytes"`
	CacheLimit int           `json:"cache_limit"`
	Loaded     float64       `json:"loaded"` // share of the history that was read
	Levels     []levelHealth `json:"levels"`
}

type levelHealth struct {
	Step    float64 `json:"step_s"`
	Since   int64   `json:"since"` // whole from then on
	Windows int     `json:"windows"`
	Bytes   int     `json:"bytes"`
}

// health reads whether the numbers can be trusted.
func (g *gateway) health(ctx context.Context, i query.Interval) (*healthAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	a := &healthAnswer{Gateway: g.self()}
	if err := g.history.Show(ctx, i, func(s *history.Span) { a.about = aboutOf(s) }); err != nil {
		return nil, err
	}
	ledger, err := query.ReadLedger(ctx, g.bus, i)
	if err != nil {
		return nil, slow(err, "the ledger", healthTime)
	}
	a.Delivered, a.Duplicates, a.Balanced = ledger.Delivered, ledger.Duplicates, ledger.Balanced()
	stages, err := query.ReadStages(ctx, g.bus)
	if err != nil {
		return nil, slow(err, "the stages", healthTime)
	}
	versions := map[string]string{}
	for _, s := range stages {
		a.Partitions = append(a.Partitions, stageHealth{
			Partition:  s.Partition,
			Unenriched: s.RawLast - min(s.RawLast, s.RawEnriched), UnenrichedAt: millis(s.Unenriched),
			Uncounted: s.EnrichedLast - min(s.EnrichedLast, s.Counted), UncountedAt: millis(s.Uncounted),
		})
		for node, agent := range s.Agents {
			versions[node] = agent.Version
		}
	}
	for _, n := range ledger.Accounts {
		a.Nodes = append(a.Nodes, nodeHealth{
			Node: n.Node, Version: versions[n.Node], Partition: n.Partition, Generated: n.Generated, Delivered: n.Delivered,
			InFlight: n.InFlight, Lost: lostOf(n.Lost), Heard: millis(n.Heard),
		})
	}
	streams, err := query.ReadRetention(ctx, g.bus, time.Now())
	if err != nil {
		return nil, slow(err, "the streams", healthTime)
	}
	for _, s := range streams {
		a.Streams = append(a.Streams, streamHealth{
			Stream: s.Stream, MaxAge: s.MaxAge.Seconds(), MaxBytes: s.MaxBytes, BytesPerHour: s.BytesPerHour,
			Full: s.Full().Seconds(), Short: s.Short(),
		})
	}
	return a, nil
}

// self is what the gateway says of itself.
func (g *gateway) self() gatewayHealth {
	s := g.history.State()
	h := gatewayHealth{
		Version: status.Version(), NATS: g.bus.ServerVersion(), Started: millis(g.started), Viewers: int(g.viewers.Load()),
		Followers: g.tap.count(), Series: s.Series, CacheBytes: s.Bytes, CacheLimit: s.Limit, Loaded: s.Loaded,
	}
	for _, l := range s.Levels {
		h.Levels = append(h.Levels, levelHealth{Step: l.Step.Seconds(), Since: l.Since / 1e6, Windows: l.Windows, Bytes: l.Bytes})
	}
	return h
}

// live is what every viewer is told after each commit, and every few seconds.
type live struct {
	Now       int64   `json:"now"`
	Change    uint64  `json:"change"`    // another number: there is something new
	Complete  int64   `json:"complete"`  // everything that ended before it is counted
	Idle      bool    `json:"idle"`      // there is nothing to count
	Known     bool    `json:"known"`     // something was counted ever
	Stored    int64   `json:"stored"`    // when the newest message was
	Connected bool    `json:"connected"` // to NATS
	Problem   string  `json:"problem"`   // why nothing can be read
	Loaded    float64 `json:"loaded"`
	Since     int64   `json:"since"` // history goes back to here
	Lost      []lost  `json:"lost"`  // in the last 15 minutes
	LostCount uint64  `json:"lost_count"`

	Alerts *liveAlerts `json:"alerts"` // null if no alerter has said anything of late
}

const lossSpan = 15 * time.Minute

func (g *gateway) live() live {
	now, s := time.Now(), g.history.State()
	l := live{
		Now: now.UnixMilli(), Change: g.change(), Complete: s.Complete / 1e6, Idle: s.Idle, Known: !s.Newest.IsZero(), Stored: millis(s.Newest),
		Connected: g.bus.Connected(), Problem: s.Problem, Loaded: s.Loaded, Since: s.Since / 1e6, Lost: []lost{},
		Alerts: g.alerts.live(now),
	}
	for _, of := range g.history.LostSince(now.Add(-lossSpan)) {
		l.Lost = append(l.Lost, lost{of.Reason, of.Unit, of.Count})
		l.LostCount += of.Count
	}
	return l
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
