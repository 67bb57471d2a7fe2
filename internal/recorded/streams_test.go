package recorded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

// All selectors of a query share the memory that one may take.
func TestMemoryOfQueries(t *testing.T) {
	c := bustest.Connect(t, bustest.Start(t).URL)
	bustest.Provision(t, c, 1, 1)
	lane, err := c.OpenLane(t.Context(), bus.LaneConfig{Stream: proto.StreamRecorded, Subject: proto.SubjectRecordedCommit, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	commits := uint64(0)
	commit := func(at time.Time, all ...Sample) {
		t.Helper()
		messages, err := Encode("group", at, 0, all)
		if err != nil {
			t.Fatal(err)
		}
		var parts []bus.Part
		for _, data := range messages {
			parts = append(parts, bus.Part{Subject: proto.RecordedSubject("group"), Data: data})
		}
		commits++
		if _, err := lane.Commit(t.Context(), parts, nil, commits, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	var all []Sample
	for n := range 20 {
		all = append(all, Sample{Rule: "a", F: 1, Labels: labels.FromStrings("__name__", "a", "n", fmt.Sprint(n))})
	}
	commit(time.Now(), all...)
	for n := range 500 {
		commit(time.Now().Add(time.Duration(n-500)*time.Second), Sample{Rule: "b", F: rand.Float64(), Labels: labels.FromStrings("__name__", "b")})
	}
	q, err := Streams{c}.Querier(0, time.Now().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	of := q.(*streamsQuerier)
	if err := q.Select(t.Context(), true, nil, name("a")).Err(); err != nil || of.left >= DefaultBytes {
		t.Fatalf("%v, %d bytes are left", err, of.left)
	}
	of.left = 3 * (DefaultBytes - of.left) / 2 // for one more, and half of another
	if err := q.Select(t.Context(), true, nil, name("a")).Err(); err != nil {
		t.Error(err)
	}
	if err := q.Select(t.Context(), true, nil, name("a")).Err(); !errors.Is(err, ErrFull) {
		t.Errorf("%d bytes are left: %v", of.left, err)
	}
	of.left = 2000 // for the series, but not for all samples of it
	if err := q.Select(t.Context(), true, nil, name("b")).Err(); !errors.Is(err, ErrFull) {
		t.Errorf("samples: %v", err)
	}
}
