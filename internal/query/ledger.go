package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// beat is how long a partition may be without a commit record while it works;
// the record before an interval is at most this much older.
const beat = 2 * time.Minute

// Account is a node's exchanges in an interval: what was seen by its agent, and
// what became of it. Generated = Delivered + InFlight + the exchanges in Lost.
type Account struct {
	Node      string
	Partition uint32
	Generated uint64 // exchanges that are known to have happened
	Delivered uint64 // counted in WEIR_LATENCY
	InFlight  uint64 // published, not counted yet
	Lost      []Lost
	Heard     time.Time // newest raw frame; zero if none is kept
}

// Lost is loss of one reason and unit: exchanges, or kernel records, each of
// which may have been part of an exchange.
type Lost struct {
	Reason string
	Unit   string
	Count  uint64
}

// Ledger is the accounts of all nodes. Its interval is in the log's time: when
// things were counted, not when they happened.
type Ledger struct {
	Interval   Interval
	Accounts   []*Account
	Delivered  uint64 // as the commit records say; the sum of the accounts'
	Duplicates uint64 // events that arrived again and were skipped
}

// Balanced reports whether the two ways to count what was delivered, by frame
// numbers and by what went into histograms, agree.
func (l *Ledger) Balanced() bool {
	var sum uint64
	for _, a := range l.Accounts {
		sum += a.Delivered
	}
	return sum == l.Delivered
}

// Sum is the loss of a unit.
func (a *Account) Sum(unit string) uint64 {
	var n uint64
	for _, l := range a.Lost {
		if l.Unit == unit {
			n += l.Count
		}
	}
	return n
}

// ReadLedger reads the accounts of an interval of log time from the commit
// records, and what is on its way from the newest raw frames.
func ReadLedger(ctx context.Context, c *bus.Conn, i Interval) (*Ledger, error) {
	k := keeper{
		ledger:   &Ledger{Interval: i},
		accounts: map[string]*Account{},
		lost:     map[string]map[[2]string]uint64{},
		marks:    map[string]proto.NodeMark{},
		begun:    map[uint32]bool{},
	}
	if err := k.readCommits(ctx, c); err != nil {
		return nil, err
	}
	if i.ToNS >= time.Now().Add(-beat).UnixNano() {
		if err := k.readRaw(ctx, c); err != nil {
			return nil, err
		}
	}
	return k.close(), nil
}

// keeper adds up the commit records.
type keeper struct {
	ledger   *Ledger
	accounts map[string]*Account
	lost     map[string]map[[2]string]uint64 // node → reason and unit → count
	marks    map[string]proto.NodeMark       // node → last frame counted so far
	begun    map[uint32]bool                 // partitions whose record before the interval is known
}

func (k *keeper) readCommits(ctx context.Context, c *bus.Conn) error {
	for m, err := range c.Messages(ctx, bus.ReadConfig{
		Stream: proto.StreamLatency, Subjects: []string{proto.SubjectsCommit},
		StartTime: k.ledger.Interval.From().Add(-beat), StopAtEnd: true,
	}) {
		if err != nil {
			return err
		}
		commit, err := proto.DecodeCommit(m.Data)
		if err != nil {
			return fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamLatency, err)
		}
		if m.Time.UnixNano() >= k.ledger.Interval.ToNS {
			return nil
		}
		k.add(commit, k.ledger.Interval.Contains(m.Time.UnixNano()))
	}
	return nil
}

// add takes a record in. What nodes had published before is only known from
// the record before, so the first one of a partition counts for nothing but that.
func (k *keeper) add(c *proto.Commit, inside bool) {
	inside = inside && (k.begun[c.Partition] || c.Seq == 1)
	k.begun[c.Partition] = true
	var published, expired uint64
	var restarted []string // nodes whose agent began a new epoch
	for node, mark := range c.Nodes {
		before, known := k.marks[node]
		k.marks[node] = mark
		n := mark.Events
		if known && before.Epoch == mark.Epoch {
			n -= before.Events
		} else {
			restarted = append(restarted, node)
		}
		if inside {
			k.account(node, c.Partition).Generated += n
			published += n
		}
	}
	if !inside {
		return
	}
	for _, l := range c.Loss {
		if l.Reason == proto.LossExpired && l.Unit == proto.UnitExchanges {
			expired += l.Count
		}
		k.lose(l, c.Partition)
	}
	k.ledger.Delivered += c.Events
	k.ledger.Duplicates += c.Duplicates
	// The record marks only a node's newest epoch: what it counted of the one
	// before belongs to the node that restarted, if that was one.
	if counted := c.Events + expired; counted > published && len(restarted) == 1 {
		k.account(restarted[0], c.Partition).Generated += counted - published
	}
}

func (k *keeper) lose(l proto.Loss, partition uint32) {
	k.account(l.Node, partition)
	if k.lost[l.Node] == nil {
		k.lost[l.Node] = map[[2]string]uint64{}
	}
	k.lost[l.Node][[2]string{l.Reason, l.Unit}] += l.Count
}

func (k *keeper) account(node string, partition uint32) *Account {
	a := k.accounts[node]
	if a == nil {
		a = &Account{Node: node, Partition: partition}
		k.accounts[node] = a
	}
	return a
}

// readRaw finds what was published after the last frame counted.
func (k *keeper) readRaw(ctx context.Context, c *bus.Conn) error {
	last, err := c.LastMessages(ctx, proto.StreamRaw, proto.SubjectsRaw)
	if err != nil {
		return fmt.Errorf("read newest raw frames: %w", err)
	}
	for _, m := range last {
		var frame proto.Frame
		count, err := frame.DecodeHeader(m.Data)
		if err != nil || !ofLane(&m, frame.Node) {
			continue // the enricher leaves it out, too
		}
		a := k.account(frame.Node, frame.Partition)
		a.Heard = m.Time
		published := frame.Before + uint64(count)
		mark := k.marks[frame.Node]
		switch {
		case mark.Epoch == frame.Epoch.Number && published > mark.Events:
			a.InFlight = published - mark.Events
		case mark.Epoch < frame.Epoch.Number:
			a.InFlight = published
		}
	}
	return nil
}

// close works out what was delivered: what was published, but for what expired
// before it was read. What the agent itself lost was never published.
func (k *keeper) close() *Ledger {
	for node, a := range k.accounts {
		a.Delivered = a.Generated
		for key, count := range k.lost[node] {
			l := Lost{Reason: key[0], Unit: key[1], Count: count}
			a.Lost = append(a.Lost, l)
			switch {
			case l.Unit != proto.UnitExchanges:
			case l.Reason == proto.LossExpired:
				a.Delivered -= min(count, a.Delivered)
			default:
				a.Generated += count
			}
		}
		slices.SortFunc(a.Lost, func(a, b Lost) int {
			return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Unit, b.Unit))
		})
		a.Generated += a.InFlight
	}
	k.ledger.Accounts = slices.SortedFunc(maps.Values(k.accounts), func(a, b *Account) int { return cmp.Compare(a.Node, b.Node) })
	return k.ledger
}
