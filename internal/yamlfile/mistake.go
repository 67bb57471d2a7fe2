package yamlfile

import (
	"bytes"
	"cmp"
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

// syntaxError is what the YAML package says of a text that is none.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// Syntax is a mistake that the YAML package found, which at best knows the line of
// what surrounds it: it is in the line with which the text stops being YAML. The
// package reads on from there, seldom by more than lookBack lines.
func Syntax(file string, data []byte, err error) Mistake {
	m := Mistake{file, 1, 1, err.Error()}
	said := 0
	if found := syntaxError.FindStringSubmatch(m.Text); found != nil {
		said, _ = strconv.Atoi(found[1]) // none of the first line
		m.Text = "this is no YAML: " + found[2]
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	// Within brackets no text is YAML, but before the mistake one may go on.
	brackets := strings.Contains(m.Text, "','")
	good := func(n int) bool {
		text := bytes.Join(lines[:n], nil)
		if !brackets {
			return read(bytes.NewReader(text)) == nil
		}
		err := read(bytes.NewReader(append(text, ',')))
		return err == nil || !strings.HasSuffix(m.Text, syntaxError.FindStringSubmatch(err.Error())[2])
	}
	taken := oneByte{bytes.NewReader(data)}
	read(taken) //nolint:errcheck // the mistake is known
	left := taken.Len()
	last := bytes.Count(data[:max(0, len(data)-left-1)], []byte("\n"))
	before := last
	for before > max(0, last-lookBack) && !good(before) {
		before--
	}
	switch {
	case good(before):
		m.Line = before + 1
		if brackets && said < before { // it counts lines of these from 0
			m.Text += fmt.Sprintf(" of what begins in line %d", said+1)
		}
	case left == 0 && said > 0: // what begins there has no end
		m.Line = min(said, len(lines))
	default:
		m.Line = last + 1
	}
	line := strings.ToValidUTF8(string(lines[m.Line-1]), "?")
	m.Column = utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeft(line, " ")) + 1
	return m
}

// lookBack is how many lines before the last one read are tried, each by reading all
// before it: quotes without an end reach to the next, often of the next key.
const lookBack = 16

// read reads all documents up to a mistake.
func read(r io.Reader) (err error) {
	for decoder := yaml.NewDecoder(r); err == nil; {
		err = decoder.Decode(new(yaml.Node))
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// oneByte gives a byte at a time, so that no more is taken than is needed.
type oneByte struct{ *bytes.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// What the YAML package says of a document that doesn't fit a type.
var (
	unknownKey = regexp.MustCompile(`(?s)^line (\d+): field (.*) not found in type (.+)$`)
	otherType  = regexp.MustCompile("(?s)^line (\\d+): cannot unmarshal (.+?)(?: `.*`)? into (.+)$")
)

// mistakes are what an error says that came of decoding the document into v.
func (d *Document) mistakes(err error, v any) Mistakes {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		// A value that a type of its own reads: the error has no line, but the value.
		n := d.find(nil, func(n *yaml.Node, _ reflect.Type) bool {
			return n.Kind == yaml.ScalarNode && n.Value != "" && strings.Contains(err.Error(), strconv.Quote(n.Value))
		})
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if strings.Contains(text, "duration") {
			text += ": expected one such as 90s, 5m or 1h30m"
		}
		return Mistakes{d.Wrong(n, "%s", text)}
	}
	var all Mistakes
	for i, text := range typed.Errors {
		if i == most {
			all[i-1].Text += fmt.Sprintf("; and %d more mistakes", len(typed.Errors)-most)
			break
		}
		n := &yaml.Node{Line: 1, Column: 1}
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			n.Line, _ = strconv.Atoi(m[1]) // they are digits
			text = fmt.Sprintf("unknown key %q", m[2])
			d.find(v, func(in *yaml.Node, t reflect.Type) bool {
				k := keyIn(in, n.Line, m[2])
				if k == nil {
					return false
				}
				n = k
				if t == nil || t.String() != m[3] {
					return false
				}
				text += ": expected one of " + strings.Join(keysOf(t), ", ")
				return true
			})
		} else if m := otherType.FindStringSubmatch(text); m != nil {
			n.Line, _ = strconv.Atoi(m[1]) // they are digits
			n = cmp.Or(d.find(v, func(of *yaml.Node, t reflect.Type) bool {
				return of.Line == n.Line && of.ShortTag() == m[2] && t != nil && t.String() == m[3]
			}), n)
			text = "this is " + cmp.Or(kinds[m[2]], m[2]) + ": expected " + expected(m[3])
		}
		all = append(all, d.Wrong(n, "%s", text))
	}
	return all
}

// most is how many mistakes of a file are told.
const most = 100

// wrongKeys are keys that are in a map twice, or no text. They are looked for before
// the YAML package does, whose errors are as many as pairs of the same key.
func (d *Document) wrongKeys() (wrong Mistakes) {
	d.find(nil, func(n *yaml.Node, _ reflect.Type) bool {
		first := map[string]*yaml.Node{}
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			k := n.Content[i]
			var name string
			if err := k.Decode(&name); err != nil {
				wrong = append(wrong, d.Wrong(k, "this is no key: expected text"))
			} else if first[name] != nil {
				wrong = append(wrong, d.Wrong(k, "%q is here twice: first in line %d", name, first[name].Line))
			} else {
				first[name] = k
			}
		}
		return len(wrong) >= most
	})
	return wrong[:min(len(wrong), most)]
}

// keyIn is a map's key of a name in a line.
func keyIn(n *yaml.Node, line int, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Line == line && k.Value == name {
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
