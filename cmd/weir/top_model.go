package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// levels are what rows are told apart by, from the top down.
var levels = []query.By{{}, {Operation: true}, {Operation: true, Peer: true, Status: true}}

// topModel is what weir top shows: the rows of one level, and where in them
// the user is.
type topModel struct {
	server    string
	coloured  bool
	connected func() bool
	choose    func(span time.Duration)
	web       *page
	selection query.Selection // what was asked for

	result *query.Result // told apart by everything; nil before the first
	next   *query.Result // came while stopped
	err    error
	span   time.Duration
	clock  time.Time

	path       []query.Key // the rows gone down through
	rows       []*topRow   // of this level, filtered and sorted
	selected   query.Key
	at, offset int // of the selected row, and of the first on the screen
	sortBy     topColumn
	ascending  bool
	side       string // "", server or client
	filter     string
	typing     bool // the filter
	stopped    bool
	help       bool

	width, height int
}

// topRow is a row with the figures that it is sorted by.
type topRow struct {
	*query.Row
	name  string
	cells [numTopColumns]float64
}

// topColumn is what can be sorted by.
type topColumn int

const (
	byName topColumn = iota
	byRequests
	byErrors
	byP50
	byP90
	byP99
	byMax
	byWait
	numTopColumns
)

type topTick time.Time

func newTopModel(server string, span time.Duration, coloured bool, connected func() bool, choose func(time.Duration)) *topModel {
	return &topModel{
		server: server, span: span, coloured: coloured, connected: connected, choose: choose,
		sortBy: byP99, clock: now(), width: 80, height: 24,
	}
}

func tick() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return topTick(t.Round(0)) })
}

// Init starts the clock by which it shows how old the picture is.
func (m *topModel) Init() tea.Cmd { return tick() }

// Update takes a key, a result, or the time.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topTick:
		m.clock = time.Time(msg)
		return m, tick()
	case error:
		m.err = msg
	case *query.Result:
		m.err = nil
		if m.stopped {
			m.next = msg
			break
		}
		m.result = msg
		m.regroup()
	case tea.KeyPressMsg:
		if m.typing {
			m.typeFilter(msg)
			return m, nil
		}
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *topModel) typeFilter(key tea.KeyPressMsg) {
	switch key.String() {
	case "enter":
		m.typing = false
	case "esc", "ctrl+c":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		m.filter += key.Text
	}
	m.regroup()
}

func (m *topModel) key(key string) tea.Cmd {
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "?", "h":
		m.help = !m.help
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup", "ctrl+b":
		m.move(-m.page())
	case "pgdown", "ctrl+f":
		m.move(m.page())
	case "home", "g":
		m.move(-len(m.rows))
	case "end", "G":
		m.move(len(m.rows))
	case "enter", "right", "l":
		if len(m.rows) > 0 && len(m.path) < len(levels)-1 {
			m.path = append(m.path, m.selected)
			m.at, m.offset, m.filter = 0, 0, ""
		}
	case "esc", "left", "backspace":
		m.up()
	case "/":
		m.typing = true
	case "s":
		m.sortBy = (m.sortBy + 1) % numTopColumns
	case "S":
		m.sortBy = (m.sortBy + numTopColumns - 1) % numTopColumns
	case "r":
		m.ascending = !m.ascending
	case "tab":
		m.side = map[string]string{"": "server", "server": "client"}[m.side]
	case "+", "=":
		m.respan(1)
	case "-":
		m.respan(-1)
	case "space":
		m.stopped = !m.stopped
		if !m.stopped && m.next != nil {
			m.result, m.next = m.next, nil
		}
	}
	m.regroup()
	return nil
}

// up takes back the last thing that narrows what is shown.
func (m *topModel) up() {
	switch n := len(m.path); {
	case m.help:
		m.help = false
	case m.filter != "":
		m.filter = ""
	case n > 0:
		m.selected, m.path = m.path[n-1], m.path[:n-1]
		m.at = -1
	}
}

// respan goes to the next span up or down.
func (m *topModel) respan(step int) {
	i, found := slices.BinarySearch(spans, m.span)
	if !found && step > 0 {
		i--
	}
	if i += step; i < 0 || i >= len(spans) {
		return
	}
	m.span = spans[i]
	m.choose(m.span)
}

func (m *topModel) move(by int) {
	m.at = min(max(m.at+by, 0), len(m.rows)-1)
	if m.at >= 0 {
		m.selected = m.rows[m.at].Key
	}
}

// regroup makes the rows of this level. The same row stays selected, as long
// as it is there.
func (m *topModel) regroup() {
	if m.result == nil {
		return
	}
	depth := len(m.path)
	t := query.NewTable(levels[depth])
	for _, r := range m.result.Rows {
		if depth > 0 && r.By(levels[depth-1]) != m.path[depth-1] || m.side != "" && r.Side.String() != m.side {
			continue
		}
		t.AddRow(r)
	}
	known := names{}
	rows := t.Rows()
	for _, r := range rows {
		known.learn(query.Workload{Namespace: r.Namespace, Name: r.Workload, Kind: r.Kind})
	}
	m.rows = m.rows[:0]
	for _, r := range rows {
		row := newTopRow(r, known.of(query.Workload{Namespace: r.Namespace, Name: r.Workload, Kind: r.Kind}), depth)
		if strings.Contains(strings.ToLower(row.name), strings.ToLower(m.filter)) {
			m.rows = append(m.rows, row)
		}
	}
	slices.SortStableFunc(m.rows, func(a, b *topRow) int {
		order := cmp.Compare(b.cells[m.sortBy], a.cells[m.sortBy])
		if m.sortBy == byName {
			order = cmp.Compare(a.name, b.name)
		}
		if m.ascending {
			order = -order
		}
		return order
	})
	if i := slices.IndexFunc(m.rows, func(r *topRow) bool { return r.Key == m.selected }); i >= 0 {
		m.at = i
	}
	m.move(0)
	m.offset = max(min(m.offset, m.at, len(m.rows)-m.page()), m.at-m.page()+1, 0)
}

func newTopRow(r *query.Row, name string, depth int) *topRow {
	row := &topRow{Row: r}
	switch depth {
	case 0:
		row.name = name
		if r.Namespace != proto.NamespaceHost {
			row.name = r.Namespace + "/" + name
		}
	case 1:
		row.name = r.Operation
	default:
		row.name = cmp.Or(peerName(r), "(merged)") + "  " + r.Status
	}
	h := &r.Hist
	row.cells = [numTopColumns]float64{
		byRequests: float64(h.Count), byErrors: float64(r.Errors),
		byP50: h.Quantile(0.5), byP90: h.Quantile(0.9), byP99: h.Quantile(0.99), byMax: float64(h.MaxNS), byWait: r.Wait.Quantile(0.99),
	}
	return row
}
