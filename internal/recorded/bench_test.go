package recorded

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// BenchmarkJoin is a follower that starts when the stream holds a day of 400
// series, recorded twice a minute by 40 groups as Sloth writes them: ratios of
// whole numbers.
func BenchmarkJoin(b *testing.B) {
	server := bustest.Start(b)
	c := bustest.Connect(b, server.URL)
	bustest.Provision(b, c, 1, 1)
	lane, err := c.OpenLane(b.Context(), bus.LaneConfig{Stream: proto.StreamRecorded, Subject: proto.SubjectRecordedCommit, Input: true})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().Truncate(30 * time.Second)
	seq, samples := uint64(0), 0
	for at := now.Add(-24 * time.Hour); at.Before(now); at = at.Add(30 * time.Second) {
		var parts []bus.Part
		for g := range 40 {
			var all []Sample
			for n, window := range []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d", "x", "y"} {
				rule := "slo:sli_error:ratio_rate" + window
				all = append(all, Sample{Rule: rule, F: float64(rand.N(100)) / float64(1000+rand.N(9000)), Labels: labels.FromStrings(
					"__name__", rule, "sloth_id", fmt.Sprint("shop-requests-availability-", g), "sloth_service", fmt.Sprint("shop-", g),
					"sloth_slo", "requests-availability", "sloth_window", window, "n", fmt.Sprint(n))})
			}
			samples += len(all)
			group := fmt.Sprint("shop.yaml;sloth-slo-sli-recordings-shop-requests-availability-", g)
			messages, err := Encode(group, at, 0, all)
			if err != nil {
				b.Fatal(err)
			}
			parts = append(parts, bus.Part{Subject: proto.RecordedSubject(group), Data: messages[0]})
		}
		seq++
		if _, err := lane.Commit(b.Context(), parts, nil, seq, 0, len(parts)); err != nil {
			b.Fatal(err)
		}
	}
	info, err := c.StreamInfo(b.Context(), proto.StreamRecorded)
	if err != nil {
		b.Fatal(err)
	}
	var state State
	for b.Loop() {
		f := NewFollower(c, DefaultBytes, slog.New(slog.DiscardHandler))
		err := Read(b.Context(), c, ReadConfig{}, func(_ *bus.Message, r *proto.Recorded, all []Sample, err error) bool {
			for i := range all {
				if _, err := f.Add(all[i].Labels, r.TimeNS/1e6, all[i].F, all[i].H); err != nil {
					b.Fatal(err)
				}
			}
			return err == nil
		})
		if err != nil {
			b.Fatal(err)
		}
		state = f.State()
	}
	b.ReportMetric(float64(info.Bytes)/float64(samples), "stream-B/sample")
	b.ReportMetric(float64(state.Bytes)/float64(samples), "memory-B/sample")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(samples), "ns/sample")
}
