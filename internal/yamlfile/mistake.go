package yamlfile

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// Syntax is a mistake that the YAML package found, which knows only lines.
func Syntax(file string, err error) Mistake {
	m := Mistake{file, 1, 1, err.Error()}
	if found := syntaxError.FindStringSubmatch(m.Text); found != nil {
		m.Text = "this is no YAML: " + found[2]
		if line, err := strconv.Atoi(found[1]); err == nil {
			m.Line = line
		}
	}
	return m
}

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
		n := d.find(func(_, n *yaml.Node) bool {
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
			n = d.key(m[1], m[2])
			text = fmt.Sprintf("unknown key %q: expected one of %s", m[2], strings.Join(keysOf(reflect.TypeOf(v), m[3]), ", "))
		} else if m := otherType.FindStringSubmatch(text); m != nil {
			n = d.find(func(_, n *yaml.Node) bool { return strconv.Itoa(n.Line) == m[1] && n.ShortTag() == m[2] })
			text = "this is " + kinds[m[2]] + ": expected " + expected(m[3])
		} else if m := twice.FindStringSubmatch(text); m != nil {
			if key, err := strconv.Unquote(m[2]); err == nil {
				n = d.key(m[1], key)
			}
			text = fmt.Sprintf("%s is here twice: first in line %s", m[2], m[3])
		}
		all = append(all, d.Wrong(n, "%s", text))
	}
	return all
}

// key is the first one of a name in a line.
func (d *Document) key(line, name string) (found *yaml.Node) {
	d.find(func(k, _ *yaml.Node) bool {
		if k != nil && strconv.Itoa(k.Line) == line && k.Value == name {
			found = k
		}
		return found != nil
	})
	return found
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

// keysOf are the keys of a struct type somewhere in t.
func keysOf(t reflect.Type, name string) (keys []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), name)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if t.String() != name {
				if found := keysOf(f.Type, name); found != nil {
					return found
				}
			} else if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.IsExported() && key != "" {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}
