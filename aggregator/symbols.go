package aggregator

import (
	"strings"
	"unsafe"
)

const (
	placeSlots = 1024
	maxSymbols = 1 << 16 // kept from batch to batch
)

// symbols numbers strings, so that a series' key is a few numbers. The empty
// string is 0.
//
// A string of a frame is at one place in memory, however many events have it:
// where it is tells its number, so that each is looked up once a frame.
type symbols struct {
	numbers map[string]uint32
	names   []string
	places  [placeSlots]place
}

type place struct {
	at     uintptr
	length int
	number uint32
}

func newSymbols() *symbols {
	return &symbols{numbers: make(map[string]uint32), names: []string{""}}
}

// startFrame forgets where strings are: other strings may be there next.
func (t *symbols) startFrame() { clear(t.places[:]) }

// reset forgets all numbers if there are too many.
func (t *symbols) reset() {
	if len(t.names) > maxSymbols {
		clear(t.numbers)
		t.names = append(t.names[:0], "")
		t.startFrame()
	}
}

func (t *symbols) number(s string) uint32 {
	if s == "" {
		return 0
	}
	at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
	p := &t.places[(at^at>>10)%placeSlots]
	if p.at != at || p.length != len(s) {
		*p = place{at, len(s), t.lookup(s)}
	}
	return p.number
}

func (t *symbols) lookup(s string) uint32 {
	n, ok := t.numbers[s]
	if !ok {
		n = uint32(len(t.names))
		s = strings.Clone(s)
		t.numbers[s] = n
		t.names = append(t.names, s)
	}
	return n
}
