package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// journal collects what parts do, in order.
type journal struct {
	mu   sync.Mutex
	said []string
}

func (j *journal) say(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.said = append(j.said, what)
}

func (j *journal) part(name string, fail error) part {
	return part{name, func(ctx context.Context, ready func()) error {
		j.say("+" + name)
		if fail != nil {
			return fail
		}
		ready()
		<-ctx.Done()
		j.say("-" + name)
		return nil
	}}
}

func TestPartsStopInReverse(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	err := runParts(ctx, []part{j.part("a", nil), j.part("b", nil)}, cancel)
	if want := []string{"+a", "+b", "-b", "-a"}; err != nil || !slices.Equal(j.said, want) {
		t.Errorf("%v, error %v; want %v", j.said, err, want)
	}
}

func TestPartsStopWhenOneFails(t *testing.T) {
	var j journal
	broken := errors.New("broken")
	up := func() { t.Error("up was called") }
	err := runParts(t.Context(), []part{j.part("a", nil), j.part("b", broken), j.part("c", nil)}, up)
	if want := []string{"+a", "+b", "-a"}; fmt.Sprint(err) != "broken" || !slices.Equal(j.said, want) {
		t.Errorf("%v, error %v; want %v", j.said, err, want)
	}
}

func TestPartThatEndsIsAFailure(t *testing.T) {
	err := runParts(t.Context(), []part{{"a", func(_ context.Context, ready func()) error { ready(); return nil }}}, func() {})
	if fmt.Sprint(err) != "a ended by itself" {
		t.Errorf("error %v", err)
	}
}

func TestPartStoppedBeforeItWorks(t *testing.T) {
	broken := errors.New("broken")
	slow := part{"slow", func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return fmt.Errorf("connect: %w", ctx.Err())
	}}
	err := runParts(t.Context(), []part{slow, {"b", func(context.Context, func()) error { return broken }}}, func() {})
	if fmt.Sprint(err) != "broken" {
		t.Errorf("error %v", err)
	}
}
