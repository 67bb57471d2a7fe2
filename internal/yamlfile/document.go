package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Document is a file's first.
type Document struct {
	File  string
	root  *yaml.Node // nil if the file is empty
	lines []string   // none if the file isn't UTF-8
}

// Decode reads a file's first document into v, whose keys are all there may be. An
// empty file leaves v as it is. An error is of type [Mistakes].
func Decode(file string, data []byte, v any) (*Document, error) {
	d := &Document{File: file}
	if utf8.Valid(data) {
		d.lines = strings.Split(string(data), "\n")
	}
	var root yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&root)
	if errors.Is(err, io.EOF) {
		return d, nil
	}
	if err != nil {
		return d, Mistakes{Syntax(file, data, err)}
	}
	if len(root.Content) > 0 {
		d.root = root.Content[0]
	}
	if wrong := d.wrongKeys(); len(wrong) > 0 {
		return d, wrong
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(v); err != nil {
		return d, d.mistakes(err, v)
	}
	return d, nil
}

// At is the value at a path of keys and indices, or the last that there is on the
// way to it.
func (d *Document) At(path ...any) *yaml.Node {
	_, n := d.at(path)
	return n
}

// KeyAt is the key of the value at a path.
func (d *Document) KeyAt(path ...any) *yaml.Node {
	if k, _ := d.at(path); k != nil {
		return k
	}
	return d.At(path...)
}

func (d *Document) at(path []any) (key, n *yaml.Node) {
	n = d.root
	for _, step := range path {
		var k, v *yaml.Node
		switch step := step.(type) {
		case string:
			k, v = pair(n, step, map[*yaml.Node]bool{})
		case int:
			v = item(n, step)
		}
		if v == nil {
			return nil, n
		}
		key, n = k, v
	}
	return key, n
}

// item is an element of a list as it is decoded: without empty ones.
func item(n *yaml.Node, index int) *yaml.Node {
	n = target(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	for _, c := range n.Content {
		if target(c).ShortTag() == "!!null" {
			continue
		}
		if index == 0 {
			return c
		}
		index--
	}
	return nil
}

// pair is a key of a map, also of one that is merged into it, with its value. Maps
// that are seen have been looked at: one may be merged into itself.
func pair(n *yaml.Node, name string, seen map[*yaml.Node]bool) (k, v *yaml.Node) {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode || seen[n] {
		return nil, nil
	}
	seen[n] = true
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		merged := []*yaml.Node{n.Content[i+1]}
		if merged[0].Kind == yaml.SequenceNode {
			merged = merged[0].Content
		}
		for _, m := range merged {
			if k, v := pair(m, name, seen); v != nil {
				return k, v
			}
		}
	}
	return nil, nil
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// find is the first value, in the order of the file, that is as asked for, also by
// the type that it is decoded into, with the document into v; nil if that isn't known.
func (d *Document) find(v any, is func(n *yaml.Node, t reflect.Type) bool) *yaml.Node {
	var look func(n *yaml.Node, t reflect.Type) *yaml.Node
	look = func(n *yaml.Node, t reflect.Type) *yaml.Node {
		if is(n, t) {
			return n
		}
		for i, c := range n.Content {
			key := ""
			if n.Kind == yaml.MappingNode {
				if i%2 == 0 {
					continue
				}
				key = n.Content[i-1].Value
			}
			if found := look(c, typeOf(t, key)); found != nil {
				return found
			}
		}
		return nil
	}
	if d.root == nil {
		return nil
	}
	return look(d.root, pointed(reflect.TypeOf(v)))
}

// Wrong is a mistake at a node; nil is the beginning of the file.
func (d *Document) Wrong(n *yaml.Node, format string, args ...any) Mistake {
	m := Mistake{d.File, 1, 1, fmt.Sprintf(format, args...)}
	if n != nil {
		m.Line, m.Column = n.Line, n.Column
	}
	return m
}

// WrongIn is a mistake at a byte of a node's text. Where the file has the text in
// other words, as with escapes or folded lines, it is at the node.
func (d *Document) WrongIn(n *yaml.Node, offset int, format string, args ...any) Mistake {
	m := d.Wrong(n, format, args...)
	n = target(n)
	if n == nil {
		return m
	}
	value := strings.TrimRight(n.Value, "\n")
	before := value[:max(0, min(offset, len(value)))]
	begin := strings.LastIndexByte(before, '\n') + 1
	text, _, _ := strings.Cut(value[begin:], "\n")
	line, from := n.Line+strings.Count(before, "\n"), 0
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		line++ // below | or >
	} else if begin == 0 {
		from = n.Column - 1
	}
	if line > len(d.lines) {
		return m
	}
	source := []rune(d.lines[line-1])
	if from > len(source) {
		return m
	}
	if at := strings.Index(string(source[from:]), text); at >= 0 {
		at += len(string(source[:from])) + len(before) - begin
		m.Line, m.Column = line, utf8.RuneCountInString(d.lines[line-1][:at])+1
	}
	return m
}

// LineOffset is where a line of a text begins, counted from 1; 0 if there is none.
func LineOffset(text string, line int) (offset int) {
	for i, of := range strings.SplitAfter(text, "\n") {
		if i == line-1 {
			return offset
		}
		offset += len(of)
	}
	return 0
}
