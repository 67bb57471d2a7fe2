package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"
)

const (
	graphRows    = 13 // so that one is in the middle
	graphColumns = 72
	graphSeries  = 6 // that many can be told apart by colour
)

// canvas is dots in braille characters, two by four in each.
type canvas struct {
	dots   [graphRows][graphColumns]rune
	styles [graphRows][graphColumns]style
}

// brailleDots are the bits of a character's dots by row and column.
var brailleDots = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

// set sets a dot; the last one to set one in a character has its colour.
func (c *canvas) set(x, y int, s style) {
	row, column := y/4, x/2
	c.dots[row][column] |= brailleDots[y%4][x%2]
	c.styles[row][column] = s
}

// line draws from one dot to another.
func (c *canvas) line(x0, y0, x1, y1 int, s style) {
	steps := max(abs(x1-x0), abs(y1-y0), 1)
	for i := range steps + 1 {
		c.set(x0+(x1-x0)*i/steps, y0+(y1-y0)*i/steps, s)
	}
}

func abs(n int) int { return max(n, -n) }

// graph draws the courses of the first series; a histogram's is its p99.
func (a *app) graph(q question, m prom.Matrix) error {
	styles := []style{green, yellow, red, "34", "35", "36"}
	courses := make([][]prom.FPoint, min(len(m), graphSeries))
	least, most := math.Inf(1), math.Inf(-1)
	for i := range courses {
		courses[i] = course(m[i])
		for _, p := range courses[i] {
			least, most = min(least, p.F), max(most, p.F)
		}
	}
	switch {
	case least > most: // nothing can be drawn
		least, most = 0, 1
	case least == most && most == 0:
		most = 1
	case least == most: // one line, from zero
		least, most = min(0, least), max(0, most)
	case least > 0 && least < most/2:
		least = 0
	}
	var c canvas
	from, length := q.interval.FromNS/1e6, float64(q.interval.ToNS-q.interval.FromNS)/1e6
	for i, points := range courses {
		var x0, y0 int
		var t0 int64
		for n, p := range points {
			x := int(float64(p.T-from) / length * (graphColumns*2 - 1))
			y := int(math.Round((most - p.F) / (most - least) * (graphRows*4 - 1)))
			if n == 0 || p.T-t0 > q.step.Milliseconds() {
				x0, y0 = x, y // a gap stays one
			}
			c.line(x0, y0, x, y, styles[i])
			x0, y0, t0 = x, y, p.T
		}
	}
	_, err := a.stdout.Write([]byte(c.render(a.coloured(), least, most) + graphTimes(q) + a.legend(m, styles)))
	return err
}

// course is a series' numbers, without those that can't be drawn: what is no
// number, infinite, or so large that two may be further apart than numbers go.
func course(s prom.Series) (out []prom.FPoint) {
	all := s.Floats
	for _, h := range s.Histograms {
		p99, _ := prom.HistogramQuantile(0.99, h.H, "", posrange.PositionRange{})
		all = append(all, prom.FPoint{T: h.T, F: p99})
	}
	for _, p := range all {
		if math.Abs(p.F) <= math.MaxFloat64/2 {
			out = append(out, p)
		}
	}
	return out
}

func (c *canvas) render(coloured bool, least, most float64) string {
	var b strings.Builder
	for row := range graphRows {
		label := ""
		if row%(graphRows/2) == 0 || row == graphRows-1 {
			label = short(most - (most-least)*(float64(row)/(graphRows-1)))
		}
		fmt.Fprintf(&b, "%10s ┤", label)
		for column := range graphColumns {
			dots := string(0x2800 + c.dots[row][column])
			if s := c.styles[row][column]; coloured && s != plain {
				dots = "\x1b[" + string(s) + "m" + dots + "\x1b[0m"
			}
			b.WriteString(dots)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func graphTimes(q question) string {
	from, to := q.interval.From().Format(time.TimeOnly), q.interval.To().Format(time.TimeOnly)
	return fmt.Sprintf("%12s%s%*s\n", "", from, graphColumns-len(from), to)
}

// legend names the series that are drawn, and says how many aren't.
func (a *app) legend(m prom.Matrix, styles []style) string {
	var b strings.Builder
	for i, s := range m {
		if i == graphSeries {
			fmt.Fprintf(&b, "%12sand %d more: topk(%d, …) chooses\n", "", len(m)-i, graphSeries)
			break
		}
		mark := "━"
		if a.coloured() {
			mark = "\x1b[" + string(styles[i]) + "m━\x1b[0m"
		}
		fmt.Fprintf(&b, "%12s%s %s\n", "", mark, printable(s.Metric.String()))
	}
	return b.String()
}
