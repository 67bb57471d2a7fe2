package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line: more than a point's strings and buckets need.
const maxLine = 1 << 20

// lines is a sink that writes an object a line.
type lines struct {
	w         *bufio.Writer
	json      *json.Encoder
	closer    io.Closer // nil: isn't ours
	events    []eventRow
	latencies []latencyRow
}

func newLines(w io.Writer, closer io.Closer) *lines {
	l := &lines{w: bufio.NewWriterSize(w, 64<<10), closer: closer}
	l.json = json.NewEncoder(l.w)
	l.json.SetEscapeHTML(false)
	return l
}

// Output is a sink that writes NDJSON to a pipe or a terminal.
func Output(w io.Writer) Sink { return newLines(w, nil) }

func (l *lines) Write(_ context.Context, i *Item) error {
	l.events, l.latencies = l.events[:0], l.latencies[:0]
	if i.Frame != nil {
		l.events = newEventRows(l.events, i)
	} else {
		l.latencies = newLatencyRows(l.latencies, i)
	}
	for k := range l.events {
		if err := l.json.Encode(&l.events[k]); err != nil {
			return err
		}
	}
	for k := range l.latencies {
		if err := l.json.Encode(&l.latencies[k]); err != nil {
			return err
		}
	}
	if l.closer == nil {
		return l.w.Flush() // somebody may be looking
	}
	return nil
}

func (l *lines) Close(context.Context) error {
	err := l.w.Flush()
	if l.closer != nil {
		err = errors.Join(err, l.closer.Close())
	}
	return err
}

// probe is what tells rows of the two kinds apart.
type probe struct {
	V      int32   `json:"v"`
	Metric *string `json:"metric"`
}

func (p *probe) kind() string {
	if p.Metric != nil {
		return kindLatency
	}
	return kindEvents
}

func readNDJSON(name string, r io.Reader, wantLatency bool, to *rows) error {
	var number int64
	err := eachLine(r, func(line []byte) error {
		number++
		var p probe
		if err := json.Unmarshal(line, &p); err != nil {
			return lineError(err, line)
		}
		if err := checkVersion(p.V); err != nil {
			return err
		}
		if (p.kind() == kindLatency) != wantLatency {
			return wrongKind(wantLatency)
		}
		if wantLatency {
			var row latencyRow
			if err := json.Unmarshal(line, &row); err != nil {
				return lineError(err, line)
			}
			return to.latency(&row)
		}
		var row eventRow
		if err := json.Unmarshal(line, &row); err != nil {
			return lineError(err, line)
		}
		return to.event(&row)
	})
	var played playError
	switch {
	case errors.As(err, &played):
		return played.error
	case err != nil:
		return &FileError{name, max(number, 1), err}
	}
	return to.end()
}

// lineError says what is wrong with a line: most often it is the last, of a
// file whose writing was interrupted.
func lineError(err error, line []byte) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		if syntax.Error() == "unexpected end of JSON input" { // which has no error of its own
			return errCutOff
		}
		return fmt.Errorf("column %d: %w", syntax.Offset, err)
	}
	return err
}

// eachLine calls take for every line that isn't empty.
func eachLine(r io.Reader, take func([]byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	for s.Scan() {
		if line := bytes.TrimSpace(s.Bytes()); len(line) > 0 {
			if err := take(line); err != nil {
				return err
			}
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("the line after this is longer than %d bytes", maxLine)
	}
	return s.Err()
}
