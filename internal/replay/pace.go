package replay

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Speed is how many times faster than recorded items are played; 0 is as fast
// as can be.
type Speed float64

const (
	minSpeed = 0.01
	maxSpeed = 10_000
)

// ParseSpeed reads 1x, 10x, 0.5x or max.
func ParseSpeed(text string) (Speed, error) {
	if text == "max" {
		return 0, nil
	}
	factor, isFactor := strings.CutSuffix(text, "x")
	s, err := strconv.ParseFloat(factor, 64)
	if !isFactor || err != nil {
		return 0, fmt.Errorf("%q is neither a factor such as 1x, 10x or 0.5x, nor max", text)
	}
	if !(s >= minSpeed && s <= maxSpeed) {
		return 0, fmt.Errorf("%q is not between %gx and %dx; max is as fast as can be", text, minSpeed, maxSpeed)
	}
	return Speed(s), nil
}

// pacer holds items back until it is their time.
type pacer struct {
	speed Speed
	first time.Time // when the first item was stored
	began time.Time // when it was played
}

// wait returns when an item stored at a time is due. Items without a time, and
// those stored before the first, are due at once.
func (p *pacer) wait(ctx context.Context, at time.Time) error {
	if err := ctx.Err(); err != nil || p.speed == 0 || at.IsZero() {
		return err
	}
	if p.first.IsZero() {
		p.first, p.began = at, time.Now()
	}
	due := p.began.Add(time.Duration(float64(at.Sub(p.first)) / float64(p.speed)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
