package http1

const (
	// Requests that wait for their response with all their figures: so many of
	// every connection, and of those with more so many in all. That is 12 MB,
	// and 100,000 requests that a client sends before it reads a response.
	minPending = 16
	maxPending = 1 << 17
	maxRuns    = 64 // runs of further requests that are only remembered to pair responses
)

// request waits for the end of its response.
type request struct {
	start, read int64  // times; read is 0 until the process read its first byte
	off, end    uint64 // stream offsets; end is 0 until the request has ended
	method      string
	path        string
	trace       string // trace id and span id, or ""
	run         uint32 // not 0: that many requests, already counted as lost
	truncated   bool
	traces      bool // a traceparent header was seen; a second one makes both invalid
	turn        bool // it began a turn
}

// queue holds the requests of a connection in order. One request, the usual
// case, needs no memory of its own.
type queue struct {
	one   [1]request
	ring  []request // nil: one is in use; its length is a power of two
	head  int
	n     int // slots in use
	runs  int // slots in use that are runs
	total int // requests, those in runs included
}

func (q *queue) slots() []request {
	if q.ring == nil {
		return q.one[:]
	}
	return q.ring
}

func (q *queue) at(i int) *request {
	s := q.slots()
	return &s[(q.head+i)&(len(s)-1)]
}

func (q *queue) front() *request { return q.at(0) }
func (q *queue) tail() *request  { return q.at(q.n - 1) }

// push appends a zeroed slot.
func (q *queue) push() *request {
	if s := q.slots(); q.n == len(s) {
		ring := make([]request, max(16, 2*len(s)))
		for i := range q.n {
			ring[i] = *q.at(i)
		}
		q.ring, q.head, q.one[0] = ring, 0, request{}
	}
	q.n++
	q.total++
	r := q.tail()
	*r = request{}
	return r
}

// kept is the number of requests with figures.
func (q *queue) kept() int { return q.n - q.runs }

// add puts r at the end. It reports false when r's figures found no room: r is
// then only remembered to pair its response. ok is false if not even that.
func (q *queue) add(sh *Shared, r request) (kept, ok bool) {
	if q.kept() < minPending || sh.pending < maxPending {
		*q.push() = r
		sh.pending++
		return true, true
	}
	if r.method != "HEAD" && r.method != "CONNECT" {
		r.method = "" // only these two change how a response is read
	}
	if t := q.tail(); t.run > 0 && t.method == r.method && t.run < 1<<31 {
		t.run++
		q.total++
		return false, true
	}
	if q.runs == maxRuns {
		return false, false
	}
	*q.push() = request{method: r.method, run: 1}
	q.runs++
	return false, true
}

// pop drops the oldest request; slot says that its slot became free.
func (q *queue) pop(sh *Shared) (slot bool) {
	q.total--
	f := q.front()
	if f.run > 1 {
		f.run--
		return false
	}
	if f.run == 1 {
		q.runs--
	} else {
		sh.pending--
	}
	*f = request{}
	q.head = (q.head + 1) & (len(q.slots()) - 1)
	if q.n--; q.n == 0 {
		q.ring, q.head = nil, 0
	}
	return true
}

// clear drops all and returns how many of them weren't in runs.
func (q *queue) clear(sh *Shared) uint64 {
	lost := q.kept()
	sh.pending -= lost
	*q = queue{}
	return uint64(lost)
}
