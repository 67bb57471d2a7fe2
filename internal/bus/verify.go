package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

// Verify reads the configuration of the streams and says which of them are
// missing or promise something else than [Conn.Provision] would have made. It
// changes nothing. How many partitions and replicas there are is taken from
// WEIR_RAW.
func (c *Conn) Verify(ctx context.Context) error {
	partitions, err := c.Partitions(ctx)
	if err != nil {
		return err
	}
	raw, err := c.streamConfig(ctx, proto.StreamRaw)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", proto.StreamRaw, err)
	}
	layout, err := Layout{Partitions: partitions, Replicas: raw.Replicas}.withDefaults()
	if err != nil {
		return err
	}
	var wrong []error
	for _, want := range layout.streams() {
		have, err := c.streamConfig(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = ErrNoStream
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("stream %s: %w", want.Name, err))
		} else if diffs := differences(want, have); len(diffs) > 0 {
			wrong = append(wrong, fmt.Errorf("stream %s: %s", want.Name, strings.Join(diffs, ", ")))
		}
	}
	return errors.Join(wrong...)
}
