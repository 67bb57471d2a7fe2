package main

import (
	"context"
	"errors"
	"fmt"
)

// part is one service of a process. run blocks until ctx ends or it fails, and
// calls ready once when it works.
type part struct {
	name string
	run  func(ctx context.Context, ready func()) error
}

// running is a part that was started.
type running struct {
	stop context.CancelFunc
	done chan error
}

// runParts starts parts one after the other, each when the one before works,
// and calls up when all do. When ctx ends or a part does, they are stopped in
// the reverse order, each waited for: a part that writes comes after, and so
// is stopped before, those that read what it wrote.
func runParts(ctx context.Context, parts []part, up func()) error {
	ended := make(chan error, len(parts))
	var started []running
	err := func() error {
		for _, p := range parts {
			ready := make(chan struct{})
			started = append(started, start(ctx, p, func() { close(ready) }, ended))
			select {
			case <-ready:
			case err := <-ended:
				return err
			case <-ctx.Done():
				return nil
			}
		}
		up()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}()
	for i := len(started) - 1; i >= 0; i-- {
		started[i].stop()
		stopped := <-started[i].done
		if err == nil || !errors.Is(err, stopped) {
			err = errors.Join(err, stopped)
		}
	}
	return err
}

func start(ctx context.Context, p part, ready func(), ended chan<- error) running {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := running{stop: stop, done: make(chan error, 1)}
	go func() { // runParts waits for done
		err := p.run(ctx, ready)
		switch {
		case ctx.Err() == nil: // it wasn't asked to end
			if err == nil {
				err = fmt.Errorf("%s ended by itself", p.name)
			}
			ended <- err
		case errors.Is(err, context.Canceled):
			err = nil // it was asked to end before it worked
		}
		r.done <- err
	}()
	return r
}
