package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// cell is one field of a table.
type cell struct {
	text  string
	style style
	right bool // numbers stand to the right
}

// style is an ANSI escape sequence's parameters, "" for plain text.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// table is rows of equally many cells, the first of them the head.
type table struct {
	rows     [][]cell
	coloured bool
}

func text(s string) cell { return cell{text: printable(s)} }

func number(s string) cell { return cell{text: s, right: true} }

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// head adds the names of columns; those that begin with > are of numbers.
func (t *table) head(names ...string) {
	row := make([]cell, len(names))
	for i, n := range names {
		n, right := strings.CutPrefix(n, ">")
		row[i] = cell{text: n, style: bold, right: right}
	}
	t.add(row...)
}

// write prints the table in columns two spaces apart.
func (t *table) write(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if c.right {
				b.WriteString(pad)
			}
			b.WriteString(t.paint(c))
			if !c.right && i < len(row)-1 {
				b.WriteString(pad)
			}
			if i < len(row)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) paint(c cell) string {
	if !t.coloured || c.style == plain || c.text == "" {
		return c.text
	}
	return "\x1b[" + string(c.style) + "m" + c.text + "\x1b[0m"
}

// printable keeps what a process or a path is called from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// latency prints nanoseconds with three digits that count: 87µs, 1.24ms, 12.1s.
func latency(ns float64) string {
	for _, u := range []struct {
		unit string
		ns   float64
	}{{"s", float64(time.Second)}, {"ms", float64(time.Millisecond)}, {"µs", float64(time.Microsecond)}} {
		if v := ns / u.ns; v >= 0.9995 {
			switch {
			case v >= 99.95:
				return fmt.Sprintf("%.0f%s", v, u.unit)
			case v >= 9.995:
				return fmt.Sprintf("%.1f%s", v, u.unit)
			}
			return fmt.Sprintf("%.2f%s", v, u.unit)
		}
	}
	return fmt.Sprintf("%.0fns", ns)
}
