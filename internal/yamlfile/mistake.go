package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Mistakes are all that is wrong in some files.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Mistake is something in a file that isn't as it has to be.
type Mistake struct {
	File         string
	Line, Column int // from 1
	Text         string
}

func (m Mistake) Error() string { return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text) }

var syntaxError = regexp.MustCompile(`^yaml: (?:line \d+: )?(.*)`)

// Syntax is a mistake that the YAML package found, which at best knows the line of
// what surrounds it: it is in the line with which the text stops being YAML.
func Syntax(file string, data []byte, err error) Mistake {
	m := Mistake{file, 1, 1, err.Error()}
	if found := syntaxError.FindStringSubmatch(m.Text); found != nil {
		m.Text = "this is no YAML: " + found[1]
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	isYAML := func(n int) bool {
		decoder := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n], nil)))
		for {
			switch err := decoder.Decode(new(yaml.Node)); {
			case errors.Is(err, io.EOF):
				return true
			case err != nil:
				return false
			}
		}
	}
	good, bad := 0, len(lines)
	for bad-good > 1 {
		if middle := (good + bad) / 2; isYAML(middle) {
			good = middle
		} else {
			bad = middle
		}
		// A list or text in brackets or quotes that is longer than a line isn't YAML before its end.
		for n := bad + 1; bad-good == 1 && n < min(bad+longest, len(lines)); n++ {
			if isYAML(n) {
				good, bad = n, len(lines)
			}
		}
	}
	m.Line = good + 1
	if good < len(lines) {
		line := strings.ToValidUTF8(string(lines[good]), "?")
		m.Column = utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeft(line, " ")) + 1
	}
	return m
}

// longest is how many lines a value in brackets or quotes may have, for mistakes
// after it to have their place.
const longest = 50

// What the YAML package says of a document that doesn't fit a type.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type (\S+)$`)
	otherType  = regexp.MustCompile("^line (\\d+): cannot unmarshal (\\S+)(?: `.*`)? into (\\S+)$")
	twice      = regexp.MustCompile(`^line (\d+): mapping key (".*") already defined at line (\d+)$`)
)

// mistakes are what an error says that came of decoding the document into v.
func (d *Document) mistakes(err error, v any) Mistakes {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		// A value that a type of its own reads: the error has no line, but the value.
		n := d.find(nil, func(n *yaml.Node, _ reflect.Type) bool {
			return n.Kind == yaml.ScalarNode && n.Value != "" && strings.Contains(err.Error(), strconv.Quote(n.Value))
		})
		text := err.Error()
		if strings.Contains(text, "duration") {
			text += ": expected one such as 90s, 5m or 1h30m"
		}
		return Mistakes{d.Wrong(n, "%s", text)}
	}
	var all Mistakes
	for _, text := range typed.Errors {
		var n *yaml.Node
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			d.find(v, func(in *yaml.Node, t reflect.Type) bool {
				if n = keyIn(in, m[1], m[2]); n != nil && t != nil && t.String() == m[3] {
					text = fmt.Sprintf("unknown key %q: expected one of %s", m[2], strings.Join(keysOf(t), ", "))
					return true
				}
				return false
			})
		} else if m := otherType.FindStringSubmatch(text); m != nil {
			n = d.find(v, func(n *yaml.Node, t reflect.Type) bool {
				return strconv.Itoa(n.Line) == m[1] && n.ShortTag() == m[2] && t != nil && t.String() == m[3]
			})
			text = "this is " + kinds[m[2]] + ": expected " + expected(m[3])
		} else if m := twice.FindStringSubmatch(text); m != nil {
			key, _ := strconv.Unquote(m[2]) // the YAML package has quoted it
			d.find(v, func(in *yaml.Node, _ reflect.Type) bool {
				n = keyIn(in, m[1], key)
				return n != nil
			})
			text = fmt.Sprintf("%s is here twice: first in line %s", m[2], m[3])
		}
		all = append(all, d.Wrong(n, "%s", text))
	}
	return all
}

// keyIn is a map's key of a name in a line.
func keyIn(n *yaml.Node, line, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if k := n.Content[i]; strconv.Itoa(k.Line) == line && k.Value == name {
			return k
		}
	}
	return nil
}

var kinds = map[string]string{
	"!!str": "text", "!!int": "a number", "!!float": "a number", "!!bool": "true or false", "!!null": "nothing", "!!seq": "a list", "!!map": "a map",
	"!!timestamp": "a time",
}

// expected says what YAML a Go type is written as.
func expected(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "string":
		return "text"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "float"):
		return "a number"
	}
	return "a map, key: value"
}

// keysOf are the keys that a struct may have.
func keysOf(t reflect.Type) (keys []string) {
	for i := range t.NumField() {
		if key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); t.Field(i).IsExported() && key != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// typeOf is what the value of a key, or an element of a list, is decoded into;
// nil if that isn't known.
func typeOf(t reflect.Type, key string) reflect.Type {
	switch {
	case t == nil:
		return nil
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name == key {
				return pointed(t.Field(i).Type)
			}
		}
	case t.Kind() == reflect.Map, t.Kind() == reflect.Slice:
		return pointed(t.Elem())
	}
	return nil
}

// pointed is a type without pointers to it.
func pointed(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
