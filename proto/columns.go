package proto

import "fmt"

// Columns is a set of a frame's columns, for [Frame.DecodeWhere].
type Columns uint64

const allColumns Columns = 1<<numColumns - 1

// Columns by the part of an event that holds them.
const (
	exchangeColumns Columns = 1<<colSide | 1<<colProtocol | 1<<colWait | 1<<colProcessing | 1<<colTransfer |
		1<<colRequestBytes | 1<<colResponseBytes | 1<<colMethod | 1<<colRoute | 1<<colStatus | 1<<colError | 1<<colFlags
	socketColumns Columns = 1<<colSourceAddr | 1<<colSourcePort | 1<<colDestinationAddr | 1<<colDestinationPort |
		1<<colPeerAddr | 1<<colPeerPort | 1<<colServerName | 1<<colPID | 1<<colProcess | 1<<colUnit | 1<<colContainer |
		1<<colContainerName | 1<<colPodUID
	sourceColumns      Columns = 0xff << colSource
	destinationColumns Columns = 0xff << colDestination
)

// ColumnSet is the set of columns of these names, as docs/wire.md has them. It
// panics on a name that isn't one, and on those that can't be looked at before
// an event is decoded: netns, trace_id and span_id.
func ColumnSet(names ...string) Columns {
	var set Columns
	for _, name := range names {
		i := columnIndex([]byte(name))
		if i < 0 || i == colNetNS || i == colTraceID || i == colSpanID {
			panic(fmt.Sprintf("no column %q to choose events by", name))
		}
		set |= 1 << i
	}
	return set
}

func (c Columns) has(i int) bool { return c&(1<<i) != 0 }
