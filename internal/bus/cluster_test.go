package bus_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// In a cluster of three, each server is stopped in turn while messages and
// batches are published: none is lost or doubled, and the pause is short.
func TestClusterLosesAServer(t *testing.T) {
	if testing.Short() && os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("starts three servers")
	}
	cluster := bustest.StartCluster(t)
	var urls []string
	for _, s := range cluster {
		urls = append(urls, s.URL)
	}
	c := bustest.Connect(t, strings.Join(urls, ","))
	bustest.Provision(t, c, 1, 3)
	raw, commits := openLane(t, c, rawLane), openLane(t, c, commitLane)
	seq, worst := uint64(0), time.Duration(0)
	publishSome := func() {
		for range 60 {
			seq++
			began := time.Now()
			publish(t, raw, seq, 0)
			commit(t, commits, 3, seq)
			worst = max(worst, time.Since(began))
		}
	}
	publishSome()
	for _, s := range cluster {
		s.Stop()
		publishSome()
		s.Restart()
		bustest.Eventually(t, func() bool { return s.Healthy() }, "a server does not come back")
	}
	check := func(stream, subject string) {
		var got []bus.Message
		bustest.Eventually(t, func() bool { // each time a replica answers that may be behind
			got = stored(t, c, stream, subject)
			return len(got) >= int(seq)
		}, "not all of %s is there", subject)
		checkNumbers(t, got, int(seq))
	}
	check(proto.StreamRaw, proto.SubjectsRaw)
	check(proto.StreamLatency, proto.SubjectsCommit)
	for i := range 3 {
		check(proto.StreamLatency, proto.LatencySubject("host", fmt.Sprint("w", i)))
	}
	t.Logf("longest pause %v", worst)
}
