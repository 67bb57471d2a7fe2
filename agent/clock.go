package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clock turns boot time, which never steps, into wall clock. The offset is
// measured anew all the time, since the wall clock is set and slewed.
type clock struct {
	offset int64 // wall − boot, nanoseconds
}

func bootTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Every kernel that runs BPF has this clock.
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err))
	}
	return ts.Nano()
}

// measure takes the reading in which the two clocks were read closest
// together, so that being preempted between them does no harm.
func (c *clock) measure() {
	best := int64(1 << 62)
	for range 3 {
		before := bootTime()
		wall := time.Now().UnixNano()
		after := bootTime()
		if after-before < best {
			best = after - before
			c.offset = wall - (before + best/2)
		}
	}
}

func (c *clock) wall(boot int64) int64 { return boot + c.offset }
