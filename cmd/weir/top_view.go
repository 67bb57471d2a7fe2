package main

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/query"
)

const (
	topChart    = 6  // rows of the histogram
	topBelow    = 11 // the histogram, its axis, its head, the page's address and the keys
	topAbove    = 3  // what, where and the columns' names
	topFigures  = 83 // characters that the side and the columns of figures take
	chartBlocks = " ▁▂▃▄▅▆▇█"
	old         = 30 * time.Second // without news the picture is called old

	inverse style = "7"
)

// page is how many rows fit on the screen.
func (m *topModel) page() int { return max(m.height-topAbove-topBelow, 1) }

// View draws the screen.
func (m *topModel) View() tea.View {
	lines := append([]string{m.title(), m.crumbs()}, m.table()...)
	for len(lines) < m.height-topBelow {
		lines = append(lines, "")
	}
	if m.help {
		lines = append(lines, m.keys()...)
	} else {
		lines = append(lines, m.detail()...)
	}
	lines = append(lines[:min(len(lines), max(m.height-2, 0))], m.link(), m.foot())
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "weir top"
	return v
}

func (m *topModel) paint(s style, text string) string {
	t := table{coloured: m.coloured || s == inverse}
	return t.paint(cell{text: text, style: s})
}

// fit cuts text or fills it up with spaces.
func fit(s string, width int) string {
	n := utf8.RuneCountInString(s)
	switch {
	case width <= 0:
		return ""
	case n > width:
		return string([]rune(s)[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", width-n)
}

func (m *topModel) title() string {
	state, s := "live", green
	switch {
	case !m.connected():
		state, s = "NATS is away", red
	case m.err != nil:
		state, s = m.err.Error(), red
	case m.result == nil:
		state, s = "reading", yellow
	case m.stopped:
		state, s = "stopped", yellow
	case m.result.Missing != "":
		state, s = m.result.Missing, yellow
	case m.clock.Sub(m.until()) > old:
		state, s = "no news for "+shortDuration(m.clock.Sub(m.until()).Round(time.Second)), yellow
	}
	where, lost := "the last "+shortDuration(m.span), ""
	if m.result != nil {
		where = fmt.Sprintf("%s to %s", m.result.Interval.From().Format(time.TimeOnly), m.until().Format(time.TimeOnly))
		if n := m.result.Lost(); n > 0 {
			lost = m.paint(red, fmt.Sprintf("  lost %d", n))
		}
	}
	left := fmt.Sprintf("weir top  %s  %s (%s)", m.server, where, shortDuration(m.span))
	return fit(printable(left), min(utf8.RuneCountInString(left), m.width/2)) + lost + "  " + m.paint(s, fit(printable(state), min(utf8.RuneCountInString(state), m.width/2-2)))
}

// until is the time up to which everything shown is counted.
func (m *topModel) until() time.Time { return m.result.Until() }

func (m *topModel) crumbs() string {
	parts := []string{"all workloads"}
	for i, k := range m.path {
		if i == 0 {
			parts = append(parts, k.Workload+" ("+k.Side.String()+")")
		} else {
			parts = append(parts, k.Operation)
		}
	}
	line := strings.Join(parts, " › ")
	if m.side != "" && len(m.path) == 0 {
		line += ", " + m.side + " side"
	}
	if m.typing || m.filter != "" {
		line += "  /" + m.filter
	}
	line = fit(printable(line), m.width-1)
	if m.typing {
		line = strings.TrimRight(line, " ") + m.paint(inverse, " ")
	}
	return line
}

// topHead are the columns' names, as wide as their figures.
var topHead = [numTopColumns]string{"", "REQUESTS", "ERRORS", "P50", "P90", "P99", "MAX", "WAIT P99"}

func (m *topModel) table() []string {
	width := max(m.width-topFigures, 12)
	head := []string{"WORKLOAD", "OPERATION", "PEER AND STATUS"}[len(m.path)]
	arrow := map[bool]string{true: "▲", false: "▼"}[m.ascending != (m.sortBy == byName)]
	if m.sortBy == byName {
		head += arrow
	}
	line := fit(head, width) + " " + fit("SIDE", 6)
	for c := byRequests; c < numTopColumns; c++ {
		name := topHead[c]
		if c == m.sortBy {
			name += arrow
		}
		if c == byWait {
			line += " " // its name is as wide as the column once it has the arrow
		}
		line += fmt.Sprintf("%9s", name)
		if c == byRequests {
			line += fmt.Sprintf("%11s", "RATE")
		}
	}
	lines := []string{m.paint(bold, fit(line, m.width))}
	for i := m.offset; i < len(m.rows) && i < m.offset+m.page(); i++ {
		lines = append(lines, m.row(m.rows[i], width, i == m.at))
	}
	if len(m.rows) == 0 && m.result != nil {
		lines = append(lines, "no requests")
	}
	return lines
}

func (m *topModel) row(r *topRow, width int, selected bool) string {
	wait := "-"
	if r.Wait.Count > 0 {
		wait = latency(r.cells[byWait])
	}
	line := fit(printable(r.name), width) + " " + fit(r.Side.String(), 6) +
		fmt.Sprintf("%9s%11s", compact(r.Hist.Count), fmt.Sprintf("%.1f/s", r.Rate(m.result.Covered())))
	errors, rest := fmt.Sprintf("%9s", compact(r.Errors)), ""
	for _, c := range []topColumn{byP50, byP90, byP99, byMax} {
		rest += fmt.Sprintf("%9s", latency(r.cells[c]))
	}
	rest += fmt.Sprintf("%10s", wait)
	if selected {
		return m.paint(inverse, fit(line+errors+rest, m.width))
	}
	if r.Errors > 0 {
		errors = m.paint(red, errors)
	}
	return line + errors + rest
}

// compact writes numbers of more than seven digits with a unit.
func compact(n uint64) string {
	for _, u := range []struct {
		unit string
		n    float64
	}{{"G", 1e9}, {"M", 1e6}} {
		if v := float64(n); v >= 10*u.n {
			return fmt.Sprintf("%.1f%s", v/u.n, u.unit)
		}
	}
	return strconv.FormatUint(n, 10)
}

// detail is the histogram of the selected row and the parts of its time.
func (m *topModel) detail() []string {
	if m.at < 0 || m.at >= len(m.rows) {
		return nil
	}
	r := m.rows[m.at]
	all := float64(max(r.WaitNS+r.ProcessingNS+r.TransferNS, 1))
	part := func(name string, ns int64) string {
		return fmt.Sprintf("%s %s (%.0f%%)", name, latency(float64(ns)/float64(max(r.Hist.Count, 1))), 100*float64(ns)/all)
	}
	parts := part("processing", r.ProcessingNS) + "  " + part("transfer", r.TransferNS)
	if r.Wait.Count > 0 {
		parts = part("wait", r.WaitNS) + "  " + parts
	}
	head := m.paint(bold, fit(printable(r.name), min(utf8.RuneCountInString(r.name), m.width/3)))
	lines := []string{head + "  on average " + fit(parts, max(m.width-m.width/3-15, 0))}
	return append(lines, chart(&r.Hist, m.width-2, topChart)...)
}

// chart draws how often each latency occurred, on a logarithmic scale, and
// below it the scale and where p50 and p99 are.
func chart(h *histogram.Histogram, width, height int) []string {
	if h.Count == 0 || width < 20 {
		return nil
	}
	low, high := math.Log2(math.Max(float64(h.MinNS), 1)), math.Log2(math.Max(float64(h.MaxNS), 2))
	if high-low < 2 { // a factor of 4 at least
		low, high = (low+high)/2-1, (low+high)/2+1
	}
	column := func(log float64) int {
		return min(max(int((log-low)/(high-low)*float64(width)), 0), width-1)
	}
	bars := make([]float64, width)
	per := math.Exp2(-float64(h.Scale)) // a bucket's width in octaves
	second := math.Log2(float64(time.Second))
	wide := (high - low) / float64(width) // a column's
	for i, n := range h.Buckets {
		from := (float64(h.Offset)+float64(i))*per + second
		for c := column(from); c <= column(from+per); c++ { // to each what lies in it
			start := low + float64(c)*wide
			if shared := math.Min(from+per, start+wide) - math.Max(from, start); shared > 0 {
				bars[c] += float64(n) * shared / per
			}
		}
	}
	bars[0] += float64(h.ZeroCount)
	top := 0.0
	for _, b := range bars {
		top = math.Max(top, b)
	}
	blocks := []rune(chartBlocks)
	lines := make([]string, 0, height+2)
	for row := height - 1; row >= 0; row-- {
		line := make([]rune, width)
		for c, b := range bars {
			eighths := int(math.Ceil(b/top*float64(height)*8)) - row*8
			line[c] = blocks[min(max(eighths, 0), 8)]
		}
		lines = append(lines, " "+strings.TrimRight(string(line), " "))
	}
	axis, marks := []rune(strings.Repeat("─", width)), []rune(strings.Repeat(" ", width+10))
	for decade := math.Pow(10, math.Ceil(low*math.Log10(2))); math.Log2(decade) <= high; decade *= 10 {
		c := column(math.Log2(decade))
		axis[c] = '┴'
		copy(marks[c:], []rune(latency(decade)+" "))
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		c := min(column(math.Log2(math.Max(h.Quantile(q.q), 1))), width-len(q.name))
		copy(axis[c:], []rune(q.name))
	}
	return append(lines, " "+string(axis), " "+strings.TrimRight(string(marks[:width]), " "))
}

func (m *topModel) keys() []string {
	return []string{
		m.paint(bold, "Keys"),
		"  ↑ ↓ j k  select            Enter  into the row: its operations, then callers and statuses",
		"  g G      first, last       Esc    back out",
		"  s S      sort by next, previous column      r  turn the order",
		"  /        filter by name    Tab    both sides, server's, client's",
		"  + -      longer, shorter   Space  stop the picture, and go on",
		"  q        end",
	}
}

// link is where the page shows the same: all rows, or the workload that was gone
// down into. One that doesn't fit would lead elsewhere.
func (m *topModel) link() string {
	select {
	case <-m.web.asked:
	default:
		return ""
	}
	if m.result == nil {
		return ""
	}
	s := m.selection
	s.Side = cmp.Or(m.side, s.Side)
	state := servicesState(s)
	if len(m.path) > 0 {
		k := m.path[0]
		s = query.Selection{Namespace: k.Namespace, Workload: k.Workload, Kind: k.Kind, Side: k.Side.String()}
		state = pageState("service", s)
	} else if m.filter != "" {
		state.Set("q", m.filter)
	}
	shown, ends := m.result.Interval, time.Time{}
	if _, known := pageSpans[m.span]; known && !m.stopped {
		shown, ends = query.Between(m.clock.Add(-m.span), m.clock), m.clock
	}
	link := m.web.link(withTime(state, shown, ends))
	if utf8.RuneCountInString(link) > m.width {
		return ""
	}
	return m.paint(faint, link)
}

func (m *topModel) foot() string {
	keys := "Enter open  Esc back  / filter  s sort  r reverse  Tab side  +- time  Space stop  ? keys  q quit"
	if m.stopped && m.next != nil {
		keys = "newer figures are there: Space shows them"
	}
	return m.paint(faint, fit(keys, m.width))
}
