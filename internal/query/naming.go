package query

import (
	"context"
	"fmt"
	"time"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

// maxNamingFrames bounds what [ReadNaming] reads: in a large cluster that is a
// sample.
const maxNamingFrames = 512

// Naming is how the ends of events were named.
type Naming struct {
	Events     int
	Unresolved int // of which an end could not be named in time
	Stale      int // named by what was known, while the Kubernetes API was away
}

// ReadNaming reads it from the enriched frames stored since a time.
func ReadNaming(ctx context.Context, c *bus.Conn, since time.Time) (Naming, error) {
	var n Naming
	var frame proto.Frame
	frames := 0
	for m, err := range c.Messages(ctx, bus.ReadConfig{Stream: proto.StreamEnriched, Subjects: []string{proto.SubjectsEnriched}, StartTime: since, StopAtEnd: true}) {
		if err != nil {
			return n, err
		}
		if err := frame.Decode(m.Data); err != nil {
			return n, fmt.Errorf("read message %d of %s: %w", m.Sequence, proto.StreamEnriched, err)
		}
		n.Events += len(frame.Events)
		for i := range frame.Events {
			if frame.Events[i].Flags&proto.FlagUnresolved != 0 {
				n.Unresolved++
			}
			if frame.Events[i].Flags&proto.FlagStale != 0 {
				n.Stale++
			}
		}
		if frames++; frames == maxNamingFrames {
			break
		}
	}
	return n, nil
}
