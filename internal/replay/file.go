package replay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// Format is how a file holds rows.
type Format int

const (
	NDJSON Format = iota
	Parquet
)

// FormatOf tells a file's format by its name.
func FormatOf(name string) (Format, error) {
	switch {
	case strings.HasSuffix(name, ".ndjson"), strings.HasSuffix(name, ".jsonl"):
		return NDJSON, nil
	case strings.HasSuffix(name, ".parquet"):
		return Parquet, nil
	}
	return 0, fmt.Errorf("%q ends in none of .ndjson, .jsonl and .parquet", name)
}

// What a row is.
const (
	kindEvents  = "events"
	kindLatency = "latency messages"
)

// FileError is a mistake in a file, and where it is.
type FileError struct {
	Name string
	Row  int64 // a line or a row, from 1; 0 if it is all of it
	Err  error
}

func (e *FileError) Error() string {
	if e.Row == 0 {
		return fmt.Sprintf("read %s: %s", e.Name, e.Err)
	}
	return fmt.Sprintf("read %s:%d: %s", e.Name, e.Row, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

var (
	errNotRows = errors.New("not of a file that `weir replay --write` made: it has no version (`weir observe` leaves out what a replay needs)")
	errCutOff  = errors.New("the file is cut off: the end is missing")
)

func checkVersion(v int32) error {
	switch {
	case v == 0:
		return errNotRows
	case v < 0 || v > rowVersion:
		return fmt.Errorf("version %d is not one this program reads, up to %d: update it", v, rowVersion)
	}
	return nil
}

// rows hands the rows of a file on as items: those of an interval only.
type rows struct {
	interval query.Interval
	play     func(*Item) error
	frames   frames
	messages messages
}

func newRows(interval query.Interval, play func(*Item) error) *rows {
	var id [8]byte
	rand.Read(id[:]) // never fails
	epoch := proto.Epoch{Number: uint64(time.Now().Unix()), ID: hex.EncodeToString(id[:])}
	played := func(i *Item) error {
		if err := play(i); err != nil {
			return playError{err}
		}
		return nil
	}
	return &rows{interval: interval, play: played, frames: frames{epoch: epoch, nodes: map[string]mark{}}}
}

func (r *rows) event(row *eventRow) error {
	if !r.interval.Contains(row.Time.UnixNano()) {
		return nil
	}
	return r.frames.add(row, r.play)
}

func (r *rows) latency(row *latencyRow) error {
	if !r.interval.Contains(row.Start.UnixNano()) {
		return nil
	}
	return r.messages.add(row, r.play)
}

func (r *rows) end() error {
	err := errors.Join(r.frames.flush(r.play), r.messages.flush(r.play))
	var played playError
	if errors.As(err, &played) {
		return played.error
	}
	return err
}

// File plays what a file holds of an interval, as rows of events or of latency
// messages: wantLatency says of which, and the other is an error. Windows are in
// the interval if their start is.
func File(name string, wantLatency bool, interval query.Interval) (Source, error) {
	format, err := FormatOf(name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, play func(*Item) error) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if format == Parquet {
			return readParquet(f, wantLatency, newRows(interval, play))
		}
		return readNDJSON(name, f, wantLatency, newRows(interval, play))
	}, nil
}

// Lines plays NDJSON from a pipe.
func Lines(name string, r io.Reader, wantLatency bool, interval query.Interval) Source {
	return func(ctx context.Context, play func(*Item) error) error {
		return readNDJSON(name, r, wantLatency, newRows(interval, play))
	}
}

// wrongKind says that a file holds what wasn't asked for.
func wrongKind(wantLatency bool) error {
	if wantLatency {
		return fmt.Errorf("it holds %s, not %s: count them with --recount", kindEvents, kindLatency)
	}
	return fmt.Errorf("it holds %s, not %s: read it with --latency", kindLatency, kindEvents)
}

// Create makes a file of rows, in the format of its name.
func Create(name string, latency bool) (Sink, error) {
	format, err := FormatOf(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	switch {
	case format == NDJSON:
		return newLines(f, f), nil
	case latency:
		return newParquet(f, newLatencyRows), nil
	}
	return newParquet(f, newEventRows), nil
}
